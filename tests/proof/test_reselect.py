"""The rule that names the winner, its noise band, and the gain that is left when choosing is repeated."""

import numpy as np
import pytest

from promptopt.errors import ContractError
from promptopt.proof.reselect import Finalists, compare, pick, reselect, stretch


def winner(scores, lengths, groups=None):
    finalists = Finalists.from_scores(scores, lengths, groups)
    return int(pick(finalists, np.ones((1, finalists.units)))[0])


def ones(n, of=40):
    return [1.0] * n + [0.0] * (of - n)


def test_the_highest_mean_wins_outside_the_band():
    assert winner([ones(10), ones(20), ones(35)], [10, 20, 90]) == 2


def test_the_band_is_one_paired_standard_error():
    # Ahead on n rows of 40 and never behind: lead n/40, standard error sqrt(n (40 - n) / 39) / 40.
    for ahead, inside in ((1, True), (2, False), (4, False)):
        longer = ones(20 + ahead)
        finalists = Finalists.from_scores([ones(5), ones(20), longer], [10, 20, 90])
        _, leads, bands = compare(finalists, np.ones((1, 40)))
        assert leads[0, 1] == pytest.approx(ahead / 40)
        assert bands[0, 1] == pytest.approx(np.sqrt(ahead * (40 - ahead) / 39) / 40)
        assert bool(leads[0, 1] <= bands[0, 1] + 1e-9) is inside
        assert winner([ones(5), ones(20), longer], [10, 20, 90]) == (1 if inside else 2)


def test_disagreement_widens_the_band():
    # Both have the same lead of 3 rows; where the two also disagree to and fro, it is inside the noise.
    low = ones(5)
    agreeing = [low, ones(20), ones(23)]
    to_and_fro = [low, ones(20), [0.0] * 6 + [1.0] * 14 + [1.0] * 9 + [0.0] * 11]
    assert winner(agreeing, [10, 20, 90]) == 2
    assert winner(to_and_fro, [10, 20, 90]) == 1


def test_rows_of_one_group_are_one_look():
    scores = [ones(5), ones(20), ones(24)]
    assert winner(scores, [10, 20, 90]) == 2
    # The four rows of the lead share a group: one lucky group is inside the band.
    groups = [f"g{row // 4}" for row in range(40)]
    assert winner(scores, [10, 20, 90], groups) == 1


def test_the_seed_prompt_stays_on_a_tie_and_gets_no_benefit_of_the_band():
    assert winner([ones(20), ones(20), ones(19)], [90, 20, 10]) == 0
    assert winner([ones(20), ones(21), ones(19)], [10, 90, 10]) == 1
    assert winner([ones(20)], [5]) == 0


def test_inside_the_band_the_seed_prompt_and_those_below_it_are_no_choice():
    # The seed prompt and the prompt below it are shorter, and within the noise of the leader.
    assert winner([ones(20), ones(20), ones(21)], [50, 10, 90]) == 2


def test_equally_short_the_higher_mean_wins_then_the_earlier():
    assert winner([ones(5), ones(20), ones(21)], [10, 20, 20]) == 2
    assert winner([ones(5), ones(20), ones(20)], [10, 20, 20]) == 1


def test_weights_choose_as_if_the_rows_were_repeated_or_left_out():
    rng = np.random.default_rng(0)
    table = rng.random((4, 30)).round(1)
    weights = rng.integers(0, 3, size=(50, 30)).astype(float)
    lengths = [10, 40, 30, 20]
    together = pick(Finalists.from_scores(table, lengths), weights)
    for line, expected in zip(weights, together, strict=True):
        repeated = np.repeat(table, line.astype(int), axis=1)
        assert winner(repeated, lengths) == expected


def test_a_clear_gain_is_left_as_it_is():
    finalists = Finalists.from_scores([ones(10), ones(10), ones(30)], [10, 20, 90])
    found = reselect(finalists, seed=0)
    assert found.gain == pytest.approx(0.5)
    assert found.chosen.tolist() == [0, 0, 1]
    assert found.means.tolist() == ones(30)
    assert found.gains.tolist() == [0.0] * 10 + [1.0] * 20 + [0.0] * 10


def test_choosing_among_equals_brings_nothing_and_flatters():
    flattered, corrected = [], []
    for seed in range(300):
        table = np.random.default_rng(seed).random((6, 60)) < 0.5
        finalists = Finalists.from_scores(table, [50, 60, 70, 80, 90, 95])
        best = int(pick(finalists, np.ones((1, 60)))[0])
        flattered.append(table[best].mean() - table[0].mean())
        corrected.append(reselect(finalists, seed=seed, rounds=20).gain)
    assert np.mean(flattered) > 0.05
    assert abs(np.mean(corrected)) < 3 * np.std(corrected) / np.sqrt(300) < 0.02


def test_groups_are_left_out_together():
    # In every group all rows are alike. Were rows left out one by one, the choice would have seen the row.
    rng = np.random.default_rng(1)
    groups = [f"g{row // 10}" for row in range(60)]
    alone, together = [], []
    for _ in range(200):
        table = np.repeat(rng.random((6, 6)) < 0.5, 10, axis=1)
        alone.append(reselect(Finalists.from_scores(table, [1] * 6), seed=0, rounds=10).gain)
        together.append(reselect(Finalists.from_scores(table, [1] * 6, groups), seed=0, rounds=10).gain)
    assert np.mean(alone) > 0.1
    assert abs(np.mean(together)) < 0.07


def test_the_same_seed_gives_the_same_estimate():
    table = np.random.default_rng(0).random((4, 31))
    finalists = Finalists.from_scores(table, [1, 2, 3, 4])
    assert reselect(finalists, seed=1).gain == reselect(finalists, seed=1).gain
    with pytest.raises(ContractError, match="two units"):
        reselect(Finalists.from_scores([[1.0], [0.0]], [1, 2]), seed=0)


def test_the_interval_is_stretched_to_hold_for_the_prompt_that_won():
    rng = np.random.default_rng(3)
    plain = stretched = shown = 0
    for _ in range(150):
        true = np.clip(0.4 + rng.normal(0, 0.12, 6), 0.05, 0.95)
        finalists = Finalists.from_scores(rng.random((6, 40)) < true[:, None], [1, 2, 3, 4, 5, 6])
        winner = int(pick(finalists, np.ones((1, 40)))[0])
        if winner == 0:
            continue
        found = reselect(finalists, seed=0, rounds=20)
        own = np.std(found.gains, ddof=1) / np.sqrt(40)
        error = abs(found.gain - (true[winner] - true[0])) / (2.02 * own)
        shown += 1
        plain += error < 1
        stretched += error < stretch(found, seed=0)
    assert plain / shown < 0.92
    assert 0.92 < stretched / shown <= 1


def test_where_the_choice_is_plain_hardly_anything_is_stretched():
    table = np.zeros((3, 80))
    table[1, :60], table[2, 70:] = 1, 1
    found = reselect(Finalists.from_scores(table, [1, 2, 3]), seed=0)
    assert 1 <= stretch(found, seed=0) < 1.1
    assert stretch(found, seed=0) == stretch(found, seed=0)
    sure = reselect(Finalists.from_scores([[0.0] * 9, [1.0] * 9], [1, 1]), seed=0)
    assert stretch(sure, seed=0) == 1.0


def test_groups_are_drawn_together_in_the_worlds_too():
    rng = np.random.default_rng(4)
    table = np.repeat(rng.random((5, 8)) < [[0.3], [0.5], [0.5], [0.5], [0.5]], 10, axis=1)
    grouped = Finalists.from_scores(table, [1] * 5, [f"g{row // 10}" for row in range(80)])
    found = reselect(grouped, seed=0)
    assert 1 <= stretch(found, seed=0) < 4
    repeated = Finalists.from_scores(table[:, ::10], [1] * 5)
    assert stretch(found, seed=0) == pytest.approx(stretch(reselect(repeated, seed=0), seed=0))
