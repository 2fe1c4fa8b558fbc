"""What a local model computes at once: jobs, and how they are packed into batches; knows no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from ..contracts.model import Decoding

MAX_LOGITS = 1 << 26
"""Most logits (rows x positions x vocabulary) computed at once; 256 MiB in float32."""
SHARED_TOKENS = 8
SHARED_ROWS = 16
"""A batch of its own needs this many rows that share this many tokens; fewer would leave it too small."""


@dataclass(frozen=True, slots=True)
class Job:
    """A sequence to complete. Equal jobs have equal answers, so they are computed once.

    Attributes:
        prompt: token ids, at least one.
        decoding: how to decode; its `seed` is not looked at.
        ends: token ids that end the reply.
        seed: seed of this job's own draws; 0 for greedy jobs.
        logprobs: whether the log-probability of the reply is wanted.
    """

    prompt: tuple[int, ...]
    decoding: Decoding
    ends: frozenset[int]
    seed: int = 0
    logprobs: bool = False

    @property
    def width(self) -> int:
        """Most tokens this row may hold."""
        return len(self.prompt) + self.decoding.max_tokens

    @property
    def kept(self) -> int:
        """Positions whose logits are needed at once."""
        return 1


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, at least one token, and the continuation to score."""

    prompt: tuple[int, ...]
    continuation: tuple[int, ...]

    @property
    def width(self) -> int:
        """Tokens of this row."""
        return len(self.prompt) + len(self.continuation)

    @property
    def kept(self) -> int:
        """Positions whose logits are needed at once."""
        return len(self.continuation) + 1


Item = TypeVar("Item", bound=Job | Pair)


def pack(items: Sequence[Item], batch_tokens: int, vocabulary: int) -> Iterator[list[Item]]:
    """Yield batches that waste little: prompts with a common beginning together, the others by length.

    A batch holds at most `batch_tokens` padded tokens and `MAX_LOGITS` logits, but at least one item.
    """
    for family in _families(items):
        batch: list[Item] = []
        width = kept = 0
        # Longest first: what does not fit into memory is found out at once.
        for item in sorted(family, key=lambda item: (len(item.prompt), item.width), reverse=True):
            width, kept = max(width, item.width), max(kept, item.kept)
            rows = len(batch) + 1
            if batch and (rows * width > batch_tokens or rows * kept * vocabulary > MAX_LOGITS):
                yield batch
                batch, width, kept = [], item.width, item.kept
            batch.append(item)
        if batch:
            yield batch


def shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many leading tokens all prompts share, the last token of each left out."""
    # Whatever the lexicographically first and last share, all between them share too.
    return _common(min(prompts), max(prompts), min(map(len, prompts)) - 1)


def _families(items: Sequence[Item]) -> list[list[Item]]:
    """Split into families that share at least a third of their prompts' tokens, and the rest."""
    ranked = sorted(items, key=lambda item: item.prompt)
    families: list[list[Item]] = [ranked[:1]]
    for before, item in pairwise(ranked):
        shorter = min(len(before.prompt), len(item.prompt))
        if _common(before.prompt, item.prompt, shorter) >= max(SHARED_TOKENS, shorter / 3):
            families[-1].append(item)
        else:
            families.append([item])
    large: list[list[Item]] = [family for family in families if len(family) >= SHARED_ROWS]
    rest = [item for family in families if len(family) < SHARED_ROWS for item in family]
    return [rest, *large]


def _common(a: tuple[int, ...], b: tuple[int, ...], limit: int) -> int:
    for index in range(limit):
        if a[index] != b[index]:
            return index
    return limit
