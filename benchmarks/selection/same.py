"""Same seed, same data: the same choice, also when the answers come late and out of order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from promptopt.contracts.selector import Selector
from promptopt.records import Evaluation
from promptopt.selection.table import TableScorer

from .pools import FastScorer, Floats, logit_pool

SHAPES = ((24, 120, 1), (40, 200, 5))


class Concurrent:
    """Score candidates one by one on a pool of threads; collect them as they happen to finish."""

    def __init__(self, table: Floats, concurrency: int) -> None:
        self._table, self._concurrency = table, concurrency
        self.asked: list[tuple[tuple[int, ...], int]] = []

    def __call__(self, candidates: Sequence[int], n: int) -> list[Evaluation]:
        self.asked.append((tuple(candidates), n))
        found: dict[int, Evaluation] = {}
        with ThreadPoolExecutor(self._concurrency) as pool:
            waiting = {pool.submit(self._one, candidate, n): candidate for candidate in reversed(candidates)}
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
        return [found[candidate] for candidate in candidates]

    def _one(self, candidate: int, n: int) -> Evaluation:
        return FastScorer(self._table)([candidate], n)[0]


def check_same(selector: Selector, seed: int) -> bool:
    """Whether a selector chooses the same, for the same cells, however its questions are answered."""
    for candidates, rows, k in SHAPES:
        table = logit_pool(0.5, 0.6)(candidates, rows, np.random.default_rng(seed)).table
        plain = TableScorer(table)
        first = selector.select(plain, candidates, rows, k)
        runs = [Concurrent(table, concurrency) for concurrency in (1, 4, 16)]
        choices = [selector.select(run, candidates, rows, k) for run in runs]
        if any(choice != first for choice in choices) or any(run.asked != runs[0].asked for run in runs):
            return False
    return True
