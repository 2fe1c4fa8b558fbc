"""Full grid: every candidate meets every row."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.selector import ScoreRows
from .ranking import best_first


@dataclass(frozen=True)
class FullGrid:
    """Score all candidates on all rows and take the best means: the yardstick, and the dearest.

    Guarantee: it returns the best candidates of the table, exactly. Of the task, for scores in [0, 1] and
    rows drawn at random: the winner's true mean is more than e below the best candidate's with probability
    at most (candidates - 1) * exp(-rows * e**2 / 2) (W. Hoeffding, Probability Inequalities for Sums of
    Bounded Random Variables, JASA 58, 1963, theorem 2, on the paired differences). The winner's own mean
    is biased upward, the more so the more candidates there are; never report it as the result.
    """

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first."""
        positions = range(candidates)
        return best_first(positions, score(positions, rows))[:k] if candidates else []

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return `candidates * rows`."""
        return candidates * rows
