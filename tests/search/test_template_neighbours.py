"""Neighbours of a point: one choice changed, and what depends on it."""

import random

import pytest

from promptopt.search._template_language import read_axes
from promptopt.search._template_neighbours import NEAR, neighbours
from promptopt.search._template_space import Space
from promptopt.template import Template


def make(**numbers):
    slots = {"a": ["p", "q", "r"], "b": {"alternatives": ["s", "t"], "when": {"a": ["p", "q"]}}}
    return Space(Template("{{a}} {{b}} {{x}} {{y}} {{input}}"), read_axes(slots, {}, numbers), ("input",))


def test_all_other_alternatives_are_neighbours_and_what_depends_on_them_goes_along():
    found = list(neighbours(make(), {"a": "p", "b": "t"}, random.Random(0)))
    assert found == [{"a": "q", "b": "t"}, {"a": "r"}, {"a": "p", "b": "s"}]
    back = list(neighbours(make(), {"a": "r"}, random.Random(0)))
    assert [point["a"] for point in back] == ["p", "q"]
    assert all(point["b"] in ("s", "t") for point in back)


@pytest.mark.parametrize(
    ("number", "start"),
    [
        ({"low": 0, "high": 10}, 5),
        ({"low": 0.0, "high": 1.0, "step": 0.25}, 0.5),
        ({"low": 0.5, "high": 1.5}, 1.0),
    ],
)
def test_numbers_have_a_few_neighbours_around_them(number, start):
    space = make(x=number)
    x = space.by_name["x"]
    point = {"a": "r", "x": start}
    rng = random.Random(1)
    drawn = [[n["x"] for n in neighbours(space, point, rng) if n["a"] == "r"] for _ in range(400)]
    assert all(len(its) <= NEAR for its in drawn)
    values = [value for its in drawn for value in its]
    assert all(x.low <= value <= x.high and value != start for value in values)
    if x.step or x.whole:
        assert set(values) <= set(x.values)
    middle = sum(values) / len(values)
    assert middle == pytest.approx(start, abs=0.1 * (x.high - x.low))
    near = sum(abs(value - start) <= 0.25 * (x.high - x.low) for value in values) / len(values)
    assert 0.6 < near < 0.95


def test_numbers_on_a_logarithmic_scale_are_near_in_it():
    space = make(y={"low": 0.001, "high": 1000.0, "log": True})
    rng = random.Random(1)
    values = [
        n["y"] for _ in range(200) for n in neighbours(space, {"a": "r", "y": 1.0}, rng) if n["a"] == "r"
    ]
    assert all(0.001 <= value <= 1000 for value in values)
    assert 0.35 < sum(value < 1 for value in values) / len(values) < 0.65
