from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.rewards.contains import Contains


def score(text: str, *answers: str) -> Score:
    return Contains()(Example("r1", FrozenMap(), answers), Output(text))


@given(st.text(max_size=20), st.text(max_size=20), st.text(min_size=1, max_size=10).filter(str.strip))
def test_finds_an_answer_between_spaces(before: str, after: str, answer: str) -> None:
    assert score(f"{before} {answer} {after}", answer).value == 1


@given(st.from_regex(r"[a-z]{1,6}", fullmatch=True))
def test_does_not_find_an_answer_inside_a_word(answer: str) -> None:
    assert score(f"x{answer} {answer}x x{answer}x", answer).value == 0


@pytest.mark.parametrize(
    ("reply", "answer", "value"),
    [
        ("take a Rest.", "rest", 1),
        ("New\n York", "new york", 1),
        ("3.5, 13 or 1,3", "3", 0),
        ("it is 3.", "3", 1),
        ("我该去睡觉了。", "睡觉", 1),
        ("option (a)", "(a)", 1),
        ("I'd use C++ here", "C++", 1),
        ("nothing", "thing", 0),
    ],
)
def test_word_boundaries(reply: str, answer: str, value: int) -> None:
    assert score(reply, answer).value == value


def test_empty_reply_is_not_parsed() -> None:
    assert score("", "cat") == Score(0.0, "expected 'cat' but the reply was empty", parsed=False)
