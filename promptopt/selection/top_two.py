"""Top-two Thompson sampling: give rows to the prompts that may still be the best, in the right measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contracts.selector import ScoreRows
from .board import Board, Floats, first_block, spending
from .options import check_bandit

_FIRST_ROWS = 20
_DRAWS = 256
_PRIOR_ROWS = 8.0


@dataclass(frozen=True)
class TopTwo:
    """Draw which prompts are best from the posterior, twice; let both answers meet more rows; repeat.

    D. Russo, Simple Bayesian Algorithms for Best-Arm Identification, Operations Research 68(6), 2020 (COLT
    2016), section 3.3 (TTTS, beta = 1/2), `batch` candidates and `block` rows at a time. The posterior is
    normal: means adjusted for the rows met and residual variances (`Board.adjusted`), so it is about paired
    differences; the prior is normal with mean and spread estimated from the first block. Cells beyond the
    table do not exist, so what is to be found is the best of the table: a candidate that has met all rows
    is known. Chance comes from `seed` and the shape of the table: the same data give the same choice.

    Guarantee: none with finitely many rows beyond the posterior's own: it stops when the posterior gives the
    leader at least 1 - delta to be within `tolerance` of the best, or at `share` of the grid. With endless
    rows the posterior probability that another is best vanishes at the best possible exponential rate
    within the algorithms that give the leader half of the rows (theorem 1 of the paper, independent draws).

    Attributes:
        delta: what may be left of the posterior probability that the leader is not good enough.
        tolerance: what is good enough, in units of the score.
        share: most cells after the first block, as a share of the grid; at least what six candidates need
            to meet all rows.
        batch: candidates sampled between two looks.
        block: rows bought at a time.
        first: rows of the first block; None is 20, or a quarter of the rows if that is less, at least 10.
        seed: of the draws.
    """

    delta: float = 0.02
    tolerance: float = 0.01
    share: float = 0.1
    batch: int = 6
    block: int = 12
    first: int | None = None
    seed: int = 0

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        self._check()
        if not candidates:
            return []
        rng = np.random.default_rng([self.seed, candidates, rows, k])
        board = Board(score, candidates, rows)
        # With nobody to drop, all rows go into putting them in order.
        first = first_block(rows, self.first, _FIRST_ROWS) if k < candidates else rows
        board.meet(range(candidates), first)
        budget = self._budget(candidates, rows)
        while True:
            means, errors = self._posterior(board)
            leaders = board.best(means, k)
            if k >= int(board.comparable.sum()):
                break
            draws = means + errors * rng.standard_normal((_DRAWS, candidates))
            draws[:, ~board.comparable] = -np.inf
            if _shortfall(draws, leaders, self.tolerance) <= self.delta:
                break
            picks = self._picks(draws, board, k)
            if not board.meet_more(picks, self.block, budget - board.cells):
                break
        return board.level(leaders)

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return the most that `share` and levelling the winners allow."""
        return min(candidates * rows, self._budget(candidates, rows) + k * rows)

    def _budget(self, candidates: int, rows: int) -> int:
        """Return the most cells before the winners are levelled."""
        return spending(candidates, rows, first_block(rows, self.first, _FIRST_ROWS), self.share)

    def _posterior(self, board: Board) -> tuple[Floats, Floats]:
        """Return posterior means and standard deviations `[candidates]` of the means over all rows."""
        means, noise = board.adjusted(_PRIOR_ROWS)
        counts = np.maximum((~np.isnan(board.values)).sum(axis=1), 1)
        seen = board.comparable
        if not seen.any():
            return means, np.zeros_like(means)
        error = np.nan_to_num(noise) / counts
        spread = max(float(np.var(means[seen]) - np.mean(error[seen])), 0.1 * float(np.mean(error[seen])))
        # What rows not met can still change: nothing once all are met.
        error *= 1 - board.met / board.rows
        weight = spread / (spread + error) if spread > 0 else np.ones_like(error)
        centre = float(np.mean(means[seen]))
        return centre + weight * (means - centre), np.sqrt(weight * error)

    def _picks(self, draws: Floats, board: Board, k: int) -> list[int]:
        """Return up to `batch` candidates with rows left: leaders and challengers of successive draws."""
        answers = draws.argmax(axis=1)[:, None] if k == 1 else np.argpartition(-draws, k - 1, axis=1)[:, :k]
        tops = [frozenset(answer) for answer in answers.tolist()]
        open_ = (board.comparable & (board.met < board.rows)).tolist()
        picks: dict[int, None] = {}
        first = 0
        while first < len(tops) and len(picks) < self.batch:
            leaders = tops[first]
            second = next((i for i in range(first + 1, len(tops)) if tops[i] != leaders), None)
            if second is None:
                break
            for pick in (*sorted(leaders - tops[second]), *sorted(tops[second] - leaders)):
                if open_[pick]:
                    picks[pick] = None
            first = second + 1
        return list(picks)[: self.batch]

    def _check(self) -> None:
        check_bandit(
            "top_two",
            delta=self.delta,
            share=self.share,
            first=self.first,
            block=self.block,
            batch=self.batch,
        )


def _shortfall(draws: Floats, leaders: list[int], tolerance: float) -> float:
    """Return the share of draws in which some other candidate beats a leader by more than the tolerance."""
    others = np.delete(draws, leaders, axis=1)
    return float(np.mean(others.max(axis=1) > draws[:, leaders].min(axis=1) + tolerance))
