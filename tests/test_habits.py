"""How a model is taken to answer, by what it was seen to do."""

import pytest

from promptopt.habits import Habits, Tried


def test_nothing_tried_is_as_good_as_the_seed_prompt():
    assert Habits(right=0.4).right_with(1000) == 0.4


def test_prompts_near_in_size_count_the_more():
    habits = Habits(
        tried=(Tried(50, 20, 5.0), Tried(100, 20, 20.0), Tried(105, 20, 20.0), Tried(400, 20, 0.0))
    )
    assert habits.right_with(50) == pytest.approx(0.25, abs=0.01)
    assert habits.right_with(102) > 0.98  # two of them, all right
    assert habits.right_with(4000) == pytest.approx(0.25 / 20.5)  # the nearest, however far
    assert habits.right_with(50) < habits.right_with(70) < habits.right_with(100)
