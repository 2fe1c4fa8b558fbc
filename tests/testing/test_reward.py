"""check_reward finds each way to break the contract."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.model import GenerateRequest
from promptopt.contracts.reward import Canary, Output
from promptopt.errors import ContractError
from promptopt.records import Message
from promptopt.testing.reward import check_reward

ROW = Example("r1", FrozenMap(question="?"), ("dog",))
RIGHT = [(ROW, Output("dog"))]
WRONG = [(ROW, Output("cat"))]


@dataclass
class Judge:
    """A sound reward, unless a part is replaced."""

    judge: Callable[[Example, Output], Any] = lambda example, output: Score(
        float(output.text == example.answer)
    )
    read: Callable[[str], Any] = lambda text: text or None
    needs: Any = "text"
    seen: list[str] = field(default_factory=list)

    def __call__(self, example: Example, output: Output) -> Any:
        self.seen.append(output.text)
        return self.judge(example, output)

    def extract(self, text: str) -> Any:
        return self.read(text)


def right(output: Output) -> float:
    return float(output.text == "dog")


def mutate(example: Example, output: Output) -> Score:
    object.__setattr__(output, "text", output.text.strip() + "!")
    return Score(right(output))


def mutate_inputs(example: Example, output: Output) -> Score:
    object.__setattr__(example, "inputs", FrozenMap(question="!"))
    return Score(right(output))


def chance() -> Callable[[Example, Output], Score]:
    counter = itertools.count()
    return lambda example, output: Score(right(output) + next(counter) / 1e6)


def memory() -> Callable[[Example, Output], Score]:
    seen: set[str] = set()

    def judge(example: Example, output: Output) -> Score:
        seen.add(output.text)
        return Score(right(output), "" if len(seen) <= 2 else "seen much")

    return judge


def test_a_sound_reward_passes_and_met_hostile_replies() -> None:
    judge = Judge()
    check_reward(judge, right=RIGHT, wrong=WRONG)
    assert {"", "\x00"} <= set(judge.seen)
    assert any("\ud800" in text for text in judge.seen)
    assert max(map(len, judge.seen)) >= 1_000_000


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (lambda e, o: right(o), "must return a Score"),
        (lambda e, o: Score(math.nan), "value must be a finite number"),
        (lambda e, o: Score("1"), "value must be a finite number"),
        (lambda e, o: Score(o.text == "dog"), "value must be a finite number"),
        (lambda e, o: Score(right(o), None), "feedback: must be a text"),
        (lambda e, o: Score(right(o), f"said {o.text}"), "feedback: holds lone surrogates"),
        (lambda e, o: Score(right(o), parsed=None), "parsed must be True or False"),
        (lambda e, o: Score(0.5), "scores 0.5, not above the 0.5 of a wrong one"),
        (lambda e, o: Score(-right(o)), "not above"),
        (lambda e, o: Score(right(o) + 0 * len(o.text.split()[0])), "raised IndexError"),
        (lambda e, o: Score(right(o) + 0 * len(o.text.encode())), "raised UnicodeEncodeError"),
        (mutate, "changed the row or the output"),
        (mutate_inputs, "changed the row or the output"),
        (chance(), "first and .* later for the same output"),
        (memory(), "first and .* later for the same output"),
    ],
)
def test_broken_scores_are_found(judge: Callable[[Example, Output], Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"(?s)reward Judge.*{message}"):
        check_reward(Judge(judge), right=RIGHT, wrong=WRONG)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda text: 1, "must return a text or None"),
        (lambda text: text[0], "raised IndexError"),
        (lambda text, count=itertools.count(): str(next(count)), "two answers for the same text"),  # noqa: B008
    ],
)
def test_broken_extraction_is_found(read: Callable[[str], Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"reward Judge.extract: .*{message}"):
        check_reward(Judge(read=read), right=RIGHT, wrong=WRONG)


def test_wrong_shapes_are_found() -> None:
    with pytest.raises(
        ContractError, match="needs: unknown; got 'images'; use text or likelihood or options"
    ):
        check_reward(Judge(needs="images"), right=RIGHT, wrong=WRONG)
    with pytest.raises(ContractError, match="is not a Reward"):
        check_reward(len, right=RIGHT, wrong=WRONG)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="is a class"):
        check_reward(Judge, right=RIGHT, wrong=WRONG)  # type: ignore[arg-type]


def test_needs_right_and_wrong_pairs() -> None:
    with pytest.raises(ContractError, match="needs right and wrong pairs"):
        check_reward(Judge(), right=RIGHT, wrong=[])


@dataclass
class Asks(Judge):
    """A sound reward that asks a judge, unless a part is replaced."""

    ask: Callable[[Output], Any] = lambda output: f"Good? {output.text!r}"
    canaries: Callable[[int], Any] = lambda turn: turn
    canary_every: int = 10

    def questions(self, example: Example, output: Output) -> Any:
        asked = self.ask(output)
        return () if asked is None else (GenerateRequest((Message("user", asked),)),)

    def make_canaries(self, rows: Sequence[Example], turn: int) -> Any:
        canary = Canary(f"kind {self.canaries(turn)}", rows[0], None, Output("a"), Output("b"))
        return () if self.canaries(turn) is None else (canary,)


def test_a_sound_reward_that_asks_passes_with_canaries_and_without() -> None:
    for canaries in (lambda turn: turn, lambda turn: None):
        check_reward(Asks(canaries=canaries), right=RIGHT, wrong=WRONG)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"ask": lambda output: f"Good? {output.text}"}, "questions: holds lone surrogates"),
        ({"ask": lambda output: None}, "questions: must ask, and the same about the same"),
        ({"ask": lambda output, c=itertools.count(): str(next(c))}, "the same about the same"),  # noqa: B008
        ({"ask": lambda output: output.text.split()[0]}, "questions: raised IndexError"),
        (
            {"canaries": lambda turn: 1},
            "make_canaries: must make the same for a turn, and others for the next",
        ),
        ({"canaries": lambda turn, c=itertools.count(): next(c)}, "must make the same"),  # noqa: B008
    ],
)
def test_broken_questions_are_found(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"reward Asks.*{message}"):
        check_reward(Asks(**parts), right=RIGHT, wrong=WRONG)
