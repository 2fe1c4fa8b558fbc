from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.errors import DataError
from promptopt.rewards.multiple_choice import MultipleChoice

PLACES = ("jewelry store", "neck", "boutique")
FORMS = [
    "{0}", "({0})", "{0}.", "{0})", " {0}\n", "**{0}**", "[{0}]", "Option {0}", "\\boxed{{{0}}}",
    "Answer: {0}", "The answer is {0}.", "the answer is ({0})", "**Answer:** {0}) ", "{0} because it fits",
    "Let me think.\n\n({0})", "I choose ({0}) here",
]  # fmt: skip


def score(text: str, options: tuple[str, ...], *answers: str) -> Score:
    return MultipleChoice()(Example("r1", FrozenMap(), answers, options), Output(text))


@given(st.integers(2, 26), st.data(), st.sampled_from(FORMS))
def test_every_way_to_write_a_letter_is_read(count: int, data, form: str) -> None:
    letters = string.ascii_uppercase[:count]
    letter = data.draw(st.sampled_from(letters))
    reply = form.format(letter)
    for options in (
        tuple(f"({x})" for x in letters),
        tuple(letters),
        tuple(f"{x}) thing {x * 3}" for x in letters),
    ):
        right = options[letters.index(letter)]
        assert score(reply, options, right) == Score(1.0, "correct")
        other = options[letters.index(letter) - 1]
        wrong = score(reply, options, other)
        assert (wrong.value, wrong.parsed) == (0, True)
    assert score(reply, (), letter).value == 1
    assert MultipleChoice().extract(reply) == letter


@given(
    st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=2, max_size=30, unique=True), st.data()
)
def test_an_options_text_is_read(options: list[str], data) -> None:
    answer = data.draw(st.sampled_from(options))
    for form in ("{}", "{}.", "The {}", "{}, I think", "It must be {}"):
        others = {"think", "it", "must", "be", "the"} & set(options)
        if not others:
            assert score(form.format(answer), tuple(options), answer).value == 1


@pytest.mark.parametrize(
    "reply",
    [
        "B) neck", "The neck.", "A person would go to the neck", "The answer is neck, not the boutique",
        "A) jewelry store\nB) neck\nC) boutique\nSo the answer is B because of the choker",
        "I think it is B.",
        "(B) because (A) is wrong", "answer: a neck", "neck.\nNot the boutique",
    ],
)  # fmt: skip
def test_replies_that_choose_the_second(reply: str) -> None:
    assert score(reply, PLACES, "neck") == Score(1.0, "correct")


@pytest.mark.parametrize(
    "reply",
    [
        "B) boutique",
        "A neck or a boutique",
        "It could be A or B",
        "(A) or (B)",
        "(A) is wrong, so (B)",
        "A) x\nB) y",
    ],
)
def test_ambiguous_replies_are_not_parsed(reply: str) -> None:
    result = score(reply, PLACES, "neck")
    assert (result.value, result.parsed) == (0, False)
    assert result.feedback.startswith("the reply may mean ")


@pytest.mark.parametrize("reply", ["", "I am not sure", "A necklace is worn", "D", "(Z)"])
def test_replies_without_an_option_are_not_parsed(reply: str) -> None:
    result = score(reply, PLACES, "neck")
    assert (result.value, result.parsed) == (0, False)
    assert result.feedback.startswith("no option in the reply")


@pytest.mark.parametrize(
    ("options", "reply", "chosen"),
    [
        (("same", "not the same"), "They are not the same", "not the same"),
        (("same", "not the same"), "They are the same", "same"),
        (("valid", "invalid"), "This is invalid", "invalid"),
        (("No", "Yes"), "Yes. There is no doubt", "Yes"),
        (("negative", "positive"), "A positive review", "positive"),
        (("World", "Sci/Tech"), "SciTech", "Sci/Tech"),
        (("C", "C++", "C#"), "I'd use C++ here", "C++"),
        (("C", "C++", "C#"), "C#", "C#"),
        (("A", "B"), "Answer: B", "B"),
    ],
)
def test_options_that_resemble_each_other(options: tuple[str, ...], reply: str, chosen: str) -> None:
    for option in options:
        assert score(reply, options, option).value == (option == chosen)


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "neck", "Neck.", "B) neck"])
def test_the_reference_may_be_letter_or_text(answer: str) -> None:
    assert score("B", PLACES, answer).value == 1
    assert score("neck", PLACES, answer).value == 1
    assert score("A", PLACES, answer).value == 0


def test_accepted_answers_beside_the_options_count_as_whole_replies() -> None:
    assert score("No.", ("same", "not the same"), "not the same", "no").value == 1
    assert score("no way to tell", ("same", "not the same"), "not the same", "no").value == 0


def test_feedback_names_the_chosen_option() -> None:
    assert score("A", PLACES, "neck").feedback == "expected 'neck' but the reply chose 'jewelry store'"


def test_extract_falls_back_on_the_text() -> None:
    assert MultipleChoice().extract("The answer is: The Neck.") == "neck"
    assert MultipleChoice().extract("") is None


def test_broken_rows_are_errors() -> None:
    with pytest.raises(DataError, match="none of the answers is one of the options"):
        score("B", PLACES, "beach")
    with pytest.raises(DataError, match="give the row options"):
        score("B", (), "beach")
