"""What a selector has seen so far: scores by candidate and row, bought prefix by prefix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..contracts.selector import ScoreRows
from ..records import Evaluation
from .ranking import best_first

Floats = NDArray[np.float64]

_SWEEPS = 6
_FEWEST_FINALISTS = 6
_TIE = 9  # decimals kept: sums of the same numbers in another order differ in the last bits; they are ties


class Board:
    """Scores `[candidates, rows]`, NaN where a cell failed or has not been met.

    Attributes:
        values: the scores.
        met: rows met, by candidate; rows are prefixes of one shared order.
        comparable: by candidate, whether enough of its cells came back.
    """

    def __init__(self, score: ScoreRows, candidates: int, rows: int) -> None:
        """Start with nothing met."""
        self.candidates, self.rows = candidates, rows
        self.values: Floats = np.full((candidates, rows), np.nan)
        self.met = np.zeros(candidates, dtype=np.int64)
        self.comparable = np.zeros(candidates, dtype=np.bool_)
        self._score = score
        self._evaluations: dict[int, Evaluation] = {}
        self._known: Floats = np.zeros((candidates, rows))
        self._scores: Floats = np.zeros((candidates, rows))
        self._row_effects: Floats = np.zeros(rows)

    @property
    def cells(self) -> int:
        """Cells asked for so far."""
        return int(self.met.sum())

    def meet(self, positions: Iterable[int], n: int) -> None:
        """Let these candidates meet the first n rows; those that have are not asked again."""
        asked = [position for position in positions if self.met[position] < n]
        if not asked:
            return
        for position, evaluation in zip(asked, self._score(asked, n), strict=True):
            self.values[position, :n] = evaluation.row_values
            failed = np.isnan(self.values[position, :n])
            self._known[position, :n] = ~failed
            self._scores[position, :n] = np.where(failed, 0.0, self.values[position, :n])
            self.met[position] = n
            self.comparable[position] = evaluation.comparable
            self._evaluations[position] = evaluation

    def meet_more(self, positions: Iterable[int], block: int, room: float = np.inf) -> bool:
        """Let each of these candidates meet `block` rows more, as long as `room` cells allow.

        Returns:
            Whether anything was bought.
        """
        wanted: dict[int, list[int]] = {}
        for position in positions:
            n = min(self.rows, int(self.met[position]) + block)
            cost = n - int(self.met[position])
            if 0 < cost <= room:
                room -= cost
                wanted.setdefault(n, []).append(position)
        for n, asked in sorted(wanted.items()):
            self.meet(asked, n)
        return bool(wanted)

    def ranked(self, positions: Sequence[int]) -> list[int]:
        """Return candidates that have met equally many rows, best first."""
        return best_first(positions, [self._evaluations[position] for position in positions])

    def level(self, winners: Sequence[int]) -> list[int]:
        """Let the winners meet as many rows as any candidate has met, and rank them on those.

        So the winners of a selector that spreads its rows unequally are known at least as well as all
        others, and the best of them is best on rows that they share.
        """
        self.meet(winners, int(self.met.max()))
        return self.ranked(winners)

    def adjusted(self, lent: float = 0.0) -> tuple[Floats, Floats]:
        """Return means made comparable across unequal rows, and variances of one adjusted score.

        Fits score = candidate + row by least squares over the cells met (the additive two-way layout of
        H. Scheffé, The Analysis of Variance, 1959, chapter 4), one side at a time. A candidate that has met
        the easy rows only is not flattered by them; and what is left over is the noise that matters when
        candidates meet the same rows, so comparisons are paired.

        Args:
            lent: so many rows' worth of the variance of all candidates together is mixed into each
                candidate's own: a few rows all right show no spread, and are no proof of none.

        Returns:
            Means `[candidates]` and residual variances `[candidates]`; NaN for a candidate without a score.
        """
        width = int(self.met.max())
        weights, scores = self._known[:, :width], self._scores[:, :width]
        counts, crowds = weights.sum(axis=1), weights.sum(axis=0)
        sums, totals = scores.sum(axis=1), scores.sum(axis=0)
        heads, divisors = np.maximum(counts, 1.0), np.maximum(crowds, 1.0)
        rows = self._row_effects[:width]
        for _ in range(_SWEEPS):
            means = (sums - weights @ rows) / heads
            rows = (totals - means @ weights) / divisors
        rows = rows - rows.mean()
        means = (sums - weights @ rows) / heads
        self._row_effects[:width] = rows  # the next fit starts where this one ended
        left = np.square((scores - means[:, None] - rows) * weights).sum(axis=1)
        # A candidate's residuals are smaller than its noise by what its own mean and its share in the
        # row effects have taken up.
        freedom = np.maximum(weights @ (1 - 1 / np.maximum(crowds, 2.0)) - 1, 1.0)
        pooled = left.sum() / freedom[counts > 0].sum() if counts.any() else 0.0
        variances = (left + lent * pooled) / (freedom + lent)
        empty = counts == 0
        means[empty] = variances[empty] = np.nan
        return np.round(means, _TIE), variances

    def best(self, means: Floats, k: int) -> list[int]:
        """Return the k best by these means, best first: comparable ones first, ties by position."""
        order = sorted(
            range(self.candidates),
            key=lambda i: (not self.comparable[i], -means[i] if means[i] == means[i] else np.inf, i),
        )
        return order[:k]


def first_block(rows: int, wanted: int | None, default: int) -> int:
    """Return how many rows all candidates meet first: `wanted`, or `default`, but no more than a quarter.

    At least 10 (or all): with fewer, one failed cell would make a prompt incomparable.
    """
    if wanted is None:
        wanted = max(10, min(default, rows // 4))
    return min(rows, wanted)


def spending(candidates: int, rows: int, first: int, share: float) -> int:
    """Return the most cells of a selector that spends freely after its first block.

    That is `share` of the grid, but at least what six candidates need to meet all rows: with few rows a
    share of the grid would be next to nothing.
    """
    return candidates * first + max(math.ceil(share * candidates * rows), _FEWEST_FINALISTS * (rows - first))
