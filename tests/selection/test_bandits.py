"""UCB, top-two Thompson sampling and hyperband: bounds, choices, cells, repeatability."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import ConfigError
from promptopt.selection.hyperband import Hyperband
from promptopt.selection.table import TableScorer, select_from_table
from promptopt.selection.top_two import TopTwo
from promptopt.selection.upper_bounds import UpperBounds, furthest

SELECTORS = [UpperBounds(), UpperBounds(bounds="kl"), TopTwo(), Hyperband()]


def pool(seed, candidates=24, rows=200, kind="binary"):
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(-(rng.normal(0, 0.8, candidates)[:, None] - rng.normal(0, 1.2, rows))))
    if kind == "graded":
        return rng.beta(3 * chance + 0.1, 3 * (1 - chance) + 0.1)
    if kind == "log-likelihood":
        return np.log(chance) * 5 + rng.normal(0, 1, chance.shape)
    return (rng.random(chance.shape) < chance).astype(float)


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
@pytest.mark.parametrize("kind", ["binary", "graded", "log-likelihood"])
def test_a_good_prompt_is_found_for_part_of_the_cells_on_any_scale(selector, kind):
    shortfall, spent = [], []
    for seed in range(12):
        table = pool(seed, kind=kind)
        (winner,), cells = select_from_table(selector, table)
        means = table.mean(axis=1)
        shortfall.append((means.max() - means[winner]) / means.std())
        spent.append(cells / table.size)
    assert np.mean(shortfall) < 0.25  # a prompt drawn at random falls short by about two
    assert np.mean(spent) < (0.6 if isinstance(selector, Hyperband) else 0.4)


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
@given(candidates=st.integers(1, 12), rows=st.integers(1, 60), data=st.data())
def test_no_more_is_bought_than_promised(selector, candidates, rows, data):
    k = data.draw(st.integers(1, candidates))
    table = pool(rows, candidates, rows)
    table[np.random.default_rng(rows).random(table.shape) < data.draw(st.sampled_from((0, 0.05, 0.5)))] = (
        np.nan
    )
    winners, cells = select_from_table(selector, table, k)
    assert len(set(winners)) == k
    assert cells <= selector.cells(candidates, rows, k) <= candidates * rows


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_the_same_data_give_the_same_choice(selector):
    table = pool(7)
    assert select_from_table(selector, table, 3) == select_from_table(selector, table, 3)


@pytest.mark.parametrize("kind", [TopTwo, Hyperband])
def test_another_seed_buys_other_cells(kind):
    asked = []
    for seed in range(3):
        score = TableScorer(pool(2))
        asked.append([])

        def watch(positions, n, score=score):
            asked[-1].append((tuple(positions), n))
            return score(positions, n)

        kind(seed=seed).select(watch, 24, 200, 1)
    assert len({str(calls) for calls in asked}) == 3


@pytest.mark.parametrize("selector", [UpperBounds(), UpperBounds(bounds="kl"), TopTwo()], ids=repr)
def test_winners_have_met_as_many_rows_as_anybody_and_are_ranked_on_them(selector):
    table = pool(11)
    score = TableScorer(table)
    met = {}

    def watch(positions, n):
        met.update(dict.fromkeys(positions, n))
        return score(positions, n)

    winners = selector.select(watch, 24, 200, 4)
    assert {met[winner] for winner in winners} == {max(met.values())}
    means = [table[winner, : met[winner]].mean() for winner in winners]
    assert means == sorted(means, reverse=True)
    assert len(set(met.values())) > 1


@pytest.mark.parametrize("p", [0.0, 0.3, 0.85, 1.0])
def test_kl_bounds_invert_the_divergence(p):
    def divergence(q):
        return sum(a * np.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)

    high = furthest(np.array([p]), np.array([0.05]), 1)[0]
    low = furthest(np.array([p]), np.array([0.05]), -1)[0]
    assert low <= p <= high
    if p < 1:
        assert divergence(high) == pytest.approx(0.05, abs=1e-4)
    if p > 0:
        assert divergence(low) == pytest.approx(0.05, abs=1e-4)


def test_kl_bounds_that_part_are_right():
    wrong = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        table = (rng.random((6, 300)) < np.array([0.2, 0.3, 0.2, 0.8, 0.3, 0.1])[:, None]).astype(float)
        (winner,), cells = select_from_table(UpperBounds(bounds="kl", share=1), table)
        wrong += winner != 3
        assert cells < 0.6 * table.size
    assert wrong == 0


def test_a_clear_winner_ends_the_search_early():
    table = np.zeros((20, 300))
    table[4] = 1.0
    for selector in (UpperBounds(), TopTwo()):
        winners, cells = select_from_table(selector, table)
        assert winners == [4]
        assert cells < 20 * 300 / 10


def test_the_plan_of_hyperband_trades_prompts_for_rows():
    first, second, third = Hyperband().plan(64, 500, 1)
    assert first == [(64, 16), (22, 48), (8, 144), (3, 432), (1, 500)]
    assert [bracket[0][1] for bracket in (first, second, third)] == [16, 48, 144]
    assert first[0][0] > second[0][0] > third[0][0]
    costs = [sum(size * n for size, n in bracket) for bracket in (first, second, third)]
    assert max(costs) < 2.5 * min(costs)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (UpperBounds(bounds="ucb1"), r"upper_bounds\.bounds: must be paired or kl"),
        (UpperBounds(delta=0), r"upper_bounds\.delta"),
        (UpperBounds(share=0), r"upper_bounds\.share"),
        (UpperBounds(first=1), r"upper_bounds\.first"),
        (UpperBounds(block=0), "upper_bounds: block and batch"),
        (TopTwo(delta=1), r"top_two\.delta"),
        (TopTwo(share=2), r"top_two\.share"),
        (TopTwo(first=1), r"top_two\.first"),
        (TopTwo(batch=0), "top_two: block and batch"),
        (Hyperband(eta=1), r"hyperband\.eta"),
        (Hyperband(brackets=0), r"hyperband\.brackets"),
        (Hyperband(first=0), r"hyperband\.first"),
    ],
    ids=repr,
)
def test_options_out_of_range_are_refused(selector, message):
    with pytest.raises(ConfigError, match=message):
        select_from_table(selector, np.zeros((4, 20)))
