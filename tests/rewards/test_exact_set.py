from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.rewards.exact_set import ExactSet

word = st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda w: w != "and")


def score(text: str, *answers: str, reward: ExactSet = ExactSet()) -> Score:  # noqa: B008
    return reward(Example("r1", FrozenMap(), answers), Output(text))


@given(
    st.lists(word, min_size=1, max_size=6, unique=True),
    st.randoms(),
    st.sampled_from([", ", " ", ",", "\n- "]),
)
def test_order_and_separator_do_not_count(words: list[str], random, separator: str) -> None:
    shuffled = random.sample(words, len(words))
    assert score(separator.join(shuffled), ", ".join(words)).value == 1
    assert score(separator.join([*shuffled, "zzzzzzzzz"]), ", ".join(words)).value == 0
    assert ExactSet().extract(separator.join(shuffled)) == ", ".join(sorted(words))


@pytest.mark.parametrize(
    "reply", ["dog, cat", "Cat and dog.", "- cat\n- dog", "1. cat\n2) dog", "cat; dog", "cat、dog"]
)
def test_ways_to_write_a_list(reply: str) -> None:
    assert score(reply, "cat, dog").value == 1


def test_items_of_several_words() -> None:
    reward = ExactSet(split="commas")
    assert score("los angeles, and New York", "New York, Los Angeles", reward=reward).value == 1
    assert score("York New, Los Angeles", "New York, Los Angeles", reward=reward).value == 0


def test_feedback_names_what_is_missing_and_what_is_too_many() -> None:
    assert score("cat, owl", "cat, dog").feedback == "missing 'dog'; too many 'owl'"


def test_no_items_is_not_parsed() -> None:
    assert score(" , ", "cat") == Score(0.0, "no items in the reply; expected 'cat'", parsed=False)
