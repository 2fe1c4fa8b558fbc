"""What is measured: random cells of the shapes that searches have, as token ids."""

from __future__ import annotations

import random
from dataclasses import dataclass

from promptopt.contracts.model import Decoding
from promptopt.models._batch import Job, Pair


@dataclass(frozen=True)
class Likelihoods:
    """Prompts x inputs x options; each range is tokens, drawn evenly.

    The lengths of the prompts are spread over their range instead, so that a few stand for many.
    """

    name: str
    prompt: tuple[int, int]
    input: tuple[int, int]
    options: tuple[int, int]
    option: tuple[int, int]

    def pairs(self, prompts: int, inputs: int, vocabulary: int, seed: int = 0) -> list[Pair]:
        """Draw the cells: every prompt meets the same inputs, with the same options."""
        draw = random.Random(seed)
        low, high = self.prompt
        lengths = [low + round((high - low) * (k + 0.5) / prompts) for k in range(prompts)]
        heads = [_tokens(draw, (length, length), vocabulary) for length in lengths]
        rows = []
        for _ in range(inputs):
            shown = _tokens(draw, self.input, vocabulary)
            count = draw.randint(*self.options)
            rows.append((shown, [_tokens(draw, self.option, vocabulary) for _ in range(count)]))
        return [Pair(head + shown, option) for head in heads for shown, options in rows for option in options]


@dataclass(frozen=True)
class Completions:
    """Inputs behind one prompt, with replies of given lengths."""

    name: str
    prompt: int
    input: tuple[int, int]
    reply: tuple[int, int]

    def jobs(self, inputs: int, vocabulary: int, seed: int = 0) -> list[Job]:
        """Draw the jobs: greedy, ended by their length alone, so that all contenders do the same work."""
        draw = random.Random(seed)
        head = _tokens(draw, (self.prompt, self.prompt), vocabulary)
        return [
            Job(
                head + _tokens(draw, self.input, vocabulary), Decoding(draw.randint(*self.reply)), frozenset()
            )
            for _ in range(inputs)
        ]


LIKELIHOODS = (
    Likelihoods("mixed", (30, 400), (20, 100), (2, 10), (1, 4)),
    Likelihoods("letters", (150, 400), (20, 100), (4, 4), (1, 1)),
    Likelihoods("short", (30, 60), (20, 60), (2, 4), (1, 4)),
    Likelihoods("ape", (30, 60), (5, 20), (1, 1), (8, 40)),
)
COMPLETIONS = (
    Completions("4-64 behind 30", 30, (10, 40), (4, 64)),
    Completions("4-64 behind 200", 200, (10, 40), (4, 64)),
    Completions("1-16 behind 400", 400, (10, 40), (1, 16)),
)


def distinct(sequences: list[tuple[int, ...]]) -> int:
    """Count the distinct (context, token) of sequences: what has to be computed at least."""
    from promptopt.models._tree import as_bytes, common

    total, before = 0, b""
    for text in sorted({as_bytes(tokens) for tokens in sequences}):
        total += len(text) // 4 - common(before, text)
        before = text
    return total


def _tokens(draw: random.Random, size: tuple[int, int], vocabulary: int) -> tuple[int, ...]:
    return tuple(draw.choices(range(5, vocabulary), k=draw.randint(*size)))
