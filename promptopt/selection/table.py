"""Run a selector on a table of known scores: for simulation, for replay, and for scores from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..contracts.selector import Selector
from ..errors import ContractError, DataError
from ..records import Cell, Evaluation, Score


class TableScorer:
    """Answer a selector out of a table `[candidates, rows]` and count the cells it would have bought.

    NaN is a failed cell. Known cells are not counted again.

    Attributes:
        cells: cells asked for so far.
    """

    def __init__(self, table: ArrayLike) -> None:
        """Copy the table.

        Raises:
            DataError: not two dimensions, or an infinite value.
        """
        values = np.array(table, dtype=np.float64)
        if values.ndim != 2 or not values.shape[1]:
            raise DataError("score table", "needs two dimensions, candidates and rows", got=values.shape)
        if np.isinf(values).any():
            raise DataError("score table", "holds an infinite value", do="mark failed cells with NaN")
        self.cells = 0
        self.candidates, self.rows = values.shape
        self._values = values
        self._names = [str(row) for row in range(self.rows)]
        self._bought: dict[int, list[Cell]] = {}

    def __call__(self, candidates: Sequence[int], n: int) -> list[Evaluation]:
        """Return the evaluations of these candidates on the first n rows.

        Raises:
            ContractError: a candidate or a number of rows that the table does not have, or the same
                candidate twice.
        """
        if not 1 <= n <= self.rows:
            raise ContractError("selector", f"must ask for 1 to {self.rows} rows", got=n)
        if len(set(candidates)) < len(candidates):
            raise ContractError("selector", "asked for a candidate twice in one call", got=list(candidates))
        for position in candidates:
            if not 0 <= position < self.candidates:
                raise ContractError(
                    "selector", f"must ask for candidates 0 to {self.candidates - 1}", got=position
                )
        return [Evaluation(str(position), "table", self._buy(position, n)) for position in candidates]

    def _buy(self, position: int, n: int) -> tuple[Cell, ...]:
        cells = self._bought.setdefault(position, [])
        prompt, known = str(position), len(cells)
        for name, value in zip(self._names[known:n], self._values[position, known:n].tolist(), strict=True):
            if math.isnan(value):
                cells.append(Cell(prompt, name, status="failed", reason="missing in the table"))
            else:
                cells.append(Cell(prompt, name, score=Score(value)))
        self.cells += max(0, n - known)
        return tuple(cells[:n])


def select_from_table(selector: Selector, table: ArrayLike, k: int = 1) -> tuple[list[int], int]:
    """Return the `k` best candidates of a table, best first, and how many cells the selector looked at.

    Args:
        selector: say, `SuccessiveHalving()`.
        table: scores `[candidates, rows]`, NaN for failed cells; column order is the order of the rows.
        k: how many to choose.
    """
    score = TableScorer(table)
    return selector.select(score, score.candidates, score.rows, min(k, score.candidates)), score.cells
