"""From training trees to tensors: encoding, packing and an endless, resumable stream of batches.

A tree's branches share the tokens of its trunk. What may see what is a mask, so that a row can hold branches
and whole documents beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        mask: true where a token may see another, `[rows, length, length]`.
        sources: places, in the flattened rows, whose hidden states predict the targets, `[targets]`.
        targets: tokens to predict, `[targets]`.
        weights: of the targets, `[targets]`.
        filled: tokens that are no padding.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor
    filled: int


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


def lay_out(rows: Sequence[Sequence[Document]], length: int, device: str = "cpu") -> Part:
    """Return rows of documents as tensors."""
    ids, positions, branches = torch.zeros(3, len(rows), length, dtype=torch.long)
    # Padding is document -1: it sees itself, for a token that sees nothing has no attention at all (NaN).
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
    same = owners[:, :, None] == owners[:, None, :]
    open_to = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    mask = (same & open_to).tril()
    sources, tokens, weights = zip(*targets, strict=True) if targets else ((), (), ())
    filled = int((owners >= 0).sum())
    return Part(
        *(tensor.to(device) for tensor in (ids, positions, mask)),
        torch.tensor(sources, dtype=torch.long, device=device),
        torch.tensor(tokens, dtype=torch.long, device=device),
        torch.tensor(weights, dtype=torch.float, device=device),
        filled,
    )


@dataclass
class Stream:
    """An endless stream of batches that depends only on the seed and the rank.

    Document `n` is drawn by a generator seeded with (seed, rank, n), so that the state of the stream is a
    few numbers: those of the documents that wait for a row, and the next one.

    Args:
        tree: draws a training tree.
        tokenizer: encodes it.
        seed: of the training.
        rank: of this process.
        device: where the tensors go.
    """

    tree: Callable[[Random], Tree]
    tokenizer: PreTrainedTokenizerFast
    seed: int
    rank: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Begin with the first document."""
        self._next = 0
        self._waiting: dict[int, Document] = {}

    def batch(self, parts: int, tokens: int) -> list[Part]:
        """Return the next batch: `parts` parts of `tokens` tokens, padding included.

        A part's rows all have one of the WIDTHS. Documents too long for the first width wait until they fill
        a part of wide rows.

        Raises:
            ValueError: if a document is longer than the widest row.
        """
        short, wide = WIDTHS
        # Three times what goes out: the more there is to choose from, the less padding.
        while sum(len(document.ids) for document in self._waiting.values()) < 3 * parts * tokens:
            self._waiting[self._next] = self._draw(self._next)
            self._next += 1
        done = []
        for _ in range(parts):
            long = [number for number, document in self._waiting.items() if len(document.ids) > short]
            enough = sum(len(self._waiting[number].ids) for number in long) >= tokens
            # Long documents before short ones: what room they leave, the short ones fill.
            order = [*long, *(n for n in self._waiting if n not in long)] if enough else list(self._waiting)
            done.append(self._take(order, wide if enough else short, tokens))
        return done

    def state(self) -> list[int]:
        """Return what `restore` needs: the number of the next document, then those that wait."""
        return [self._next, *self._waiting]

    def restore(self, state: Sequence[int]) -> None:
        """Go on from a state of a stream with the same seed, rank and trees."""
        self._next, *waiting = state
        self._waiting = {number: self._draw(number) for number in waiting}

    def _draw(self, number: int) -> Document:
        rng = Random(f"{self.seed} {self.rank} {number}")
        document = encode(self.tree(rng), self.tokenizer, rng)
        if len(document.ids) > WIDTHS[-1]:
            text = self.tokenizer.decode(document.ids[:40])
            raise ValueError(
                f"a document has {len(document.ids)} tokens, at most {WIDTHS[-1]} fit: {text}..."
            )
        return document

    def _take(self, order: Sequence[int], width: int, tokens: int) -> Part:
        rows = pack([self._waiting[number] for number in order], tokens // width, width)
        return lay_out([[self._waiting.pop(order[n]) for n in row] for row in rows], width, self.device)
