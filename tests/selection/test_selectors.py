"""Full grid and successive halving: plans, choices and cells."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import plugins
from promptopt.errors import BudgetExhausted, ConfigError
from promptopt.records import Cell, Evaluation, Score
from promptopt.selection.full import FullGrid
from promptopt.selection.halving import SuccessiveHalving
from promptopt.selection.hyperband import Hyperband
from promptopt.selection.race import PairedRace
from promptopt.selection.ranking import best_first
from promptopt.selection.table import TableScorer, select_from_table
from promptopt.selection.top_two import TopTwo
from promptopt.selection.upper_bounds import UpperBounds
from promptopt.testing.selector import check_selector

SELECTORS = [
    FullGrid(),
    SuccessiveHalving(),
    SuccessiveHalving(eta=3),
    SuccessiveHalving(eta=1.3, first=1),
    SuccessiveHalving(eta=50),
    SuccessiveHalving(first=10_000),
    PairedRace(),
    PairedRace(share=1),
    PairedRace(test="mcnemar"),
    PairedRace(alpha=0.05, test="bernstein", family=True),
    PairedRace(first=2, growth=1.1),
    UpperBounds(),
    UpperBounds(bounds="kl"),
    UpperBounds(first=2, block=7, batch=1),
    TopTwo(),
    TopTwo(first=2, block=7, batch=1),
    Hyperband(),
    Hyperband(eta=1.5, brackets=9, first=1),
]


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_every_selector_keeps_the_contract(selector):
    check_selector(selector)


@pytest.mark.parametrize(
    "name", ["full", "successive_halving", "paired_race", "upper_bounds", "top_two", "hyperband"]
)
def test_selectors_are_found_by_name(name):
    assert plugins.build("selectors", name).cells(4, 10, 4) == 40


def test_the_default_plan_is_written_down():
    assert SuccessiveHalving().rounds(20, 100, 1) == [(25, 10), (32, 5), (45, 3), (67, 2), (100, 1)]
    assert SuccessiveHalving().cells(20, 100, 1) == 20 * 25 + 10 * 7 + 5 * 13 + 3 * 22 + 2 * 33
    assert SuccessiveHalving().rounds(64, 500, 1)[0] == (32, 32)
    assert SuccessiveHalving().cells(64, 500, 1) < 64 * 500 / 7


def test_without_a_large_first_block_rounds_get_about_equal_cells():
    selector = SuccessiveHalving(first=1)
    met, alive, cells = 0, 64, []
    for n, keep in selector.rounds(64, 1_000, 1):
        cells.append(alive * (n - met))
        met, alive = n, keep
    assert len(cells) == 6
    assert max(cells) <= 1.05 * min(cells)


@given(
    st.integers(1, 80),
    st.integers(1, 300),
    st.integers(1, 80),
    st.floats(1.05, 9),
    st.none() | st.integers(1, 400),
)
def test_plans_grow_and_end_on_all_rows(candidates, rows, k, eta, first):
    k = min(k, candidates)
    selector = SuccessiveHalving(eta, first)
    plan = selector.rounds(candidates, rows, k)
    met, kept = [n for n, _ in plan], [keep for _, keep in plan]
    assert met == sorted(met)
    assert met[0] >= 1
    assert met[-1] == rows
    assert rows not in met[:-1]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == k
    assert all(keep >= k for keep in kept)
    assert selector.cells(candidates, rows, k) <= FullGrid().cells(candidates, rows, k)
    if first is not None and len(plan) > 1:
        assert met[0] >= min(first, rows)


@given(st.integers(1, 12), st.integers(1, 40), st.data())
def test_halving_buys_exactly_what_it_plans(candidates, rows, data):
    k = data.draw(st.integers(1, candidates))
    table = np.random.default_rng(candidates * rows).integers(0, 2, (candidates, rows))
    winners, cells = select_from_table(SuccessiveHalving(), table, k)
    assert cells == SuccessiveHalving().cells(candidates, rows, k)
    means = table[winners].mean(axis=1)
    assert list(means) == sorted(means, reverse=True)


def test_the_full_grid_returns_the_best_means_with_ties_by_position():
    table = np.array([[0, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    assert select_from_table(FullGrid(), table, 4) == ([1, 2, 0, 3], 16)
    assert select_from_table(FullGrid(), np.zeros((0, 3)), 2) == ([], 0)
    assert select_from_table(SuccessiveHalving(), np.zeros((0, 3)), 2) == ([], 0)


def test_a_candidate_that_fails_too_often_ranks_last_and_a_rare_failure_does_not_count():
    table = np.full((3, 20), 0.5)
    table[0, :3] = np.nan  # 15 %: not comparable, although its mean is best
    table[0, 3:] = 1.0
    table[1, :2] = np.nan  # 10 %: compared on the 18 rows it has
    table[1, 2:] = 0.6
    for selector in SELECTORS:
        assert select_from_table(selector, table, 3)[0] == [1, 2, 0]


def test_ranking_handles_unequal_and_empty_evaluations():
    def evaluation(*values):
        cells = [Cell("p", str(row), score=Score(value)) for row, value in enumerate(values)]
        return Evaluation("p", "r", tuple(cells))

    evaluations = [
        evaluation(),
        evaluation(0.2),
        evaluation(0.9, 0.1),
        evaluation(-4.0),
        evaluation(0.5, 0.5),
    ]
    assert best_first([7, 3, 5, 1, 4], evaluations) == [4, 5, 3, 1, 7]


@pytest.mark.parametrize("selector", [SuccessiveHalving(eta=1), SuccessiveHalving(eta=math.nan)])
def test_an_eta_that_drops_nobody_is_refused(selector):
    with pytest.raises(ConfigError, match=r"successive_halving\.eta: must be above 1"):
        selector.cells(4, 10, 1)


def test_a_first_block_of_no_rows_is_refused():
    with pytest.raises(ConfigError, match=r"successive_halving\.first"):
        SuccessiveHalving(first=0).rounds(4, 10, 1)


def test_budget_exhaustion_leaves_what_was_scored():
    score = TableScorer(np.eye(8).repeat(4, axis=1))
    calls = []

    def cut(positions, n):
        calls.append((list(positions), n))
        if len(calls) == 2:
            raise BudgetExhausted("budget", "spent")
        return score(positions, n)

    with pytest.raises(BudgetExhausted):
        SuccessiveHalving().select(cut, 8, 32, 1)
    assert score.cells == 8 * calls[0][1]


def test_halving_keeps_a_good_prompt_for_less_than_half_of_the_cells():
    repeats, candidates, rows = 60, 24, 128
    regret = dict.fromkeys(("full", "halving"), 0.0)
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        skill = rng.normal(0, 0.9, candidates)
        difficulty = rng.normal(0, 1.5, rows)
        chance = 1 / (1 + np.exp(-(skill[:, None] - difficulty)))
        table = (rng.random((candidates, rows)) < chance).astype(float)
        true = (1 / (1 + np.exp(-(skill[:, None] - rng.normal(0, 1.5, 2_000))))).mean(axis=1)
        for name, selector in (("full", FullGrid()), ("halving", SuccessiveHalving())):
            (winner,), cells = select_from_table(selector, table)
            regret[name] += (true.max() - true[winner]) / repeats
            assert name == "full" or cells <= 0.4 * candidates * rows
    assert regret["halving"] <= 0.02
    assert regret["halving"] - regret["full"] <= 0.01
