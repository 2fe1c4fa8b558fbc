"""Power: the rows a gain needs, the gain rows can show, and both in words."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import BadInput
from promptopt.proof.power import (
    assumed_power,
    observed_power,
    rehearsed_power,
    rows_needed,
    smallest_gain,
    unscaled_power,
)
from promptopt.proof.stats import mcnemar_exact


@pytest.mark.parametrize(
    ("gain", "discordance", "rows"), [(0.05, 0.1, 312), (0.05, 0.2, 626), (0.1, 0.1, 77), (0.1, 0.2, 155)]
)
def test_the_rows_of_the_published_formula(gain, discordance, rows):
    assert rows_needed(gain, discordance) == rows


@given(rows=st.integers(6, 3000), discordance=st.floats(0.01, 1), binary=st.booleans())
def test_the_smallest_gain_is_where_the_need_meets_the_rows(rows, discordance, binary):
    gain = smallest_gain(rows, discordance, binary=binary)
    assert rows_needed(gain, discordance, binary=binary) <= rows
    if gain > 1e-6:
        assert rows_needed(gain * 0.98, discordance, binary=binary) >= rows


def test_a_gain_cannot_exceed_what_differs():
    # The formula alone would say 11.2 points at 60 rows and 10%: more than the rows that differ.
    gain = smallest_gain(60, 0.1)
    assert gain == pytest.approx(0.1258, abs=1e-3)
    assert rows_needed(gain, gain) == rows_needed(gain, 0.1) == 60


def test_fewer_rows_than_any_proof_takes_show_nothing():
    assert math.isinf(smallest_gain(5))
    assert smallest_gain(6) < 1


def test_the_asymptotic_rows_give_about_the_power_promised():
    n = rows_needed(0.1, 0.2)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, [0.15, 0.05, 0.8], 2000).tolist()
    found = sum(up > down and mcnemar_exact(down, up) < 0.05 for up, down, _ in drawn) / 2000
    assert 0.72 < found < 0.85


def test_the_statement_before_the_run():
    assert assumed_power(60).line == (
        "with 60 test rows a gain under 13 points cannot be seen; you need about 310 rows for 5 points "
        "(80% power at two-sided .05; assuming that the two prompts differ on 10% of rows)"
    )
    assert assumed_power(3, "select").line.startswith("with 3 select rows no gain can be seen; you need")
    assert assumed_power(1).line.startswith("with 1 test row no gain")
    assert "under 5 points cannot be seen; you need about 1,960 rows for 2 points" in assumed_power(300).line


def test_without_a_scale_the_statement_is_in_standard_deviations():
    power = unscaled_power(100)
    assert power.line == (
        "with 100 test rows a gain under 0.28 standard deviations cannot be seen; you need about 194 rows "
        "for 0.20 standard deviations (80% power at two-sided .05; those of the difference between the two "
        "prompts on a row; no score tells them yet)"
    )
    assert power.smallest == pytest.approx((1.96 + 0.8416) / 10, rel=0.02)
    assert unscaled_power(5).line.startswith("with 5 test rows no gain can be seen")


def test_scores_of_one_prompt_say_how_far_two_will_differ():
    rng = np.random.default_rng(0)
    # Two prompts whose log-likelihoods of a row correlate at one half, and a gain of the size foretold.
    row, own = rng.normal(-3, 1.5, 4000), rng.normal(0, 1.5, (2, 4000))
    before, after = row + own
    power = rehearsed_power(before, rows=120, split="test", observed="40 search rows tried")
    assert "a standard deviation of 2.1" in power.line
    assert (
        "on the 40 search rows tried, and those of the two prompts are taken to correlate at 0.5"
        in power.line
    )
    assert (power.unit, power.goal, power.rehearsed) == ("reward", power.smallest / 2, True)
    assert power.smallest == pytest.approx(
        (1.96 + 0.8416) * np.std(after - before) / math.sqrt(120), rel=0.05
    )
    tested = [
        z.mean() / (z.std(ddof=1) / math.sqrt(120))
        for z in rng.permutation(after - before + power.smallest)[: 33 * 120].reshape(33, 120)
    ]
    assert 0.55 < np.mean(np.abs(tested) > 1.96) <= 1


def test_real_values_between_0_and_1_are_rehearsed_in_points():
    power = rehearsed_power([0.2, 0.9, 0.5, 0.7], rows=60, split="test", observed="rows")
    assert power.unit == "points"
    assert "you need about" in power.line


def test_scores_that_tell_nothing_of_a_spread_are_not_rehearsed():
    for scores in ([0.0, 1.0, 1.0], [0.3, 0.3], [1.0, 1.0]):
        assert rehearsed_power(scores, rows=60, split="test", observed="rows") is None


def observe(before, after, rows=60):
    return observed_power(before, after, rows=rows, split="test", observed="test rows")


def test_the_statement_once_both_prompts_have_met_rows():
    churning = observe([0] * 5 + [1] * 5 + [0] * 90, [1] * 5 + [0] * 95)
    assert (churning.discordance, churning.churn) == (0.1, 0.1)
    assert churning.needed == rows_needed(0.05, 0.1)
    assert "differ on 10% of the test rows, 10% apart from the gain" in churning.line
    # All of the difference is gain: a gain of 5 points would come with 5% of rows that differ.
    better = observe([0] * 20, [1] * 20)
    assert (better.discordance, better.churn) == (1.0, 0.0)
    assert better.needed == rows_needed(0.05, 0.05) == 155
    assert observe([1, 0, 1], [1, 0, 1]) is None
    assert observe([], []) is None


def test_real_values_are_said_in_their_own_unit():
    f1 = observe([0.5, 0.2, 0.3, 0.9], [0.6, 0.3, 0.3, 0.8])
    assert not f1.binary
    assert "points cannot be seen" in f1.line
    nats = observe([-1.5, -2.0, -3.0], [-1.4, -1.8, -3.1])
    assert nats.goal == nats.smallest / 2
    assert nats.line.startswith(
        "with 60 test rows a gain under 0.05 cannot be seen; you need about 225 rows for 0.02 (80% power"
    )
    spread = np.std([0.1, 0.2, -0.1])  # the gain under the null hypothesis widens it a little
    assert nats.smallest == pytest.approx((1.96 + 0.8416) * spread / math.sqrt(60), rel=0.06)


def test_the_plain_data_is_json():
    for power in (assumed_power(3), assumed_power(60), unscaled_power(60)):
        data = json.loads(json.dumps(power.to_dict(), allow_nan=False))
        assert data["line"] == power.line
        assert data["smallest"] == (None if power.rows == 3 else power.smallest)


@pytest.mark.parametrize("bad", [{"gain": 0}, {"gain": 2}, {"discordance": -0.1}, {"power": 1}])
def test_numbers_out_of_range_are_refused(bad):
    arguments = {"gain": 0.1, "discordance": 0.1, **bad}
    with pytest.raises(BadInput, match="power"):
        rows_needed(**arguments)
