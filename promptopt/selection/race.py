"""Paired race: drop a prompt as soon as the shared rows show that it is behind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..contracts.selector import ScoreRows
from ..errors import ConfigError
from ..proof.stats import mcnemar_exact
from .board import Board, Floats, first_block, spending
from .options import check_first, check_share

_FIRST_ROWS = 18
_MAX_BET = 0.75


@dataclass(frozen=True)
class PairedRace:
    """Let all candidates meet more and more rows; after each look, drop those reliably behind the k-th best.

    O. Maron and A. Moore, The Racing Algorithm: Model Selection for Lazy Learners, Artificial Intelligence
    Review 11, 1997, made elitist as in M. López-Ibáñez et al., The irace Package, Operations Research
    Perspectives 3, 2016, section 3: candidates are only compared on rows that both have met, so a leader is
    never thrown out by a newcomer's few lucky rows. Looks come at geometrically growing numbers of rows.

    Guarantee, for rows drawn at random: over all looks, a candidate that is at least as good as a given
    rival is dropped because of that rival with probability at most `alpha`; with `family`, the best
    candidate is lost to any rival at all with probability at most `alpha`. How well it holds, by `test`:

    - "mcnemar": each of L looks gets alpha / L (the union bound, the simplest alpha-spending rule). 0/1
      scores meet the exact one-sided sign test on the rows where the two disagree (Q. McNemar,
      Psychometrika 12, 1947), so for them it is exact. Other scores meet the paired t test, whose level
      holds about, from some 20 rows on.
    - "adjusted" (the default): the same spending, but the question is whether the candidate would still be
      behind when all rows of the table are met, which takes fewer cells: the normal test on paired
      differences with one pseudo-row added for either side (D. Bonett and R. Price, Adjusted Wald Confidence
      Interval for a Difference of Binomial Proportions Based on Paired Data, J. Educational and Behavioral
      Statistics 37(4), 2012) and the finite-population correction (W. Cochran, Sampling Techniques, 1977,
      section 2.6). The level holds about, and about the table, not the task. A candidate is dropped, too,
      when it cannot be more than `margin` ahead, so what ties with the leader row for row is not scored to
      the end: the level is that of losing a candidate that is better by `margin` or more.
    - "bernstein": the mean difference's lower confidence sequence (I. Waudby-Smith and A. Ramdas,
      Estimating Means of Bounded Random Variables by Betting, JRSS B 86, 2024, theorem 2, one-sided) holds
      at all looks at once, for any scores in [0, 1]: nothing is assumed of their distribution. It takes
      several times the rows. Scores on another scale are divided by the range seen, which is not proven.

    With `share` below 1, looks that would cost more than an equal part of the cells left drop the worst
    ranked, too, as halving does, and the guarantee covers only what is dropped by the test. What all of
    this costs in cells: benchmarks/selection.

    Attributes:
        alpha: error level, over all looks.
        test: "adjusted", "mcnemar" or "bernstein".
        family: divide alpha by the number of rivals.
        share: most cells after the first look, as a share of the grid; at least what six candidates need
            to meet all rows. 1 lets the test alone decide.
        first: rows of the first look; None is 18, or a quarter of the rows if that is less, at least 10.
        growth: each look comes at so many times the rows of the last; above 1.
        margin: a lead that is not worth its rows, in units of the reward ("adjusted" only). Prompts that are
            alike on all rows met cost most: two that agree on n of N rows may still be d rows apart with
            probability C(N - d, n) / C(N, n), above `alpha` up to 117 of 500 rows for d = 6, a point. To drop
            copies from 91 rows on saves a quarter of the cells where there are many, about what a `share` of
            .08 does, and finds a worse prompt than that (benchmarks/selection, "race, copies dropped").
        incumbents: so many of the first candidates are elites of an earlier race that have met all rows:
            they stay until their rivals have met them all, too, which costs nothing new.
    """

    alpha: float = 0.2
    test: Literal["adjusted", "mcnemar", "bernstein"] = "adjusted"
    family: bool = False
    share: float = 0.12
    first: int | None = None
    growth: float = 1.35
    margin: float = 0.005
    incumbents: int = 0

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        looks = self.looks(rows)
        board = Board(score, candidates, rows)
        alive = list(range(candidates))
        if k >= candidates:  # nobody to drop; to put them in order is worth all rows
            looks = [rows]
        for look, n in enumerate(looks if candidates else []):
            board.meet(alive, n)
            alive = board.ranked(alive)
            if n == rows or len(alive) <= k:
                break
            behind = self._behind(board.values[alive, :n], k, self._level(candidates, len(looks)), rows)
            going = self._affordable(board, looks[look:], k)
            alive = [
                position
                for place, position in enumerate(alive)
                if place < k
                or position < self.incumbents
                or (place < going and board.comparable[position] and not behind[place])
            ]
            if len(alive) <= k:
                break
        return alive[:k]

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return the most that `share` allows, and the k best and the incumbents on all rows."""
        if self.share == 1:
            return candidates * rows
        first = self.looks(rows)[0]
        stay = min(candidates, k + self.incumbents)
        return min(candidates * rows, spending(candidates, rows, first, self.share) + stay * (rows - first))

    def looks(self, rows: int) -> list[int]:
        """Return the numbers of rows at which candidates may be dropped, the last of them all rows.

        Raises:
            ConfigError: an option is out of range.
        """
        if not 0 < self.alpha < 1:
            raise ConfigError("paired_race.alpha", "must be between 0 and 1", got=self.alpha)
        check_share("paired_race", self.share)
        if not self.growth > 1:
            raise ConfigError("paired_race.growth", "must be above 1", got=self.growth)
        check_first("paired_race", self.first)
        if not 0 <= self.margin < math.inf:
            raise ConfigError("paired_race.margin", "must be at least 0", got=self.margin)
        if self.test not in ("adjusted", "mcnemar", "bernstein"):
            raise ConfigError("paired_race.test", "must be adjusted, mcnemar or bernstein", got=self.test)
        met = [first_block(rows, self.first, _FIRST_ROWS)]
        while met[-1] < rows:
            met.append(min(rows, math.ceil(met[-1] * self.growth)))
        return met

    def _level(self, candidates: int, looks: int) -> float:
        """Return the level of one look, of one pair; a confidence sequence holds at all looks at once."""
        level = self.alpha / max(1, candidates - 1) if self.family else self.alpha
        # The last look drops nobody, so all is spent on those before it.
        return level if self.test == "bernstein" else level / max(1, looks - 1)

    def _affordable(self, board: Board, looks: list[int], k: int) -> int:
        """Return how many candidates an equal part of the cells left lets go on to the next look."""
        if self.share == 1:
            return board.candidates
        left = spending(board.candidates, board.rows, self.looks(board.rows)[0], self.share) - board.cells
        return max(k, int(left / (len(looks) - 1) / (looks[1] - looks[0])))

    def _behind(self, scores: Floats, k: int, level: float, rows: int) -> list[bool]:
        """Say which candidates `[ranked, rows met]` are reliably worse than the k-th of them."""
        leads = scores[k - 1] - scores
        if self.test == "adjusted":
            limit = NormalDist().inv_cdf(1 - level)
            return [bool(z > limit) for z in _adjusted_z(leads, rows, self.margin)]
        if self.test == "mcnemar":
            return [paired_p(lead[~np.isnan(lead)]) <= level for lead in leads]
        known = scores[~np.isnan(scores)]
        span = max(1.0, float(known.max() - known.min())) if len(known) else 1.0
        return [bool(low > 0) for low in proven_low(leads / span, level)]


def _adjusted_z(leads: Floats, rows: int, margin: float) -> Floats:
    """Return how many standard errors each lead `[candidates, rows met]` is above -margin, were all met."""
    known = np.nan_to_num(leads)
    # One pseudo-row for either side, as far apart as any two scores were: few rows show little noise. Where
    # all scores are alike they name no scale, and 1 is that of right and wrong.
    noise = np.square(known).sum(axis=1) + 2 * (np.square(known).max() or 1.0)
    noise *= 1 - leads.shape[1] / rows
    total = known.sum(axis=1) + margin * leads.shape[1]
    return np.asarray(total / np.sqrt(np.maximum(noise, np.finfo(np.float64).tiny)))


def paired_p(leads: Floats) -> float:
    """Return the one-sided p-value of "the mean lead is at most 0": sign test for 0/1 scores, else t."""
    n, total = len(leads), float(leads.sum())
    if n < 2 or total <= 0:
        return 1.0
    wins, losses = int((leads == 1).sum()), int((leads == -1).sum())
    if wins + losses + int((leads == 0).sum()) == n:
        return _sign_p(wins, losses)
    spread = float(leads.std(ddof=1))
    if spread <= 1e-12 * total / n:
        return 0.0
    freedom = n - 1
    t = total / n / spread * math.sqrt(n)
    # Student's tail by the normal one (D. Wallace, Bounds on Normal Approximations to Student's and the
    # Chi-square Distributions, Ann. Math. Statist. 30, 1959): right to .001 from 4 degrees of freedom on.
    z = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return NormalDist().cdf(-z)


@lru_cache(maxsize=65_536)
def _sign_p(wins: int, losses: int) -> float:
    return mcnemar_exact(wins, losses) / 2 if wins > losses else 1.0


def proven_low(leads: Floats, alpha: float) -> Floats:
    """Return the empirical-Bernstein lower confidence sequence of mean leads `[candidates, rows met]`.

    Leads lie in [-1, 1]; rows with NaN are left out. Each bet and each centre know earlier rows only.
    """
    known = ~np.isnan(leads)
    x = np.where(known, (leads + 1) / 2, 0.0)
    t = np.cumsum(known, axis=1)
    means = (0.5 + np.cumsum(x, axis=1)) / (t + 1)
    variances = (0.25 + np.cumsum(np.square(x - means) * known, axis=1)) / (t + 1)
    before = ((0, 0), (1, 0))
    mean = np.pad(means[:, :-1], before, constant_values=0.5)
    variance = np.pad(variances[:, :-1], before, constant_values=0.25)
    t = np.maximum(t, 1)
    bets = np.minimum(_MAX_BET, np.sqrt(2 * math.log(1 / alpha) / (variance * t * np.log1p(t)))) * known
    cost = np.square(x - mean) * (-np.log1p(-bets) - bets)
    staked = bets.sum(axis=1)
    gained = (bets * x - cost).sum(axis=1) - math.log(1 / alpha)
    return np.asarray(np.where(staked > 0, 2 * gained / np.where(staked > 0, staked, 1.0) - 1, -np.inf))
