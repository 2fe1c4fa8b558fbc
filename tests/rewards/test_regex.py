from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.errors import PluginError
from promptopt.plugins import build
from promptopt.rewards.regex import Regex


def score(reward: Regex, text: str, *answers: str) -> Score:
    return reward(Example("r1", FrozenMap(), answers), Output(text))


@given(
    st.text(max_size=30),
    st.text(min_size=1, max_size=20).filter(lambda t: t.strip() and "<" not in t and ">" not in t),
)
def test_reads_what_stands_in_the_marks(around: str, answer: str) -> None:
    around = re.sub("[<>]", "", around)
    reward = Regex("<([^<>]*)>")
    assert score(reward, f"{around}<{answer}>{around}", answer).value == 1
    assert reward.extract(around) is None


@pytest.mark.parametrize(
    ("options", "text", "found"),
    [
        ({"pattern": r"\d+"}, "7 and 8", "7"),
        ({"pattern": r"\d+", "which": "last"}, "7 and 8", "8"),
        ({"pattern": r"(?P<answer>\d+)(st|nd)"}, "the 2nd", "2"),
        ({"pattern": r"is (\w+)"}, "It IS Blue", "blue"),
        ({"pattern": r"is (\w+)", "ignore_case": False}, "It IS Blue, is Red", "Red"),
        ({"pattern": r"^answer (.*)$", "multi_line": True}, "x\nanswer y\nz", "y"),
        ({"pattern": r"<(.*)>", "dot_all": True}, "<a\nb>", "a\nb"),
        ({"pattern": r"x|(y)"}, "x", None),
        ({"pattern": r"\d", "max_chars": 3}, "abc4", None),
        ({"pattern": r"\d", "max_chars": 3, "which": "last"}, "1abc", None),
    ],
)
def test_options(options, text: str, found: str | None) -> None:
    assert Regex(**options).extract(text) == found


def test_feedback() -> None:
    reward = Regex(r"is (\w+)")
    assert (
        score(reward, "it is red", "blue").feedback
        == "expected 'blue' but the answer read from the reply was 'red'"
    )
    unmatched = score(reward, "red", "blue")
    assert not unmatched.parsed
    assert "does not match" in unmatched.feedback


@pytest.mark.parametrize("pattern", ["(", "(?P<a>x)(y)", "a{99999999999}", "[z-a]"])
def test_a_bad_pattern_is_refused_when_built(pattern: str) -> None:
    with pytest.raises(PluginError, match=r"regex\.pattern"):
        Regex(pattern)


def test_a_missing_pattern_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match="pattern"):
        build("rewards", "regex")
