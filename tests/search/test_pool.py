"""GEPA's pool: fronts, dominance, whom to draw, whom to merge."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.parts import PARTS
from promptopt.prompt import Prompt
from promptopt.search._pool import (
    Candidate,
    ancestors,
    frequencies,
    fronts,
    gain,
    merge_rows,
    mergeable,
    undominated,
)
from promptopt.template import Template


def pool_of(*scores, parents=None, texts=None, systems=None):
    return [
        Candidate(
            Prompt(texts[i] if texts else f"p{i}", template=Template(system=systems[i] if systems else "")),
            {f"r{j}": value for j, value in enumerate(line) if value is not None},
            parents[i] if parents else (),
        )
        for i, line in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # The paper's example (section 3.1): 2 ties with 3 on one task and loses on the other, so it is out.
        ([(0.0, 0.0), (0.5, 0.0), (0.5, 1.0)], [0, 0, 2]),
        ([(1, 0, 0), (0, 1, 1), (0, 0, 0)], [1, 2, 0]),
        ([(1, 1, 0), (1, 0, 1)], [2, 2]),
        # Every front of 0 holds 1 or 2, so it is dominated by them together.
        ([(1, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)], [0, 2, 2]),
        # Of equals the older stays.
        ([(1, 0), (1, 0)], [2, 0]),
        ([(None, 1.0), (0.2, 0.9)], [1, 1]),
        ([()], [0]),
    ],
)
def test_candidates_count_by_the_rows_they_lead_without_the_dominated(scores, expected):
    assert frequencies(pool_of(*scores)) == expected


LINES = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * n), min_size=1, max_size=6)
)


@settings(deadline=None)
@given(LINES)
def test_every_row_keeps_a_leader_and_nobody_left_is_dominated(scores):
    pool = pool_of(*scores)
    kept, every = undominated(pool), fronts(pool)
    left = set().union(*kept)
    assert all(kept)
    assert all(front <= whole for front, whole in zip(kept, every, strict=True))
    for place in left:
        assert any(front == {place} for front in kept)
    best = max(range(len(pool)), key=lambda place: pool[place].mean)
    assert all(pool[place].mean <= pool[best].mean for place in left)


def test_ancestors_are_all_that_a_line_comes_from():
    pool = pool_of(*[(0,)] * 6, parents=[(), (0,), (0,), (1, 2), (3,), ()])
    assert [ancestors(pool, place) for place in range(6)] == [set(), {0}, {0}, {0, 1, 2}, {0, 1, 2, 3}, set()]


@pytest.mark.parametrize(
    ("scores", "parents", "expected"),
    [
        ([(0, 0), (1, 0), (0, 1)], [(), (0,), (0,)], [(1, 2, 0)]),
        # One descends from the other.
        ([(0, 0), (1, 0), (0, 1)], [(), (0,), (1,)], []),
        # No common ancestor.
        ([(0, 0), (1, 0), (0, 1)], [(), (), (0,)], []),
        # The ancestor is above one of them.
        ([(1, 0, 0.9), (0, 1, 0), (0, 0, 1)], [(), (0,), (0,)], []),
        # Two ancestors of both.
        ([(0, 0), (0, 0), (1, 0), (0, 1)], [(), (0,), (1,), (1,)], [(2, 3, 0), (2, 3, 1)]),
    ],
)
def test_lines_of_a_common_ancestor_can_be_merged(scores, parents, expected):
    assert list(mergeable(pool_of(*scores, parents=parents), [PARTS["instruction"]])) == expected


def test_lines_that_differ_in_no_part_that_is_changed_are_not_merged():
    pool = pool_of(
        (0, 0), (1, 0), (0, 1), parents=[(), (0,), (0,)], texts=["a", "b", "b"], systems=["s", "s", "t"]
    )
    assert list(mergeable(pool, [PARTS["instruction"]])) == []
    assert list(mergeable(pool, [PARTS["instruction"], PARTS["system"]])) == [(1, 2, 0)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12), st.integers(0, 9))
def test_a_merge_is_tried_on_rows_of_each_kind(pairs, seed):
    first = {str(i): float(a) for i, (a, _) in enumerate(pairs)}
    second = {str(i): float(b) for i, (_, b) in enumerate(pairs)}
    drawn = merge_rows(random.Random(seed), first, second)
    assert len(drawn) == min(5, len(pairs))
    for kind in ([a > b for a, b in pairs], [a < b for a, b in pairs]):
        if any(kind):
            assert any(kind[int(row)] for row in drawn)


def test_a_gain_is_over_shared_rows():
    assert gain({"a": 1.0, "b": 0.0}, {"b": 1.0, "c": 1.0}) == -1.0
    assert gain({"a": 1.0}, {"b": 1.0}) == float("-inf")
