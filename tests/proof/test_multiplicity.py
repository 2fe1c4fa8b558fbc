"""Holm's procedure against values worked out by hand, and against its promise."""

import random

import pytest

from promptopt.errors import BadInput
from promptopt.proof.multiplicity import holm


@pytest.mark.parametrize(
    ("given", "by_hand"),
    [
        ([], []),
        ([0.03], [0.03]),
        # .005 x 4, .01 x 3, .03 x 2, then .04 x 1 = .04, lifted to the .06 before it
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        # ties: .02 x 3, then .02 x 2 = .04, lifted to .06
        ([0.02, 0.02, 0.5], [0.06, 0.06, 0.5]),
        ([0.4, 0.6, 0.9], [1.0, 1.0, 1.0]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_adjusted_values_are_those_worked_out_by_hand(given, by_hand):
    assert holm(given) == pytest.approx(by_hand)


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan")])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(BadInput, match="between 0 and 1"):
        holm([0.5, bad])


def test_a_family_without_any_effect_errs_as_often_as_promised_and_single_tests_far_more_often():
    rng = random.Random(1)
    families = [[rng.random() for _ in range(10)] for _ in range(20_000)]
    single = sum(min(family) < 0.05 for family in families) / len(families)
    adjusted = sum(min(holm(family)) < 0.05 for family in families) / len(families)
    assert single > 0.35
    assert 0.0489 - 0.005 < adjusted < 0.0489 + 0.005  # 1 - .995**10, more than three standard errors


def test_it_finds_more_than_multiplying_all_by_their_number():
    given = [0.011, 0.02, 0.02, 0.02]
    assert [p < 0.05 for p in holm(given)] == [True, False, False, False]
    given = [0.001, 0.013, 0.02]
    assert all(p < 0.05 for p in holm(given))
    assert not all(3 * p < 0.05 for p in given)
