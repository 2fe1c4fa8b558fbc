from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.errors import DataError
from promptopt.rewards.exact import AcceptedSet, ExactMatch

texts = st.text(max_size=40)


def score(reward: ExactMatch | AcceptedSet, text: str, *answers: str) -> Score:
    return reward(Example("r1", FrozenMap(), answers), Output(text))


@given(texts, st.sampled_from(["keep", "outer", "drop"]), st.booleans(), st.booleans())
def test_a_text_equals_itself(text: str, punctuation, ignore_case: bool, strip: bool) -> None:
    reward = ExactMatch(ignore_case=ignore_case, strip=strip, punctuation=punctuation)
    assert score(reward, text, text).value == 1
    assert score(AcceptedSet(), text, text).value == 1


@given(texts)
def test_case_and_outer_white_space_do_not_count(text: str) -> None:
    assert score(ExactMatch(), f" \n{text}\t", text).value == 1
    ascii_only = text.encode("ascii", "ignore").decode()
    assert score(ExactMatch(), ascii_only.upper(), ascii_only).value == 1


@given(texts, texts)
def test_is_symmetric(left: str, right: str) -> None:
    assert score(ExactMatch(), left, right).value == score(ExactMatch(), right, left).value
    assert score(AcceptedSet(), left, right).value == score(AcceptedSet(), right, left).value


@given(texts)
def test_a_reply_and_its_extracted_answer_score_alike(text: str) -> None:
    for reward in (ExactMatch(punctuation="outer"), AcceptedSet()):
        answer = reward.extract(text)
        if answer is not None:
            assert score(reward, answer, "a cat.") == score(reward, answer, "a cat.")
            assert score(reward, answer, "a cat.").value == score(reward, text, "a cat.").value


def test_any_accepted_answer_counts() -> None:
    assert score(ExactMatch(), "zocken", "Spiel", "zocken") == Score(1.0, "correct")


@pytest.mark.parametrize(
    ("options", "reply", "value"),
    [
        ({}, "geese.", 0),
        ({"punctuation": "outer"}, '"Geese".', 1),
        ({"punctuation": "outer"}, "ge-ese", 0),
        ({"punctuation": "drop"}, "«ge-ese»", 1),
        ({"ignore_case": False}, "Geese", 0),
        ({"strip": False}, "geese ", 0),
    ],
)
def test_options(options, reply: str, value: int) -> None:
    assert score(ExactMatch(**options), reply, "geese").value == value


def test_composed_and_combining_accents_are_equal() -> None:
    assert score(ExactMatch(), "cafe\u0301", "café").value == 1


def test_lower_case_is_not_case_folding() -> None:
    assert score(ExactMatch(), "MASSE", "Maße").value == 0


@pytest.mark.parametrize("reply", ["The geese", "geese!", " GEESE ", "a  geese"])
def test_accepted_set_normalises_as_squad(reply: str) -> None:
    assert score(AcceptedSet(), reply, "geese").value == 1


def test_accepted_set_keeps_answers_that_normalisation_would_empty() -> None:
    assert score(AcceptedSet(), "A.", "a").value == 1
    assert score(AcceptedSet(), "the", "a").value == 0
    assert score(AcceptedSet(), "!", "?").value == 0


def test_articles_can_be_kept() -> None:
    assert score(AcceptedSet(articles=False), "a temps", "temps").value == 0


@pytest.mark.parametrize(
    ("reply", "feedback"),
    [
        ("gooses", "expected 'geese' but the reply was 'gooses'"),
        (
            "geese!",
            "expected 'geese'; the reply 'geese!' differs from it only in case, punctuation, "
            "articles or white space",
        ),
        ("two geese", "the reply holds the answer 'geese' but adds other words: 'two geese'"),
    ],
)
def test_feedback_says_what_is_wrong(reply: str, feedback: str) -> None:
    assert score(ExactMatch(), reply, "geese").feedback == feedback


def test_an_empty_reply_is_not_parsed() -> None:
    empty = score(ExactMatch(), " \n", "geese")
    assert (empty.value, empty.parsed) == (0, False)
    assert ExactMatch().extract(" ") is None
    assert score(ExactMatch(), "", "").value == 1


def test_a_row_without_answers_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="row r1: has no answer"):
        score(ExactMatch(), "x")
