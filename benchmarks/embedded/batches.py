"""From training trees to tensors: encoding and packing.

A tree's branches share the tokens of its trunk. What may see what is a mask, so that a row can hold branches
and whole documents beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .contracts import Segment, Tree

WIDTHS = (256, 512)
"""Lengths of rows: attention costs their square, so what fits the first never goes into the second alone."""
LIGHT, KEPT = 0.3, 0.25
"""Targets lighter than LIGHT: the share KEPT of them is computed, at twice the weight (the head is dear)."""


@dataclass(frozen=True)
class Document:
    """An encoded tree.

    Attributes:
        ids: tokens of the trunk, then of the branches.
        branches: 0 for the trunk's tokens, then 1, 2, ...
        positions: those of every branch go on from the trunk's.
        targets: as (place of the token that predicts, token to predict, weight).
    """

    ids: list[int]
    branches: list[int]
    positions: list[int]
    targets: list[tuple[int, int, float]]


@dataclass(frozen=True)
class Part:
    """Rows of one length, that go through the model together.

    Attributes:
        ids: `[rows, length]`.
        positions: `[rows, length]`.
        branches: of the tokens in their documents, `[rows, length]`; 0 is the trunk.
        owners: number of a token's document in its row, `[rows, length]`; -1 is padding.
        sources: places, in the flattened rows, whose hidden states predict the targets, `[targets]`.
        targets: tokens to predict, `[targets]`.
        weights: of the targets, `[targets]`.
    """

    ids: Tensor
    positions: Tensor
    branches: Tensor
    owners: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def mask(self) -> Tensor:
        """True where a token (first of the two) may see another, `[rows, length, length]`.

        Padding sees itself, for a token that sees nothing has no attention at all (NaN).
        """
        same = self.owners[:, :, None] == self.owners[:, None, :]
        seen, sees = self.branches[:, None, :], self.branches[:, :, None]
        return (same & ((seen == 0) | (seen == sees))).tril()

    def to(self, device: str) -> Part:
        """Return the part on a device."""
        return Part(*(getattr(self, field.name).to(device) for field in fields(self)))


def encode(tree: Tree, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Document:
    """Return the tree as tokens; segments are encoded one by one, so that no token spans two of them.

    Args:
        tree: whose trunk holds at least one token.
        tokenizer: adds no special tokens of its own.
        rng: chooses which light targets are kept.
    """
    trunk, weights = _tokens(tree.trunk, tokenizer)
    ids, branches, positions = list(trunk), [0] * len(trunk), list(range(len(trunk)))
    sources = list(range(-1, len(trunk) - 1))
    weights[0] = 0.0  # nothing comes before the first token that could predict it
    for number, branch in enumerate(tree.branches, 1):
        tokens, own = _tokens(branch, tokenizer)
        if tokens:
            sources += [len(trunk) - 1, *range(len(ids), len(ids) + len(tokens) - 1)]
        ids += tokens
        weights += own
        branches += [number] * len(tokens)
        positions += range(len(trunk), len(trunk) + len(tokens))
    targets = []
    for source, token, weight in zip(sources, ids, weights, strict=True):
        if weight >= LIGHT:
            targets.append((source, token, weight))
        elif weight > 0 and rng.random() < KEPT:
            targets.append((source, token, 2 * weight))
    return Document(ids, branches, positions, targets)


def _tokens(segments: Sequence[Segment], tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    # One `encode` a segment: with segments of a few tokens, `encode_batch` is no faster and starts threads.
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in segments:
        tokens = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        ids += tokens
        weights += [weight] * len(tokens)
    return ids, weights


def pack(documents: Sequence[Document], rows: int, length: int) -> list[list[int]]:
    """Choose which documents go into which row, by number; what is chosen for no row is left for later.

    A row begins with the first document that waits and still fits, so that none waits for ever, and goes on
    with the longest that fit, so that the short ones are left to fill the gaps.
    """
    waiting = list(range(len(documents)))
    chosen = []
    for _ in range(rows):
        room = length
        row: list[int] = []
        by_length = sorted(waiting[1:], key=lambda number: -len(documents[number].ids))
        for number in [*waiting[:1], *by_length]:
            if len(documents[number].ids) <= room:
                room -= len(documents[number].ids)
                row.append(number)
        chosen.append(row)
        waiting = [number for number in waiting if number not in row]
    return chosen


def lay_out(rows: Sequence[Sequence[Document]], length: int) -> Part:
    """Return rows of documents as tensors."""
    ids, positions, branches = torch.zeros(3, len(rows), length, dtype=torch.long)
    owners = torch.full((len(rows), length), -1)
    targets: list[tuple[int, int, float]] = []
    for place, row in enumerate(rows):
        starts = accumulate((len(document.ids) for document in row), initial=0)
        for number, (document, start) in enumerate(zip(row, starts, strict=False)):
            here = slice(start, start + len(document.ids))
            ids[place, here] = torch.tensor(document.ids)
            positions[place, here] = torch.tensor(document.positions)
            branches[place, here] = torch.tensor(document.branches)
            owners[place, here] = number
            first = place * length + start
            targets += [(first + source, token, weight) for source, token, weight in document.targets]
    sources, tokens, weights = zip(*targets, strict=True) if targets else ((), (), ())
    return Part(
        ids,
        positions,
        branches,
        owners,
        torch.tensor(sources, dtype=torch.long),
        torch.tensor(tokens, dtype=torch.long),
        torch.tensor(weights, dtype=torch.float),
    )
