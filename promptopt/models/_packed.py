"""Scoring and completing with every distinct token computed once, in packs without padding.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ..contracts.model import Completion, Failure, Likelihood
from . import _kernels
from ._batch import Job, Pair
from ._cascade import PackLayout
from ._continuous import Generation
from ._network import halving, likelihood, sent
from ._packs import PackRunner
from ._tree import Ints, Pack, as_bytes, common


@dataclass(slots=True, eq=False)
class _Sums:
    """Sums of log-probabilities (nats) that the device is working on: parts `(numbers, values)` of them."""

    count: int
    parts: list[tuple[Ints, torch.Tensor]] = field(default_factory=list)
    _done: NDArray[np.float64] | None = None

    def wait(self) -> NDArray[np.float64]:
        """Return the sums when they are there."""
        if self._done is None:
            self._done = np.zeros(self.count)
            for numbers, values in self.parts:
                np.add.at(self._done, numbers, values.double().cpu().numpy())
            self.parts.clear()
        return self._done


@dataclass(frozen=True, slots=True, eq=False)
class _Sum:
    """One of the sums."""

    sums: _Sums
    index: int

    def of(self, pair: Pair) -> Likelihood | Failure:
        """Wait for the sum; return what it says of the pair."""
        return likelihood(pair, float(self.sums.wait()[self.index]))


def _collected(
    pairs: Sequence[Pair], launched: Sequence[_Sum | Failure]
) -> Iterator[tuple[Pair, Likelihood | Failure]]:
    for pair, found in zip(pairs, launched, strict=True):
        yield pair, found if isinstance(found, Failure) else found.of(pair)


class PackedEngine(PackRunner):
    """Completes and scores along the tree of what prompts share."""

    def complete(
        self, jobs: Sequence[Job], admit: Callable[[Job], bool]
    ) -> Generator[tuple[Job, Completion | Failure]]:
        """Yield the completions as they finish; rows that finish make room for others."""
        return Generation(self, jobs, admit).run()

    def score(
        self, pairs: Sequence[Pair], admit: Callable[[Pair], bool]
    ) -> Generator[tuple[Pair, Likelihood | Failure]]:
        """Yield the log-probabilities, batch by batch, in the order of the tree."""
        # The GPU computes a batch while the next one is planned.
        ahead = int(self.network.device.type == "cuda")
        waiting: deque[tuple[list[Pair], list[_Sum | Failure]]] = deque()
        try:
            for batch in in_tree_order(pairs, self.limit):
                admitted = [pair for pair in batch if admit(pair)]
                waiting.append((admitted, halving(self.launch, admitted)))
                if len(waiting) > ahead:
                    yield from _collected(*waiting.popleft())
            for launched in waiting:
                yield from _collected(*launched)
        finally:
            self.branches.clear()

    @torch.inference_mode()
    def launch(self, pairs: Sequence[Pair]) -> list[_Sum | Failure]:
        """Begin to sum the log-probabilities of each continuation given its prompt; pairs in tree order."""
        sums = _Sums(len(pairs))
        scored = [index for index, pair in enumerate(pairs) if pair.continuation]
        if scored:
            heads = {prompt: as_bytes(prompt) for prompt in {pair.prompt for pair in pairs}}
            # The last token of a continuation is looked up, not read.
            outline = self.plan(
                [heads[pairs[k].prompt] + as_bytes(pairs[k].continuation[:-1]) for k in scored],
                [len(pairs[k].continuation) for k in scored],
            )
            wanted: list[list[tuple[int, int, int]]] = [[] for _ in outline.packs]
            for sequence, k in enumerate(scored):
                for depth, token in enumerate(pairs[k].continuation, start=len(pairs[k].prompt) - 1):
                    number, index = outline.place(sequence, depth)
                    wanted[number].append((index, token, k))
            for pack, asked in zip(outline.packs, wanted, strict=True):
                self._look_up(pack, asked, sums)
            # The next batch may go on from where this one ends.
            self.branches = {key: self.branches[key] for key in outline.leaves[-1].chain}
        return [_Sum(sums, index) for index in range(len(pairs))]

    def _look_up(self, pack: Pack, asked: Sequence[tuple[int, int, int]], sums: _Sums) -> None:
        """Run a pack and add the log-probabilities of (index in the pack, token, number of the sum)."""
        columns = np.array(asked, dtype=np.int64).reshape(-1, 3)
        keep, slots = np.unique(columns[:, 0], return_inverse=True)
        device = self.network.device
        logits = self.run(pack, PackLayout(pack, self.branches, device), keep)
        if asked:
            rows, tokens = sent(np.stack([slots, columns[:, 1]]), device)
            sums.parts.append((columns[:, 2], _logarithms(logits, rows, tokens)))


def _logarithms(logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of tokens, each in a row of `[rows, vocabulary]`."""
    if _kernels.fit(logits, width=1):
        return logits[rows, tokens].float() - _kernels.totals(logits)[rows]
    return logits.log_softmax(-1, dtype=torch.float32)[rows, tokens]


def in_tree_order(pairs: Sequence[Pair], limit: int) -> Iterator[list[Pair]]:
    """Yield batches of pairs with common beginnings side by side, at most `limit` distinct tokens in each."""
    heads = {prompt: as_bytes(prompt) for prompt in {pair.prompt for pair in pairs}}
    texts = [(heads[pair.prompt] + as_bytes(pair.continuation), index) for index, pair in enumerate(pairs)]
    batch: list[Pair] = []
    before, size = b"", 0
    for text, index in sorted(texts):
        fresh = len(text) // 4 - common(before, text)
        if batch and size + fresh > limit:
            yield batch
            batch, size, fresh = [], 0, len(text) // 4
        batch.append(pairs[index])
        before, size = text, size + fresh
    if batch:
        yield batch
