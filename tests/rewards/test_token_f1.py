from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.rewards.token_f1 import TokenF1

words = st.lists(st.sampled_from(["cat", "dog", "The", "owl,", "é", "!"]), max_size=6).map(" ".join)


def score(text: str, *answers: str) -> Score:
    return TokenF1()(Example("r1", FrozenMap(), answers), Output(text))


@given(words, words)
def test_is_symmetric_and_in_the_unit_interval(left: str, right: str) -> None:
    value = TokenF1().f1(left, right)
    assert value == TokenF1().f1(right, left)
    assert 0 <= value <= 1


@given(st.text(max_size=40))
def test_a_text_has_f1_one_with_itself(text: str) -> None:
    assert TokenF1().f1(text, text) == 1


def test_counts_by_hand() -> None:
    # Shared: one cat, one dog. Precision 2/3, recall 2/4.
    assert TokenF1().f1("cat cat dog", "cat dog owl bat") == pytest.approx(
        2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)
    )


def test_articles() -> None:
    assert TokenF1().f1("the cat", "cat") == 1
    assert TokenF1(articles=False).f1("the cat", "cat") == pytest.approx(2 / 3)


def test_the_best_answer_counts() -> None:
    assert score("big cat", "dog", "a cat") == Score(
        pytest.approx(2 / 3), "shares 1 of the 1 words of 'a cat'; too many: 'big'"
    )


def test_empty_reply_is_not_parsed() -> None:
    assert score("  ", "cat") == Score(0.0, "expected 'cat' but the reply was empty", parsed=False)
