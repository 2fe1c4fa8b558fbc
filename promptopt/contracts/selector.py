"""The contract of a selector: which of these prompts are best, found with how few cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ..records import Evaluation

ScoreRows = Callable[[Sequence[int], int], list[Evaluation]]
"""`score(candidates, n)`: evaluate these candidates (by position) on the first n rows of the shared order.

Scores are cumulative: known cells are not bought again. It may raise `BudgetExhausted`.
"""


@runtime_checkable
class Selector(Protocol):
    """Find the k best of `candidates` prompts on at most `rows` shared rows."""

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        """Return the positions of the k best, best first; ties go to the lower position.

        A candidate whose evaluation is not `comparable` ranks behind all that are.
        """
        ...

    def cells(self, candidates: int, rows: int, k: int) -> int:
        """Return the most cells that `select` can ask for, for the plan."""
        ...
