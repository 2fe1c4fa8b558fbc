"""UCB best-arm identification: give rows to the prompts whose confidence bounds still overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..contracts.selector import ScoreRows
from ..errors import ConfigError
from .board import Board, Floats, first_block, spending
from .options import check_bandit

_FIRST_ROWS = 16
_BISECTIONS = 24
_PRIOR_ROWS = 8.0
_EDGE = 1e-12


@dataclass(frozen=True)
class UpperBounds:
    """LUCB in batches: sample the weakest of the k leaders and the strongest of the others, until apart.

    S. Kalyanakrishnan, A. Tewari, P. Auer and P. Stone, PAC Subset Selection in Stochastic Multi-armed
    Bandits, ICML 2012, algorithm LUCB, with `batch` challengers and `block` rows at a time. Every candidate
    meets a first block; it stops when no other candidate can be better than a leader by more than
    `tolerance`, or at `share` of the grid; the winners end with as many rows as anybody.

    Guarantee, by `bounds`:

    - "paired" (the default): normal bounds at level delta / (candidates - 1) on the difference to the leader,
      from means adjusted for the rows met and the noise that pairing leaves (`Board.adjusted`), smaller the
      fewer rows of the table are left. At one look, an error with probability about delta; looking often
      and stopping early are not paid for, so it is a heuristic whose errors benchmarks/selection measures.
    - "kl": E. Kaufmann and S. Kalyanakrishnan, Information Complexity in Bandit Subset Selection, COLT 2013
      (KL-LUCB): for scores in [0, 1] and rows drawn at random, if it stops because the bounds are apart, all
      k returned are within `tolerance` of the k-th best with probability at least 1 - delta. The paper's
      exploration rate is for endless sampling; here no candidate is looked at more than rows / block
      times, so each bound gets delta / (2 * candidates * looks) by Chernoff's inequality, and the union
      bound holds whether or not candidates share rows. It knows nothing of pairing: with a few hundred rows
      these bounds seldom part before `share` ends the matter, and then nothing is promised. Scores on
      another scale are mapped by the range of the first block, which is not proven.

    Attributes:
        bounds: "paired" or "kl".
        delta: error level.
        tolerance: how far apart does not matter, in units of the score.
        share: most cells after the first block, as a share of the grid; at least what six candidates need
            to meet all rows.
        batch: challengers sampled at a time.
        block: rows bought at a time.
        first: rows of the first block; None is 16, or a quarter of the rows if that is less, at least 10.
    """

    bounds: Literal["paired", "kl"] = "paired"
    delta: float = 0.1
    tolerance: float = 0.01
    share: float = 0.1
    batch: int = 4
    block: int = 16
    first: int | None = None

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        self._check()
        if not candidates:
            return []
        board = Board(score, candidates, rows)
        # With nobody to drop, all rows go into putting them in order.
        first = first_block(rows, self.first, _FIRST_ROWS) if k < candidates else rows
        board.meet(range(candidates), first)
        budget = self._budget(candidates, rows)
        rate = math.log(2 * candidates * math.ceil(rows / self.block) / self.delta)
        z = NormalDist().inv_cdf(1 - self.delta / max(2, candidates - 1))
        bounds = _KLBounds(board, rate) if self.bounds == "kl" else _PairedBounds(board, z)
        while True:
            means, low = bounds.update()
            order = board.best(means, candidates)
            others = np.array([i for i in order[k:] if board.comparable[i]], dtype=np.int64)
            if not len(others):
                break
            weakest = min(order[:k], key=lambda i: (low[i], i))
            ahead = bounds.ahead(others, weakest)
            far = np.argsort(-ahead, kind="stable")[: self.batch]
            rivals = others[far[ahead[far] > self.tolerance]].tolist()
            if not rivals or not board.meet_more([weakest, *rivals], self.block, budget - board.cells):
                break
        return board.level(board.best(board.adjusted()[0], k))

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return the most that `share` and levelling the winners allow."""
        return min(candidates * rows, self._budget(candidates, rows) + k * rows)

    def _budget(self, candidates: int, rows: int) -> int:
        """Return the most cells before the winners are levelled."""
        return spending(candidates, rows, first_block(rows, self.first, _FIRST_ROWS), self.share)

    def _check(self) -> None:
        if self.bounds not in ("paired", "kl"):
            raise ConfigError("upper_bounds.bounds", "must be paired or kl", got=self.bounds)
        check_bandit(
            "upper_bounds",
            delta=self.delta,
            share=self.share,
            first=self.first,
            block=self.block,
            batch=self.batch,
        )


class _PairedBounds:
    """Normal bounds on differences between candidates, on the rows of the table."""

    def __init__(self, board: Board, z: float) -> None:
        self._board, self._z = board, z
        self._means = self._errors = np.zeros(board.candidates)

    def update(self) -> tuple[Floats, Floats]:
        """Return means and lower bounds of all candidates."""
        self._means, noise = self._board.adjusted(_PRIOR_ROWS)
        met = self._board.met
        # What rows not met can still change: nothing once all are met.
        self._errors = noise / np.maximum(met, 1) * (1 - met / self._board.rows)
        return self._means, self._means - self._z * np.sqrt(self._errors)

    def ahead(self, others: np.ndarray, leader: int) -> Floats:
        """Return by how much each of `others` may be better than the leader."""
        width = self._z * np.sqrt(self._errors[others] + self._errors[leader])
        return np.asarray(self._means[others] - self._means[leader] + width)


class _KLBounds:
    """Bernoulli Kullback-Leibler bounds of each candidate's own mean."""

    def __init__(self, board: Board, rate: float) -> None:
        self._board, self._rate = board, rate
        seen = board.values[~np.isnan(board.values)]
        floor, top = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
        if floor >= 0 and top <= 1:
            floor, top = 0.0, 1.0
        self._floor, self._span = floor, max(top - floor, float(np.finfo(np.float64).tiny))
        self._met = np.zeros(board.candidates, dtype=np.int64)
        self._means, self._low, self._high = (np.full(board.candidates, np.nan) for _ in range(3))

    def update(self) -> tuple[Floats, Floats]:
        """Return means and lower bounds of all candidates."""
        new = np.flatnonzero(self._met < self._board.met)
        values = self._board.values[new]
        counts = (~np.isnan(values)).sum(axis=1)
        means = np.where(counts > 0, np.nansum(values, axis=1) / np.maximum(counts, 1), np.nan)
        unit = np.clip((np.nan_to_num(means, nan=self._floor) - self._floor) / self._span, 0.0, 1.0)
        level = self._rate / np.maximum(counts, 1)
        self._means[new] = means
        self._low[new] = self._floor + self._span * furthest(unit, level, -1)
        self._high[new] = self._floor + self._span * furthest(unit, level, 1)
        self._met = self._board.met.copy()
        return self._means, self._low

    def ahead(self, others: np.ndarray, leader: int) -> Floats:
        """Return by how much each of `others` may be better than the leader."""
        return np.asarray(self._high[others] - self._low[leader])


def furthest(p: Floats, level: Floats, side: int) -> Floats:
    """Return the q furthest from p on one side with Bernoulli divergence kl(p, q) <= level, by bisection."""
    given, p = p, np.clip(p, _EDGE, 1 - _EDGE)
    rest = 1 - p
    # kl(p, q) = p log(p / q) + rest log(rest / (1 - q)); what does not hold q is worked out once.
    room = level - p * np.log(p) - rest * np.log(rest)
    near, far = p, np.full_like(p, 1 - _EDGE if side > 0 else _EDGE)
    for _ in range(_BISECTIONS):
        middle = (near + far) / 2
        inside = -p * np.log(middle) - rest * np.log1p(-middle) <= room
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return np.maximum(near, given) if side > 0 else np.minimum(near, given)
