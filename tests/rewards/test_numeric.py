from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.errors import DataError, PluginError
from promptopt.rewards.numeric import Numeric

FORMATS = [
    "{}",
    "{:,}",
    "${:,}",
    "It is {:,}.",
    "**{}**",
    "so 2 + 3 eggs make {:,} eggs",
    "#### {:,}\n",
    "\\boxed{{{}}}",
]


def score(text: str, *answers: str, reward: Numeric = Numeric()) -> Score:  # noqa: B008
    return reward(Example("r1", FrozenMap(), answers), Output(text))


@given(st.integers(-(10**30), 10**30), st.sampled_from(FORMATS))
def test_written_integers_are_read_back(number: int, form: str) -> None:
    assert Numeric().read(form.format(number)) == number
    assert Numeric().extract(form.format(number)) == str(number)


@given(st.decimals(-(10**9), 10**9, places=4), st.sampled_from(FORMATS))
def test_written_decimals_are_read_back(number, form: str) -> None:
    assert Numeric().read(form.format(number)) == Fraction(number)


@given(st.integers(-99, 99), st.integers(1, 99))
def test_written_fractions_are_read_back(numerator: int, denominator: int) -> None:
    wanted = Fraction(numerator, denominator)
    assert Numeric().read(f"x = {numerator}/{denominator}") == wanted
    assert Numeric().read(f"\\frac{{{abs(numerator)}}}{{{denominator}}}") == abs(wanted)
    assert Numeric(fractions=False).read(f"{numerator}/{denominator}") == denominator


@given(st.floats(1e-6, 1e12))
def test_exponents_are_read(number: float) -> None:
    assert float(Numeric().read(f"{number:e}") or 0) == float(f"{number:e}")


@given(st.text(max_size=60))
def test_what_is_extracted_reads_as_the_same_number(text: str) -> None:
    answer, number = Numeric().extract(text), Numeric().read(text)
    assert (answer is None) == (number is None)
    if answer is not None and number is not None:
        again = Numeric().read(answer)
        assert again is not None
        assert abs(again - number) <= abs(number) * Fraction(1, 10**9)


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("She has 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 18", 18),
        ("The answer is 42. I used 7 and 6.", 42),
        ("The answer is 3 + 4 = 7 eggs", 7),
        ("**Final answer:** 5", 5),
        ("Answer:\n\n  12 apples, 3 each", 12),
        ("the answer to the question is $1,000.50", Fraction("1000.5")),
        ("The answer is unknown, maybe 4", 4),
        ("The answer is forty. Or 41?", 41),
        ("\\boxed{12\\text{ km}^2} or 3", 12),
        ("1{,}234", 1234),
        ("20-5=15", 15),
        ("5-3", 3),
        ("−5", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("50%", 50),
        ("an area of 5 km2", 5),
        ("5 m^2", 5),
        (".5", Fraction(1, 2)),
        ("on 3/4/5", 5),
        ("1,23", 23),
        ("1,2345", 2345),
        ("答案是5", 5),
        ("٤٢", 42),
        ("5/0", 0),
        ("1e999", 10**999),
        ("9" * 101, 10**101 - 1),
    ],
)
def test_reading(reply: str, number: Fraction | int) -> None:
    assert Numeric().read(reply) == number


@pytest.mark.parametrize("reply", ["", "none", "x2", "½", "9" * 2001])
def test_no_number_is_not_parsed(reply: str) -> None:
    result = score(reply, "4")
    assert (result.value, result.parsed) == (0, False)
    assert result.feedback.startswith("no number in the reply")


def test_tolerance() -> None:
    assert score("0.33333333", "1/3").value == 1
    assert score("0.333", "1/3").value == 0
    assert score("0.333", "1/3", reward=Numeric(tolerance=0.001)).value == 1
    assert score("9007199254740993", "9007199254740992").value == 0


def test_any_answer_that_is_a_number_counts() -> None:
    assert score("3", "three", "3").value == 1


def test_an_answer_without_a_number_is_an_error() -> None:
    with pytest.raises(DataError, match="row r1: no answer holds a number"):
        score("3", "three")


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_refuses_a_tolerance_that_is_no_distance(tolerance: float) -> None:
    with pytest.raises(PluginError, match="tolerance"):
        Numeric(tolerance=tolerance)
