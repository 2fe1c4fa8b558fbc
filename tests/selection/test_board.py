"""The board: what is bought, what is remembered, means across unequal rows."""

import numpy as np
import pytest

from promptopt.selection.board import Board, first_block, spending
from promptopt.selection.table import TableScorer


def board_of(table):
    score = TableScorer(table)
    return Board(score, *np.shape(table)), score


def test_known_rows_are_not_asked_for_again():
    board, score = board_of(np.eye(3))
    board.meet([0, 1, 2], 2)
    board.meet([1, 2], 2)
    board.meet([2], 1)
    assert score.cells == board.cells == 6
    assert board.met.tolist() == [2, 2, 2]
    board.meet([2], 3)
    assert board.values[2].tolist() == [0.0, 0.0, 1.0]
    assert np.isnan(board.values[0, 2])


def test_more_rows_stop_at_the_table_and_at_the_room():
    board, score = board_of(np.zeros((3, 10)))
    board.meet([0], 8)
    assert board.meet_more([0, 1, 2], 4, room=7)
    assert board.met.tolist() == [10, 4, 0]
    assert not board.meet_more([0], 4)
    assert score.cells == 14


def test_a_candidate_that_met_the_easy_rows_only_is_not_flattered():
    difficulty = np.array([0.0, 0.0, 0.0, 0.0, -0.6, -0.6, -0.6, -0.6])
    table = np.array([[0.9], [0.8], [0.7]]) + difficulty
    board, _ = board_of(table)
    board.meet([0, 1, 2], 4)
    board.meet([0, 1], 8)
    means, variances = board.adjusted()
    for _ in range(20):
        means, variances = board.adjusted()
    assert means[0] - means[2] == pytest.approx(0.2, abs=1e-6)
    assert means[1] - means[2] == pytest.approx(0.1, abs=1e-6)
    assert variances == pytest.approx([0, 0, 0], abs=1e-9)
    assert np.mean(table[1]) < np.mean(table[2, :4])  # which own means would get wrong


def test_residual_variance_is_that_of_the_paired_noise():
    rng = np.random.default_rng(3)
    table = rng.normal(0, 2, 400) + rng.normal(0, 0.5, (30, 400))
    board, _ = board_of(table)
    board.meet(range(30), 400)
    _, variances = board.adjusted()
    assert np.mean(variances) == pytest.approx(0.25, rel=0.05)
    table[:3] = 1.0  # three candidates without any spread borrow some
    board, _ = board_of(np.where(rng.random((30, 400)) < 0.5, 1.0, table))
    board.meet(range(30), 20)
    assert (board.adjusted(lent=8)[1] > 0).all()


def test_failed_cells_leave_means_alone_and_an_empty_candidate_ranks_last():
    table = np.array([[0.5] * 12, [np.nan] * 12, [0.7] * 11 + [np.nan]])
    board, _ = board_of(table)
    board.meet(range(3), 12)
    means, variances = board.adjusted()
    assert means[2] - means[0] == pytest.approx(0.2)
    assert np.isnan(means[1])
    assert np.isnan(variances[1])
    assert board.best(means, 3) == [2, 0, 1]


def test_winners_are_levelled_before_they_are_ranked():
    table = np.array([[1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1]], dtype=float)
    board, score = board_of(table)
    board.meet([0], 2)
    board.meet([1], 6)
    assert board.level([0, 1]) == [1, 0]
    assert score.cells == 12


def test_small_tables_get_enough_to_spend():
    assert first_block(500, None, 20) == 20
    assert first_block(60, None, 20) == 15
    assert first_block(20, None, 20) == 10
    assert first_block(6, None, 20) == 6
    assert first_block(60, 40, 20) == 40
    assert spending(64, 500, 20, 0.1) == 1280 + 3200
    assert spending(10, 50, 12, 0.1) == 120 + 6 * 38
