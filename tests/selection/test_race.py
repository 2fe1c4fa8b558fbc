"""The paired race: its tests' levels, its looks, its protection of incumbents, its cells."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from promptopt.errors import ConfigError
from promptopt.selection.board import spending
from promptopt.selection.race import PairedRace, paired_p, proven_low
from promptopt.selection.table import select_from_table


def pool(seed, candidates=16, rows=200, best=0.7, rest=0.5):
    rng = np.random.default_rng(seed)
    chance = np.full(candidates, rest)
    chance[rng.integers(candidates)] = best
    difficulty = rng.normal(0, 0.2, rows)
    table = (rng.random((candidates, rows)) < chance[:, None] + difficulty).astype(float)
    return table, int(np.argmax(chance))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_binary_leads_meet_the_exact_sign_test(wins, losses, ties):
    leads = np.array([1.0] * wins + [-1.0] * losses + [0.0] * ties)
    expected = 1.0
    if wins > losses and len(leads) > 1:
        expected = reference.binomtest(wins, wins + losses, alternative="greater").pvalue
    assert paired_p(leads) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=8, max_size=60))
def test_graded_leads_meet_the_t_test(leads):
    values = np.array(leads)
    if np.isin(values, (-1, 0, 1)).all() or values.std() < 1e-6 or values.sum() <= 1e-9:
        return
    expected = reference.ttest_1samp(values, 0, alternative="greater").pvalue
    assert paired_p(values) == pytest.approx(expected, abs=2e-3)


def test_the_proven_sequence_keeps_its_level_over_all_looks_and_sees_a_lead():
    leads = np.random.default_rng(0).integers(-1, 2, (400, 120)).astype(float)
    ever = np.zeros(400, dtype=bool)
    for n in range(10, 121, 10):
        ever |= proven_low(leads[:, :n], 0.1) > 0
    assert 0 < ever.mean() <= 0.1
    clear = np.r_[np.ones(60), np.zeros(60)]
    assert proven_low(clear[None], 0.05) > 0
    assert proven_low(np.ones((1, 2)), 0.05) < 0


def test_the_proven_sequence_leaves_failed_rows_out():
    leads = np.random.default_rng(4).uniform(-0.2, 1, 80)
    holes = np.insert(leads, [0, 7, 30, 80], np.nan)
    assert proven_low(holes[None], 0.1) == pytest.approx(proven_low(leads[None], 0.1))
    assert proven_low(np.full((1, 30), np.nan), 0.1) < 0


@pytest.mark.parametrize("test", ["adjusted", "mcnemar", "bernstein"])
def test_the_best_prompt_is_kept_for_fewer_cells_and_proof_costs_more(test):
    race, kept, spent = PairedRace(test=test, share=1), 0, []
    for seed in range(40):
        table, best = pool(seed)
        (winner,), cells = select_from_table(race, table)
        kept += winner == best
        spent.append(cells / table.size)
    assert kept >= 36
    assert np.mean(spent) < (0.95 if test == "bernstein" else 0.5)


def test_the_stricter_the_level_the_more_cells():
    spent = {}
    for name, race in {
        "adjusted": PairedRace(0.3, share=1),
        "mcnemar": PairedRace(0.3, "mcnemar", share=1),
        "family": PairedRace(0.3, "mcnemar", family=True, share=1),
        "bernstein": PairedRace(0.3, "bernstein", family=True, share=1),
    }.items():
        spent[name] = sum(select_from_table(race, pool(seed)[0])[1] for seed in range(15))
    assert list(spent.values()) == sorted(spent.values())
    assert len(set(spent.values())) == 4


def test_equal_prompts_are_seldom_dropped():
    race = PairedRace(alpha=0.1, test="mcnemar", share=1)
    lost = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        table = (rng.random((2, 100)) < 0.5).astype(float)
        lost += select_from_table(race, table)[1] < table.size
    assert lost <= 2 * 0.1 * 100  # either of the two can be the one that is dropped


def test_an_incumbent_stays_until_its_rivals_have_met_all_rows():
    table = np.zeros((5, 80))
    table[0, 40:] = 1.0  # the incumbent is best overall and worst on the first rows
    table[1:, :40:2] = 1.0
    table[1, 1] = 1.0
    assert select_from_table(PairedRace(share=1), table)[0] == [1]
    assert select_from_table(PairedRace(share=1, incumbents=1), table)[0] == [0]


def test_failed_cells_are_left_out_of_the_comparison():
    rng = np.random.default_rng(5)
    table = (rng.random((6, 200)) < 0.3).astype(float)
    table[3] = rng.random(200) < 0.9
    table[3, ::19] = np.nan  # 6 %: comparable
    for test in ("adjusted", "mcnemar", "bernstein"):
        assert select_from_table(PairedRace(test=test), table)[0] == [3]


@given(st.integers(1, 400), st.none() | st.integers(1, 500), st.floats(1.01, 4))
def test_looks_grow_and_end_on_all_rows(rows, first, growth):
    looks = PairedRace(first=first, growth=growth).looks(rows)
    assert looks == sorted(set(looks))
    assert looks[-1] == rows
    assert looks[0] == min(rows, first) if first else looks[0] >= min(rows, 10)


@given(st.integers(1, 10), st.integers(1, 60), st.floats(0.01, 1), st.integers(0, 3), st.data())
def test_no_more_is_bought_than_the_share_allows(candidates, rows, share, incumbents, data):
    k = data.draw(st.integers(1, candidates))
    race = PairedRace(share=share, incumbents=incumbents)
    table = np.random.default_rng(rows).integers(0, 2, (candidates, rows))
    winners, cells = select_from_table(race, table, k)
    assert len(set(winners)) == k
    assert cells <= race.cells(candidates, rows, k) <= candidates * rows


def test_prompts_that_cannot_be_told_apart_cost_what_the_share_allows():
    table = (np.random.default_rng(1).random((40, 400)) < 0.5).astype(float)
    race = PairedRace(share=0.1)
    _, cells = select_from_table(race, table)
    assert 0.8 * spending(40, 400, 18, 0.1) <= cells <= race.cells(40, 400, 1)
    assert select_from_table(PairedRace(share=1, alpha=0.01), table)[1] > 2 * cells


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, r"paired_race\.alpha"),
        ({"alpha": 1}, r"paired_race\.alpha"),
        ({"alpha": math.nan}, r"paired_race\.alpha"),
        ({"share": 1.5}, r"paired_race\.share"),
        ({"growth": 1}, r"paired_race\.growth"),
        ({"first": 0}, r"paired_race\.first"),
        ({"test": "wilcoxon"}, r"paired_race\.test: must be adjusted, mcnemar or bernstein"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        select_from_table(PairedRace(**options), np.zeros((3, 20)))
