"""How a cell of the evaluation is laid out, answered by the project's engine, and found right or wrong."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from promptopt.contracts.model import (
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
)
from promptopt.errors import ModelError
from promptopt.programs import Program, Run
from promptopt.records import Message

Accepted = tuple[str, ...]
Expected = tuple[str, Accepted]
"""An input and its accepted outputs."""
Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer", str, float)

SHORT, LONG, WORKED = 24, 48, 96
"""Most tokens of a short output, of a sentence, and of a worked answer."""
ANSWER = re.compile(r"answer is:?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """A prompt, and the replies to it that are right."""

    prompt: str
    accepted: Accepted

    @property
    def limit(self) -> int:
        """Most tokens of the reply: enough for every accepted output, and for seeing that it goes on.

        A token is at least a byte, so a reply of two more tokens than the longest output has bytes is wrong
        however it ends; to wait for its end would only cost time.
        """
        most = max(len(output.encode()) for output in self.accepted)
        return min(most + 2, SHORT if most <= SHORT else LONG)


def layout(instruction: str, x: str, demonstrations: Sequence[tuple[str, str]] = ()) -> str:
    """Lay a prompt out: instruction, demonstrations and input, with empty lines between them."""
    shown = "".join(f"Input: {a}\nOutput: {b}\n\n" for a, b in demonstrations)
    return (f"{instruction}\n\n" if instruction else "") + f"{shown}Input: {x}\nOutput:"


def cells(instruction: str, rows: Sequence[Expected]) -> list[Cell]:
    """Return a zero-shot cell for each row."""
    return [Cell(layout(instruction, x), accepted) for x, accepted in rows]


def is_right(reply: str, accepted: Accepted) -> bool:
    """Whether the stripped reply is one of the accepted outputs, case and all."""
    return reply.strip() in accepted


def read_answer(reply: str) -> str:
    """Return what stands behind the last "the answer is", without a full stop; the reply if nothing does."""
    *before, answer = ANSWER.split(reply)
    return answer.strip().removesuffix(".").rstrip() if before else reply.strip()


@dataclass
class Engine:
    """A language model, asked in batches as large as a measure allows, so that common prefixes are read once.

    Attributes:
        model: the model.
        unanswered: prompts it refused so far (longer than its context); they count as wrong.
    """

    model: LanguageModel
    unanswered: int = field(default=0, init=False)

    def accuracies(self, groups: Mapping[Key, Sequence[Cell]]) -> dict[Key, float]:
        """Answer all cells greedily, in one call; return the share of right ones by group."""
        flat = [(key, cell) for key, group in groups.items() for cell in group]
        answered = self.greedy([cell.prompt for _, cell in flat], [cell.limit for _, cell in flat])
        right = dict.fromkeys(groups, 0)
        for (key, cell), reply in zip(flat, answered, strict=True):
            right[key] += is_right(reply, cell.accepted)
        return {key: right[key] / len(group) for key, group in groups.items()}

    def greedy(self, prompts: Sequence[str], limits: Sequence[int]) -> list[str]:
        """Complete each prompt with at most so many tokens."""
        return self._complete(
            [
                GenerateRequest((Message("user", prompt),), Decoding(limit))
                for prompt, limit in zip(prompts, limits, strict=True)
            ]
        )

    def sample(self, prompts: Sequence[str], count: int, decoding: Decoding) -> list[list[str]]:
        """Draw `count` replies to each prompt."""
        drawn = self._complete(
            [
                GenerateRequest((Message("user", prompt),), decoding, number)
                for prompt in prompts
                for number in range(count)
            ]
        )
        return [drawn[start : start + count] for start in range(0, len(drawn), count)]

    def run(self, program: Program, prompts: Sequence[str], limits: Sequence[int]) -> list[str]:
        """Run a program on each prompt, side by side; `limits[k]` is for the asks of step k."""
        runs: list[Run] = [program.run((Message("user", prompt),), lambda text: text) for prompt in prompts]
        waiting = [(number, next(run)) for number, run in enumerate(runs)]
        answers = [""] * len(runs)
        for limit in limits:
            asks = [(number, ask) for number, asked in waiting for ask in asked]
            replies = self._complete([GenerateRequest(ask.messages, Decoding(limit)) for _, ask in asks])
            sent: dict[int, list[Completion]] = {number: [] for number, _ in waiting}
            for (number, _), reply in zip(asks, replies, strict=True):
                sent[number].append(Completion(reply))
            waiting = []
            for number, got in sent.items():
                try:
                    waiting.append((number, runs[number].send(tuple(got))))
                except StopIteration as end:
                    answers[number] = end.value
        return answers

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the log-probability (nats) of each (prompt, reply); minus infinity where it was refused."""
        requests = [LikelihoodRequest((Message("user", prompt),), reply) for prompt, reply in pairs]
        found = dict(self.model.loglikelihood(requests))
        return [
            outcome.logprob if isinstance(outcome, Likelihood) else self._refused(outcome, float("-inf"))
            for outcome in (found[number] for number in range(len(pairs)))
        ]

    def _complete(self, requests: Sequence[GenerateRequest]) -> list[str]:
        found = dict(self.model.generate(requests))
        return [
            outcome.text if isinstance(outcome, Completion) else self._refused(outcome, "")
            for outcome in (found[number] for number in range(len(requests)))
        ]

    def _refused(self, failure: Failure, instead: Answer) -> Answer:
        if failure.reason != "rejected":
            raise ModelError("evaluation", f"the model failed: {failure.message}", got=failure.reason)
        self.unanswered += 1
        return instead
