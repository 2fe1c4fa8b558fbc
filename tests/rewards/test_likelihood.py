from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import OptionScore, Output
from promptopt.errors import ContractError, DataError
from promptopt.rewards.likelihood import LogLikelihood, OptionLikelihood


def choose(reward: OptionLikelihood, answer: str, *options: tuple[str, float, int]) -> Score:
    names = tuple(name for name, *_ in options)
    example = Example("r1", FrozenMap(), (answer,), names)
    return reward(example, Output(options=tuple(OptionScore(*option) for option in options)))


@given(st.floats(-1e6, 0), st.integers(1, 1000))
def test_log_likelihood_is_mean_or_sum(logprob: float, tokens: int) -> None:
    example, output = Example("r1", FrozenMap(), ("dog", "cat")), Output(logprob=logprob, tokens=tokens)
    assert LogLikelihood()(example, output).value == logprob / tokens
    assert LogLikelihood(normalize="none")(example, output).value == logprob


def test_log_likelihood_feedback() -> None:
    output = Output(logprob=2 * math.log(0.5), tokens=2)
    feedback = LogLikelihood()(Example("r1", FrozenMap(), ("dog",)), output).feedback
    assert feedback == "the answer 'dog' has -0.693 nats a token over 2 tokens, a probability of 0.5 a token"


@pytest.mark.parametrize(
    "output", [Output(), Output(logprob=-math.inf, tokens=2), Output(logprob=math.nan, tokens=1)]
)
def test_log_likelihood_refuses_an_answer_that_was_not_scored(output: Output) -> None:
    with pytest.raises(ContractError, match="no finite log-probability"):
        LogLikelihood()(Example("r1", FrozenMap(), ("dog",)), output)


def test_normalisations_differ() -> None:
    options = ("ox", -3.0, 2), ("elephants", -4.0, 4), ("rhinoceros", -3.5, 3)
    assert choose(OptionLikelihood(), "ox", *options).value == 1  # -3 > -3.5 > -4
    assert choose(OptionLikelihood(normalize="token"), "elephants", *options).value == 1  # -1 > -1.17 > -1.5
    assert choose(OptionLikelihood(normalize="char"), "rhinoceros", *options).value == 1  # -.35 > -.44 > -1.5


@given(st.lists(st.floats(-800, 0), min_size=2, max_size=6))
def test_probabilities_are_a_softmax(logprobs: list[float]) -> None:
    options = tuple((f"option {i}", logprob, 1) for i, logprob in enumerate(logprobs))
    reward = OptionLikelihood(value="probability")
    values = [choose(reward, name, *options).value for name, *_ in options]
    assert all(0 <= value <= 1 for value in values)
    assert math.fsum(values) == pytest.approx(1)
    assert values[logprobs.index(max(logprobs))] == max(values)


def test_feedback_names_the_winner_and_its_probability() -> None:
    result = choose(OptionLikelihood(), "dog", ("cat", math.log(0.6), 1), ("dog", math.log(0.2), 1))
    assert result == Score(0.0, "chose 'cat' (p=0.75), expected 'dog' (p=0.25)")


def test_letters_of_the_reference_and_impossible_options() -> None:
    options = ("(A)", -math.inf, 1), ("(B)", -1.0, 1)
    assert choose(OptionLikelihood(), "B", *options).value == 1
    assert choose(OptionLikelihood(value="probability"), "A", *options).value == 0


def test_ties_go_to_the_first() -> None:
    options = ("cat", -1.0, 1), ("dog", -1.0, 1)
    assert choose(OptionLikelihood(), "cat", *options).value == 1
    assert choose(OptionLikelihood(), "dog", *options).value == 0


def test_refuses_rows_it_cannot_judge() -> None:
    with pytest.raises(ContractError, match="no usable log-probabilities"):
        choose(OptionLikelihood(), "dog")
    with pytest.raises(ContractError, match="no usable log-probabilities"):
        choose(OptionLikelihood(), "dog", ("dog", math.nan, 1), ("cat", -1.0, 1))
    with pytest.raises(DataError, match="none of the answers"):
        choose(OptionLikelihood(), "owl", ("dog", -2.0, 1), ("cat", -1.0, 1))
