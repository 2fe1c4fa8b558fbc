"""Intervals and tests: against scipy where it has them, against their definitions, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.errors import BadInput
from promptopt.proof import stats
from promptopt.proof.stats import (
    Interval,
    format_number,
    format_p,
    mcnemar_exact,
    mean_interval,
    paired_interval,
    permutation_test,
)

counts = st.integers(0, 400)
reals = st.floats(-50, 50, allow_nan=False).map(lambda x: round(x, 3))
ternary = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)
differences = ternary | st.lists(reals, min_size=1, max_size=40)


@pytest.fixture
def few_resamples(monkeypatch):
    """Simulations repeat the interval hundreds of times; 1,000 resamples serve them."""
    monkeypatch.setattr(stats, "RESAMPLES", 1_000)


@given(counts, counts)
def test_mcnemar_is_the_symmetric_binomial_test(b, c):
    p = mcnemar_exact(b, c)
    assert 0 < p <= 1
    assert p == mcnemar_exact(c, b)
    expected = scipy.stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_known_values_and_extremes():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 5) == 0.0625
    assert mcnemar_exact(0, 6) == 0.03125
    assert mcnemar_exact(5, 5) == 1.0
    assert 0 < mcnemar_exact(0, 5_000) < 1e-300
    with pytest.raises(BadInput, match="negative"):
        mcnemar_exact(-1, 3)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_a_mean_of_zeros_and_ones_gets_the_wilson_interval(flags):
    values = [float(flag) for flag in flags]
    interval = mean_interval(values)
    expected = scipy.stats.binomtest(sum(flags), len(flags)).proportion_ci(method="wilson")
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)
    assert 0 <= interval.low <= math.fsum(values) / len(values) <= interval.high <= 1


def test_a_mean_of_reals_gets_about_the_t_interval():
    values = np.random.default_rng(3).normal(-1.2, 0.4, 80)
    interval = mean_interval(values, seed=1)
    half = scipy.stats.t.ppf(0.975, 79) * values.std(ddof=1) / math.sqrt(80)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert interval == mean_interval(values, seed=1)
    assert interval != mean_interval(values, seed=2)


def test_a_mean_of_one_real_or_of_equal_reals_has_no_width():
    assert mean_interval([0.3]) == Interval(0.3, 0.3)
    assert mean_interval([-2.5] * 7) == Interval(-2.5, -2.5)


@settings(max_examples=60, deadline=None)
@given(differences, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_paired_interval_holds_the_mean_and_ignores_the_order(values, seed, random):
    interval = paired_interval(values, seed=seed)
    assert interval.low <= math.fsum(values) / len(values) <= interval.high
    assert interval.high > interval.low
    shuffled = list(values)
    random.shuffle(shuffled)
    assert paired_interval(shuffled, seed=seed) == interval


@settings(max_examples=40, deadline=None)
@given(ternary)
def test_ternary_differences_stay_between_minus_one_and_one(values):
    interval = paired_interval(values, seed=0)
    assert -1 <= interval.low <= interval.high <= 1


def test_the_paired_interval_narrows_with_rows_and_widens_with_the_level():
    values = [1.0, 0.0, 0.0, -1.0, 0.0] * 10
    width = {n: (i := paired_interval(values * n, seed=0)).high - i.low for n in (1, 4)}
    assert width[4] == pytest.approx(width[1] / 2, rel=0.1)
    wide, narrow = (paired_interval(values, seed=0, level=level) for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.level == 0.99


def test_the_two_ways_to_resample_are_one_bootstrap(monkeypatch):
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 120, p=[0.1, 0.6, 0.3])
    counted = paired_interval(values, seed=0)
    monkeypatch.setattr(stats, "_FEW_KINDS", 0)
    monkeypatch.setattr(stats, "_CHUNK", 5_000)
    indexed = paired_interval(values, seed=0)
    assert indexed.low == pytest.approx(counted.low, abs=0.01)
    assert indexed.high == pytest.approx(counted.high, abs=0.01)


@pytest.mark.parametrize(
    ("n", "better", "worse"),
    [(50, 0.15, 0.05), (50, 0.07, 0.02), (100, 0.1, 0.1), (150, 0.3, 0.1), (300, 0.07, 0.02)],
)
def test_the_paired_interval_covers_the_true_difference(few_resamples, n, better, worse):
    rng = np.random.default_rng(n)
    repeats = 400
    covered = too_high = 0
    for seed in range(repeats):
        sample = rng.choice([1.0, -1.0, 0.0], n, p=[better, worse, 1 - better - worse])
        interval = paired_interval(sample, seed=seed)
        covered += better - worse in interval
        too_high += interval.low > better - worse
    # Three standard errors of a share of 400 below .95 (and above .025).
    assert covered / repeats > 0.917
    assert too_high / repeats < 0.049


def test_the_paired_interval_covers_with_few_clusters(few_resamples):
    rng = np.random.default_rng(0)
    repeats = 300
    covered = naive = 0
    for seed in range(repeats):
        shift = np.repeat(rng.normal(0.2, 0.5, 20), 6)
        values = shift + rng.normal(0, 0.3, 120)
        groups = [f"g{row // 6}" for row in range(120)]
        covered += 0.2 in paired_interval(values, seed=seed, groups=groups)
        naive += 0.2 in paired_interval(values, seed=seed)
    assert covered / repeats > 0.912
    assert naive / repeats < 0.8


def test_groups_of_one_change_nothing_and_none_is_a_group_of_its_own():
    values = [1.0, 0.0, -1.0, 1.0, 1.0, 0.0] * 8
    alone = paired_interval(values, seed=0)
    assert paired_interval(values, seed=0, groups=[None] * 48) == alone
    assert paired_interval(values, seed=0, groups=list(range(48))) == alone
    together = paired_interval(values, seed=0, groups=[0, 0, None, None, 1, 1] * 8)
    assert together.high - together.low > alone.high - alone.low
    p = permutation_test(values, seed=0)
    assert permutation_test(values, seed=0, groups=[None] * 48) == p


def test_grouped_zeros_and_ones_count_at_their_effective_number():
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 2, 12).astype(float)
    values = np.repeat(answers, 10)  # ten copies of each of twelve rows
    groups = [row // 10 for row in range(120)]
    clustered = mean_interval(values, groups=groups)
    alone = mean_interval(answers)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.06)
    assert mean_interval([1.0] * 120, groups=groups) == mean_interval([1.0] * 12)


@settings(max_examples=60, deadline=None)
@given(st.lists(reals | st.sampled_from([-1.0, 1.0]), min_size=1, max_size=8))
def test_the_permutation_test_enumerates_small_samples(values):
    total = abs(math.fsum(values))
    signs = itertools.product((-1, 1), repeat=len(values))
    sums = [abs(math.fsum(s * v for s, v in zip(pattern, values, strict=True))) for pattern in signs]
    expected = np.mean([value >= total - 1e-9 * (1 + total) for value in sums])
    assert permutation_test(values, seed=0) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(differences, st.randoms(use_true_random=False))
def test_the_permutation_test_is_symmetric_and_ignores_order_and_ties(values, random):
    p = permutation_test(values, seed=0)
    assert 0 < p <= 1
    assert permutation_test([-value for value in values], seed=0) == p
    shuffled = [*values, 0.0, 0.0]
    random.shuffle(shuffled)
    assert permutation_test(shuffled, seed=0) == p


@pytest.mark.parametrize(("plus", "minus"), [(4, 1), (18, 4), (40, 22), (30, 30)])
def test_on_ternary_differences_the_permutation_test_is_mcnemar(plus, minus):
    values = [1.0] * plus + [-1.0] * minus + [0.0] * 30
    assert permutation_test(values, seed=0) == pytest.approx(mcnemar_exact(minus, plus), abs=0.02)


def test_the_permutation_test_agrees_with_scipy_on_reals():
    values = np.random.default_rng(5).normal(0.15, 0.5, 40)
    theirs = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=9_999, rng=np.random.default_rng(0)
    )
    assert permutation_test(values, seed=0) == pytest.approx(theirs.pvalue, abs=0.02)
    assert permutation_test([3.0] * 200, seed=0) == 1 / 10_001


def test_whole_groups_change_sign_together():
    values = [1.0] * 12
    assert permutation_test(values, seed=0) == pytest.approx(2 / 2**12)
    assert permutation_test(values, seed=0, groups=["a"] * 6 + ["b"] * 6) == 0.5


@pytest.mark.parametrize("call", [mean_interval, paired_interval, permutation_test])
def test_empty_ragged_and_nan_inputs_are_refused(call):
    with pytest.raises(BadInput, match="at least one"):
        call([], seed=0)
    with pytest.raises(BadInput, match="finite"):
        call([0.0, math.nan], seed=0)
    with pytest.raises(BadInput, match="finite"):
        call([0.0, math.inf], seed=0)
    with pytest.raises(BadInput, match="one group a row"):
        call([0.0, 1.0], seed=0, groups=["a"])


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.24, 0.39), "[.24,.39]"),
        (Interval(-0.1, 0.0), "[-.10,.00]"),
        (Interval(-1.3, -1.16), "[-1.30,-1.16]"),
        (Interval(0.004, 1.0), "[.004,1.00]"),
        (Interval(-0.0001, 0.9999), "[.00,1.00]"),
        (Interval(-10.25, 20.5), "[-10.25,20.50]"),
    ],
)
def test_intervals_read_like_the_papers(interval, text):
    assert str(interval) == text


def test_numbers_and_p_values_read_well():
    assert [format_number(x) for x in (0.314, -1.234, 1, 0, -0.0, 0.003)] == [
        "0.31", "-1.23", "1.00", "0.00", "0.00", "0.003",
    ]  # fmt: skip
    assert [format_number(x, sign=True) for x in (0.27, -0.031, 0, -0.0)] == [
        "+0.27",
        "-0.03",
        "+0.00",
        "+0.00",
    ]
    assert [format_p(p) for p in (1e-9, 0.0123, 0.5, 0.9999, 1)] == [
        "p<.001",
        "p=.012",
        "p=.500",
        "p=1",
        "p=1",
    ]
