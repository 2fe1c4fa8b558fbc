"""Check that a reward keeps its contract: `check_reward`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

from ..contracts.reward import AsksJudge, Needs, Output, Reward
from ..errors import ContractError, shorten
from ..records import Example, Score

HOSTILE_TEXTS: tuple[str, ...] = (
    "",
    " \t\r\n\u00a0\u2003\u3000",
    "\x00",
    "a\x00b\x1b[31m\x7f",
    "\ud800 lone surrogates \udfff",
    "\ufeff\u200b\u200d\u202eright to left\u202c",
    "Ünï\u0301cödé ﬁ ⅷ ٣ 四 ¾ ß İ ı 🧑‍🚀🏽",
    "e" + "\u0301\u0316" * 50_000,
    "x" * 1_000_000,
    "0" * 200_000,
    "1," * 100_000,
    "word " * 50_000,
    "\n" * 200_000,
    "A) (B)\n" * 50_000,
    "the answer is " * 20_000,
    "{" * 200_000,
    '{"answer":' * 100_000,
    '{"answer": ' + "[" * 2_000 + "]" * 2_000 + "}",
    '{"answer": 1e999, "other": NaN}',
    "((((((((((]]]]]\\boxed{\\frac{1}{0}",
    "-+.,$%/1/0 1e400 -.e5 ####",
    "%s %d {0} {{x}} ${y} \\1 (?P<a>",
)
"""Replies that have broken parsers: empty, huge, nested, odd Unicode, control characters."""

Pair = tuple[Example, Output]


def check_reward(reward: Reward, *, right: Sequence[Pair], wrong: Sequence[Pair]) -> None:
    """Check a reward on outputs whose order is known, and on hostile replies.

    It must have the contract's parts; give finite values and storable feedback; give the same score again,
    in another order, on copies and after other calls; leave its arguments as they are; score every right
    pair above every wrong one; and survive the `HOSTILE_TEXTS`, also in `extract`. One that asks a judge
    (`AsksJudge`; the pairs have its opinions) must ask the same about the same, also about hostile replies,
    nothing that cannot be sent, and make canaries that differ from one turn to the next.

    Args:
        reward: what to check.
        right: pairs of a row and an output that is good for it; at least one.
        wrong: pairs of a row and an output that is worse than all the right ones; at least one.

    Raises:
        ContractError: the first broken rule, with the name of the reward's class.
    """
    where = f"reward {type(reward).__name__}"
    pairs = [*right, *wrong]
    if not right or not wrong:
        raise ContractError(f"check_reward({type(reward).__name__})", "needs right and wrong pairs")
    _check_shape(where, reward)
    first = [_scored(where, reward, pair) for pair in pairs]
    _check_repeats(where, reward, pairs, first)
    lowest, highest = min(first[: len(right)], key=_value), max(first[len(right) :], key=_value)
    if not lowest.value > highest.value:
        best, worst = pairs[first.index(lowest)], pairs[len(right) + first[len(right) :].index(highest)]
        raise ContractError(
            where,
            f"a right output {shorten(best[1])} scores {lowest.value}, "
            f"not above the {highest.value} of a wrong one",
            got=worst[1],
        )
    for text in HOSTILE_TEXTS:
        example, output = right[0]
        _scored(where, reward, (example, replace(output, text=text)))
        _extracted(where, reward, text)
        if isinstance(reward, AsksJudge):
            _asked(where, reward, (example, replace(output, text=text, opinions=())))
    if isinstance(reward, AsksJudge):
        _check_canaries(where, reward, [example for example, _ in pairs])
    for _, output in pairs:
        _extracted(where, reward, output.text)
    _check_repeats(where, reward, pairs, first)


def _check_shape(where: str, reward: object) -> None:
    if not isinstance(reward, Reward):
        do = "define needs, __call__(example, output) and extract(text)"
        raise ContractError(where, "is not a Reward", got=reward, do=do)
    if isinstance(reward, type):
        raise ContractError(where, "is a class, not an instance", got=reward, do="call it with its options")
    known = get_args(Needs)
    if reward.needs not in known:
        raise ContractError(f"{where}.needs", "unknown", got=reward.needs, do=f"use {' or '.join(known)}")


def _check_repeats(where: str, reward: Reward, pairs: Sequence[Pair], first: Sequence[Score]) -> None:
    for pair, before in reversed(list(zip(pairs, first, strict=True))):
        again = _scored(where, reward, pair)
        if again != before:
            problem = f"gave {before} first and {again} later for the same output"
            raise ContractError(where, problem, do="use no chance, no clock, and keep nothing between calls")


def _scored(where: str, reward: Reward, pair: Pair) -> Score:
    example, output = pair = copy.deepcopy(pair)
    before = repr(pair)
    score: object = _survive(where, lambda: reward(example, output), output.text)
    if repr(pair) != before:
        raise ContractError(where, "changed the row or the output it was given", got=shorten(output.text))
    if not isinstance(score, Score):
        raise ContractError(where, "must return a Score", got=score)
    value: object = score.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ContractError(
            where, f"value must be a finite number for the reply {shorten(output.text)}", got=value
        )
    parsed: object = score.parsed
    if not isinstance(parsed, bool):
        raise ContractError(where, "parsed must be True or False", got=parsed)
    _check_text(f"{where}: feedback", score.feedback)
    return score


def _check_text(where: str, text: object) -> None:
    if not isinstance(text, str):
        raise ContractError(where, "must be a text", got=text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        do = "quote replies with repr()"
        raise ContractError(
            where, "holds lone surrogates, which cannot be stored", got=text, do=do
        ) from error


def _asked(where: str, reward: AsksJudge, pair: Pair) -> None:
    example, output = pair
    first, again = (
        _survive(f"{where}.questions", lambda: reward.questions(example, output), output.text)
        for _ in range(2)
    )
    if not first or first != again:
        raise ContractError(f"{where}.questions", "must ask, and the same about the same", got=first)
    for message in (message for request in first for message in request.messages):
        _check_text(f"{where}.questions", message.content)


def _check_canaries(where: str, reward: AsksJudge, rows: Sequence[Example]) -> None:
    turns = [reward.make_canaries(rows, turn) for turn in (0, 1, 0)]
    if turns[0] != turns[2] or (turns[0] and turns[0] == turns[1]):
        raise ContractError(
            f"{where}.make_canaries", "must make the same for a turn, and others for the next",
            got=turns[0][:1], do="go on in the rows, or in what the canaries say",
        )  # fmt: skip


def _extracted(where: str, reward: Reward, text: str) -> None:
    answers: list[object] = [
        _survive(f"{where}.extract", lambda: reward.extract(text), text) for _ in range(2)
    ]
    if not all(answer is None or isinstance(answer, str) for answer in answers):
        raise ContractError(f"{where}.extract", "must return a text or None", got=answers[0])
    if answers[0] != answers[1]:
        raise ContractError(f"{where}.extract", "gave two answers for the same text", got=answers)


def _survive(where: str, call: Callable[[], Any], text: str) -> Any:
    try:
        return call()
    except Exception as error:
        problem = f"raised {type(error).__name__}: {error}"
        raise ContractError(
            where, problem, got=text[:200], do="score what cannot be read with parsed=False"
        ) from error


def _value(score: Score) -> float:
    return score.value
