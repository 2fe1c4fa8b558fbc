"""The benchmark of verdicts counts what it says."""

import numpy as np
import pytest

from benchmarks.verdicts import POOLS, WORLDS, finals_of, missed, play


def test_worlds_have_the_means_they_promise():
    skills = np.array([0.0, 1.0])
    for world in WORLDS:
        scores = world.draw(skills, 20_000, np.random.default_rng(0))
        assert scores.mean(axis=1) == pytest.approx(world.true(skills), abs=0.025), world.name


def test_intervals_of_reused_rows_hold_for_most_winners_and_finals_are_those_of_a_run():
    below, above = missed(POOLS[2], WORLDS[0], 30, 30, 0)
    assert 0 <= below + above <= 0.14
    skills, table = play(POOLS[2], WORLDS[0], 30, 0, 0)
    assert (len(skills), table.shape) == (6, (6, 30))
    finals, evaluations = finals_of(table, 0)
    assert finals.rows == 30
    assert evaluations[0].mean == table[0].mean()
