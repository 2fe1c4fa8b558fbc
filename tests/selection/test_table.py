"""Score tables: what they answer, what they count, what they refuse."""

import numpy as np
import pytest

from promptopt.errors import ContractError, DataError
from promptopt.selection.full import FullGrid
from promptopt.selection.table import TableScorer, select_from_table


def test_cells_are_counted_once():
    score = TableScorer([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    first, second = score([1, 0], 2)
    assert [first.mean, second.mean] == [0.5, 0.5]
    assert score.cells == 4
    assert score([0], 3)[0].mean == pytest.approx(2 / 3)
    assert score.cells == 5
    score([0, 1], 1)
    assert score.cells == 5


def test_nan_is_a_failed_cell_on_a_shared_row():
    score = TableScorer([[np.nan, 1.0], [0.0, 1.0]])
    broken, whole = score([0, 1], 2)
    assert broken.failed == 1
    assert broken.mean == 1
    assert not broken.comparable
    assert [cell.example for cell in broken.cells] == [cell.example for cell in whole.cells]


def test_k_above_the_number_of_candidates_is_cut():
    assert select_from_table(FullGrid(), [[0.0], [1.0]], k=5) == ([1, 0], 2)


@pytest.mark.parametrize("table", [[0.0, 1.0], [[]], [[[0.0]]], [[0.0, np.inf]]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(DataError, match="score table"):
        TableScorer(table)


@pytest.mark.parametrize(("positions", "n"), [([0], 0), ([0], 3), ([2], 1), ([-1], 1), ([0, 0], 1)])
def test_what_the_table_does_not_have_is_refused(positions, n):
    with pytest.raises(ContractError, match="selector"):
        TableScorer([[0.0, 1.0], [1.0, 0.0]])(positions, n)
