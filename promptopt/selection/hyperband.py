"""Hyperband: several halvings, from many prompts on few rows to few prompts on many, sharing cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..contracts.selector import ScoreRows
from ..errors import ConfigError
from .board import Board, first_block
from .options import check_halving

_FIRST_ROWS = 16


@dataclass(frozen=True)
class Hyperband:
    """Run brackets of halving that differ in how many rows a prompt meets before it may be dropped.

    L. Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, JMLR 18(185), 2018,
    algorithm 1, for a pool that is given: the boldest bracket takes all candidates and starts with the fewest
    rows; each further bracket starts with eta times the rows and takes a random subset, of the size that
    costs about as many cells. Brackets share cells, so a candidate never meets a row twice, and the winners
    of all brackets meet on all rows. Chance comes from `seed` and the shape of the table.

    Guarantee: that of `SuccessiveHalving` for the bracket that takes everybody, at up to `brackets` times its
    cells (the paper, section 5: within a factor of log(rows) of the best choice of a first block, which
    nobody knows). What it insures against, a ranking on few rows that misleads, costs most of the cells;
    on shared rows it seldom happens.

    Attributes:
        eta: one in `eta` candidates survives a round; above 1.
        brackets: most brackets.
        first: rows that the boldest bracket begins with; None is 16, or a quarter of the rows if that is
            less, at least 10.
        seed: of the subsets.
    """

    eta: float = 3.0
    brackets: int = 3
    first: int | None = None
    seed: int = 0

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        if not candidates:
            return []
        rng = np.random.default_rng([self.seed, candidates, rows, k])
        board = Board(score, candidates, rows)
        winners: set[int] = set()
        for plan in self.plan(candidates, rows, k):
            alive = list(range(candidates))
            if plan[0][0] < candidates:
                alive = sorted(rng.choice(candidates, plan[0][0], replace=False).tolist())
            for size, n in plan:
                board.meet(alive[:size], n)
                alive = self._ranked(board, alive[:size], n)
            winners |= set(alive[:k])
        finalists = sorted(winners)
        board.meet(finalists, rows)
        return board.ranked(finalists)[:k]

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return the cells of all brackets, as if none could use another's, but at most the grid."""
        total = 0
        for plan in self.plan(candidates, rows, k):
            known = 0
            for size, n in plan:
                total += size * (n - known)
                known = n
        return min(candidates * rows, total)

    def plan(self, candidates: int, rows: int, k: int) -> list[list[tuple[int, int]]]:
        """Return the brackets: for each, how many candidates meet how many rows by the end of each round.

        Raises:
            ConfigError: an option is out of range.
        """
        check_halving("hyperband", self.eta, self.first)
        if self.brackets < 1:
            raise ConfigError("hyperband.brackets", "must be at least 1", got=self.brackets)
        start = first_block(rows, self.first, _FIRST_ROWS)
        rounds = 1 + max(0, math.ceil(math.log(max(candidates, 1) / max(k, 1)) / math.log(self.eta)))
        found: list[list[tuple[int, int]]] = []
        met = self._met(start, rows, rounds)
        for bracket in range(min(self.brackets, len(met))):
            # As many candidates as make this bracket's first round cost what the boldest one's does, times
            # (s_max + 1) / (s + 1), since it has fewer rounds.
            size = candidates / self.eta**bracket * rounds / (rounds - bracket)
            alive, plan = min(candidates, max(k, math.ceil(size))), []
            for n in met[bracket:]:
                plan.append((alive, n))
                if n == rows:
                    break
                alive = min(candidates, max(k, math.ceil(alive / self.eta)))
            found.append(plan)
        return found

    def _met(self, start: int, rows: int, rounds: int) -> list[int]:
        """Return the rows met by the end of each round: `eta` times as many, all of them in the last."""
        met = [min(rows, math.ceil(start * self.eta**number)) for number in range(rounds)]
        return [*(n for n in met[:-1] if n < rows), rows]

    def _ranked(self, board: Board, positions: list[int], n: int) -> list[int]:
        """Rank on the first n rows, also those that another bracket has shown more of."""
        scores = board.values[positions, :n]
        failed = np.isnan(scores).sum(axis=1)
        means = np.where(failed < n, np.nansum(scores, axis=1) / np.maximum(n - failed, 1), -np.inf)
        order = sorted(
            range(len(positions)),
            key=lambda i: (not board.comparable[positions[i]], -means[i], positions[i]),
        )
        return [positions[place] for place in order]
