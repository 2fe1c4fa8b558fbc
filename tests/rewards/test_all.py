"""Every installed reward passes the contract check; the table must name them all."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from promptopt import Example, FrozenMap
from promptopt.contracts.model import Completion
from promptopt.contracts.reward import OptionScore, Output
from promptopt.plugins import build, installed
from promptopt.testing.reward import check_reward


def row(*answers: str, options: tuple[str, ...] = ()) -> Example:
    return Example("r1", FrozenMap(question="?"), answers, options)


def last_word_is(example: Example, text: str) -> tuple[bool, str]:
    return text.split()[-1:] == [example.answer], f"expected {example.answer!r}"


def chosen(*logprobs: float) -> Output:
    return Output(options=tuple(OptionScore(o, p, 2) for o, p in zip(("cat", "dog"), logprobs, strict=True)))


def said(reply: str) -> Output:
    return Output("a dog", opinions=(Completion(reply),))


# name: options, row, right outputs, wrong outputs
CASES: dict[str, tuple[dict[str, Any], Example, list[str | Output], list[str | Output]]] = {
    "exact_match": ({}, row("geese", "gaggle"), ["geese", " Gaggle\n"], ["gooses", "the geese", ""]),
    "accepted_set": ({}, row("geese", "gaggle"), ["The geese!", "gaggle"], ["gooses", "two geese", ""]),
    "exact_set": ({}, row("cat, dog"), ["dog, cat", "dog cat dog"], ["cat", "cat, dog, owl", ""]),
    "token_f1": ({}, row("a big red dog"), ["a big red dog", "big red"], ["dog", "", "cat"]),
    "contains": ({}, row("cat"), ["the cat sat"], ["the cats sat", ""]),
    "numeric": ({}, row("#### 1,234"), ["it is $1,234.", "1234"], ["1235", "none", "-1234"]),
    "multiple_choice": ({}, row("dog", options=("cat", "dog")), ["B", "a dog"], ["A", "cat", "cat or dog"]),
    "regex": ({"pattern": r"animal: (\w+)"}, row("dog"), ["animal: Dog"], ["dog", "animal: cat"]),
    "json_field": ({"field": "a.b"}, row("4"), ['{"a": {"b": 4.0}}'], ['{"a": {"b": 5}}', '{"a": 4}', "4"]),
    "log_likelihood": ({}, row("dog"), [Output(logprob=-1, tokens=2)], [Output(logprob=-1, tokens=1)]),
    "option_likelihood": ({}, row("dog", options=("cat", "dog")), [chosen(-2, -1)], [chosen(-1, -2)]),
    "judge": ({"criteria": "Good."}, row("dog"), [said('{"score": 5}'), said("4")], [said("1"), said("3")]),
    "python": ({"function": last_word_is}, row("dog"), ["the dog"], ["the cat", ""]),
}


def as_output(output: str | Output) -> Output:
    return Output(output) if isinstance(output, str) else output


def test_every_installed_reward_has_a_case() -> None:
    assert set(CASES) == {
        name
        for name, point in installed("rewards").items()
        if point.dist is not None and point.dist.name == "promptopt"
    }


@pytest.mark.parametrize("name", CASES)
def test_keeps_the_contract(name: str) -> None:
    options, example, right, wrong = CASES[name]
    reward = build("rewards", name, options)
    check_reward(
        reward,
        right=[(example, as_output(output)) for output in right],
        wrong=[(example, as_output(output)) for output in wrong],
    )


@pytest.mark.parametrize("name", CASES)
def test_is_a_dataclass_with_its_rules_written_down(name: str) -> None:
    options, *_ = CASES[name]
    reward = build("rewards", name, options)
    assert dataclasses.is_dataclass(reward)
    rules = (type(reward).__doc__ or "").lower()
    assert "normali" in rules or "compar" in rules
    assert all(f"{key}:" in rules or key == "function" for key in options)


@pytest.mark.parametrize("name", CASES)
def test_wrong_outputs_come_with_a_feedback_text_of_bounded_length(name: str) -> None:
    options, example, _, wrong = CASES[name]
    if name == "python":  # says what the function says
        return
    reward = build("rewards", name, options)
    for output in map(as_output, wrong):
        assert reward(example, output).feedback not in ("", "correct")
        long = dataclasses.replace(output, text=output.text + " and so on" * 10_000)
        assert len(reward(example, long).feedback) < 800
