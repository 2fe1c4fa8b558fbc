"""Sequential halving with cumulative scores: drop the worse half, again and again, on shared rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..contracts.selector import ScoreRows
from .options import check_halving
from .ranking import best_first

_FIRST_ROWS = 32
_FIRST_SHARE = 4
_FEWEST_ROWS = 10


@dataclass(frozen=True)
class SuccessiveHalving:
    """Score all candidates on a first block of rows, keep the better half, go on with the next block.

    Z. Karnin, T. Koren and O. Somekh, Almost Optimal Exploration in Multi-Armed Bandits, ICML 2013,
    algorithm 1 (Sequential Halving), with two changes that a table of prompts and rows invites: blocks are
    prefixes of one shared order, so that comparisons are paired, and scores accumulate over the blocks
    instead of being thrown away after each. The last round meets all rows, so its k winners are known as
    well as the full grid would know them. After the first block every round gets about equally many cells,
    as in the paper.

    Guarantee, for scores in [0, 1] and rows drawn at random: with n_r rows met by the end of round r,
    m_r candidates kept after it and gaps D_i to the best candidate, the best one is lost with probability
    at most sum_r sum_i exp(-n_r * D_i**2 / 2) / m_r (for k = 1; Hoeffding 1963 for each pair, then Markov:
    to be dropped, at least m_r others must be ahead). It holds for shared, reused rows, where the paper's
    theorem 4.1, 3 * log2(c) * exp(-T / (8 * H2 * log2(c))) for T fresh draws and c candidates, does not
    apply as it stands.

    Attributes:
        eta: one in `eta` candidates survives a round; above 1. Higher is rougher.
        first: rows of the first block; None is 32, or a quarter of the rows if that is less, and at least
            10, so that one failed cell does not make a prompt incomparable. A first block smaller than its
            equal share of the cells is enlarged to it.
    """

    eta: float = 2.0
    first: int | None = None

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        alive = list(range(candidates))
        for n, keep in self.rounds(candidates, rows, k):
            alive = best_first(alive, score(alive, n))[:keep]
        return alive

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return how many cells `select` asks for."""
        total, alive, known = 0, candidates, 0
        for n, keep in self.rounds(candidates, rows, k):
            total += alive * (n - known)
            alive, known = keep, n
        return total

    def rounds(self, candidates: int, rows: int, k: int) -> list[tuple[int, int]]:
        """Return the plan: for each round, the rows met by its end and the candidates kept after it.

        Raises:
            ConfigError: `eta` or `first` is out of range.
        """
        check_halving("successive_halving", self.eta, self.first)
        if not candidates:
            return []
        alive = [candidates]
        while (kept := max(k, math.ceil(alive[-1] / self.eta))) < alive[-1] and kept > k:
            alive.append(kept)
        plan = [(n, kept) for n, kept in zip(self._blocks(alive, rows), [*alive[1:], k], strict=True)]
        # With few rows, rounds may meet all of them early; the first that does decides.
        last = next(i for i, (n, _) in enumerate(plan) if n == rows)
        return [*plan[:last], (rows, min(k, candidates))]

    def _blocks(self, alive: list[int], rows: int) -> list[int]:
        """Return the rows met by the end of each round, the last of them all rows."""
        if len(alive) == 1:
            return [rows]
        shares = [1 / survivors for survivors in alive]
        equal = rows * shares[0] / sum(shares)
        wanted = self.first
        if wanted is None:
            wanted = max(_FEWEST_ROWS, min(_FIRST_ROWS, rows // _FIRST_SHARE))
        first = min(float(rows), max(float(wanted), equal))
        met = [first]
        for share in shares[1:]:
            met.append(met[-1] + (rows - first) * share / sum(shares[1:]))
        return [max(1, round(n)) for n in met[:-1]] + [rows]
