"""What a run will do and what it can cost at most, worked out before anything is bought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from .contracts.model import LikelihoodRequest, Request
from .contracts.reward import AsksJudge, OptionScore, Output, Reward
from .contracts.searcher import ParticularSearcher
from .errors import BadInput, ConfigError, DataError
from .judging import ROLE, calls_of_canaries, first_questions
from .keys import worst_case
from .programs import REASONING_TOKENS, first_asks
from .proof.power import MIN_UNITS, Power, assumed_power, rows_needed, unscaled_power
from .records import Budget, Example, Usage
from .setup import Setup
from .splits import count_units

LEAST_REASONING = 48
"""Tokens of two sentences: a reply that reasons in fewer does not reason."""

LONGEST_TOKEN = 16
"""Bytes that hardly any token exceeds: turns a text's size into the fewest tokens it can have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on paper.

    Attributes:
        rows: number of search, select and test rows.
        baseline_calls: calls of target and judge to score the seed prompt on the search rows.
        final_calls: calls of both to choose among the finalists and to prove the winner, at most.
        final_usd: US dollars of those, at worst.
        budget: the caps; None is no cap.
        fewest_calls: calls that the baseline, a choice between two, and the proof need at least.
        power: what the rows of the verdict can show.
        notes: what should be known before money is spent.
        searchers: how many compete, each on an equal share of the budget; all calls above are those of all.
    """

    rows: tuple[int, int, int]
    baseline_calls: int
    final_calls: int
    final_usd: float
    budget: Budget
    fewest_calls: int
    power: Power
    notes: tuple[str, ...] = ()
    searchers: int = 1

    @property
    def share(self) -> Budget:
        """What each of the searchers may spend."""
        return self.budget.share(self.searchers)

    @property
    def search_calls(self) -> int | None:
        """Calls left for searching; None when the budget does not cap them."""
        if self.budget.calls is None:
            return None
        return max(0, self.budget.calls - self.baseline_calls - self.final_calls)


def make_plan(setup: Setup) -> Plan:
    """Work out the plan of a run, and see that its rows can be rendered and judged.

    Raises:
        ConfigError: the budget is below the baseline and the smallest final comparison.
        DataError: a row lacks what the reward needs (an answer, options), or there are so few rows that
            nothing could be shown.
        TemplateError: the seed prompt cannot be rendered.
        UnsupportedError: a searcher cannot work with the target.
    """
    task = setup.task
    search, select, n_test = task.splits.search, task.splits.select, task.splits.n_test
    task.splits.check(partial(_check_row, task.reward))
    for searcher in setup.entrants.values() or (setup.searcher,):
        if isinstance(searcher, ParticularSearcher):
            searcher.check_target(setup.models["target"])
    notes = _warnings(setup) + _notes_on_judge(setup) + _notes_on_reasoning(setup)
    asked = [_asked_of_target(setup), *_asked_of_judge(setup)]
    searchers = max(1, len(setup.entrants))
    at_first = calls_of_canaries(task.reward, search) * searchers
    calls = sum(one.calls for one in asked) * searchers  # each pays for its own, as if it were alone
    fewest_rows, final_rows = (finalists * len(select) + 2 * n_test for finalists in (2, setup.finalists + 1))
    fewest = (len(search) + fewest_rows) * calls + at_first
    cap = setup.budget
    if cap.calls is not None and cap.calls < fewest:
        raise _too_small("calls", cap.calls, str(fewest), searchers)
    rows = (len(search) + fewest_rows) * searchers
    tokens = rows * sum(one.calls * one.least.tokens for one in asked)
    if cap.tokens is not None and cap.tokens < tokens:
        raise _too_small("tokens", cap.tokens, f"more than {tokens}", searchers)
    usd = rows * sum(
        one.calls * setup.prices[one.role].usd(one.least) for one in asked if one.role in setup.prices
    )
    if cap.usd is not None and cap.usd < usd:
        raise _too_small("usd", cap.usd, f"more than {usd:.4f}", searchers)
    priced = all(one.role in setup.prices for one in asked)
    worst = sum(one.calls * setup.prices[one.role].usd(one.worst) for one in asked) if priced else math.nan
    return Plan(
        rows=(len(search), len(select), n_test),
        baseline_calls=len(search) * calls + at_first,
        final_calls=final_rows * calls,
        final_usd=final_rows * searchers * worst,
        budget=cap,
        fewest_calls=fewest,
        power=make_power(setup),
        notes=notes,
        searchers=searchers,
    )


def proving_units(setup: Setup) -> tuple[int, str]:
    """Return the number of independent rows that the verdict rests on, and which split they are."""
    splits = setup.task.splits
    return (splits.test_units, "test") if splits.n_test else (count_units(splits.select), "select")


def make_power(setup: Setup) -> Power:
    """Return what the rows can show, as far as it can be said before a score is seen."""
    say = unscaled_power if setup.task.reward.needs == "likelihood" else assumed_power
    return say(*proving_units(setup))


def _warnings(setup: Setup) -> tuple[str, ...]:
    """Return what to know about the number of rows.

    Raises:
        DataError: there is no test split, and too few select rows to show anything.
    """
    units, split = proving_units(setup)
    need = f"{MIN_UNITS} independent rows at least, about {rows_needed(0.1)} to see a gain of 10 points"
    if split == "test":
        if units >= MIN_UNITS:
            return ()
        rows = f"{units} independent test row{'s' if units != 1 else ''}"
        return (f"{rows} cannot prove any improvement: that takes {need}",)
    if units < MIN_UNITS:
        raise DataError(
            "select split",
            "too few rows to show any improvement, and there is no test split",
            got=f"{units} independent rows",
            do=f"add rows: {need}",
        )
    return (
        "no test split: the gain will be estimated on reused rows, which is not a held-out proof; "
        f"set rows aside for one: {need}",
    )


def _notes_on_judge(setup: Setup) -> tuple[str, ...]:
    judge = setup.models.get(ROLE)
    if judge is None:
        return ()
    if not isinstance(setup.task.reward, AsksJudge):
        return (f"the reward {setup.task.reward_name} asks no judge; use `reward: judge`, or leave it out",)
    if judge.identity == setup.models["target"].identity:
        return ("the target judges itself: models tend to favour what they wrote (Zheng et al. 2023, 3.3)",)
    return ()


def _first_reply(setup: Setup) -> tuple[bool, int]:
    """Return whether the first reply to a row reasons, and how many tokens it may have."""
    task = setup.task
    ask, *_ = first_asks(task.seed_prompt.program, task.seed_prompt.render(task.splits.search[0]))
    return ask.reasons, ask.decoding(setup.decoding).max_tokens


def _notes_on_reasoning(setup: Setup) -> tuple[str, ...]:
    """Warn of a program whose replies are cut before they can have reasoned."""
    task = setup.task
    if task.reward.needs != "text":
        return ()
    reasons, room = _first_reply(setup)
    if not reasons or room >= LEAST_REASONING:
        return ()
    name = task.seed_prompt.program.name
    return (
        f"target.decoding: {room} tokens leave replies of {name} no room to reason; they are cut before they "
        f"answer; give it reasoning_tokens: {REASONING_TOKENS}",
    )


def _check_row(reward: Reward, row: Example) -> None:
    """Judge an empty output: a row that cannot be judged says so before anything is bought."""
    if reward.needs == "options" and not row.options:
        raise DataError(f"row {row.id}", "has no options to score", do="add an options column")
    if reward.needs == "likelihood" and not row.answers:
        raise DataError(f"row {row.id}", "has no answer whose likelihood could be scored", do="add one")
    options = tuple(OptionScore(option, -1.0, 1) for option in row.options)
    if isinstance(reward, AsksJudge):
        return
    try:
        reward(row, Output(logprob=-1.0, tokens=1, options=options))
    except Exception as error:  # a reward may choke on an empty output: only bad rows stop the run
        if isinstance(error, BadInput):
            raise


def _too_small(key: str, got: object, need: str, searchers: int) -> ConfigError:
    each = f" for each of {searchers} searchers" if searchers > 1 else ""
    return ConfigError(
        f"budget.{key}",
        f"cannot pay one baseline pass and the final comparison{each}",
        got=got,
        do=f"give it {need} or more, or make data.sizes smaller",
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a row takes of one model.

    Attributes:
        role: whose calls.
        calls: for one row, all samples together.
        worst: most tokens of a call, over the search rows.
        least: fewest.
    """

    role: str
    calls: int
    worst: Usage
    least: Usage

    @classmethod
    def of(cls, role: str, calls: int, requests: Sequence[Request], more: int = 0) -> _Asked:
        """Look at what is asked for the search rows; `more` bytes may come to each request."""
        bounds = [worst_case(request) for request in requests]
        worst = Usage(max(b.prompt_tokens for b in bounds) + more, max(b.completion_tokens for b in bounds))
        texts = [sum(len(message.content.encode()) for message in request.messages) for request in requests]
        return cls(role, max(calls, 1), worst, Usage(min(texts) // LONGEST_TOKEN, 0))


def _asked_of_target(setup: Setup) -> _Asked:
    task = setup.task
    rows = task.splits.search
    calls = setup.samples * task.seed_prompt.program.calls
    if task.reward.needs != "text":
        calls = max(len(row.options) for row in rows) if task.reward.needs == "options" else 1
    return _Asked.of("target", calls, [_request(setup, row) for row in rows])


def _asked_of_judge(setup: Setup) -> list[_Asked]:
    """Return what a row takes of the judge, each output judged anew, each first reply a score."""
    rows = setup.task.splits.search
    requests = first_questions(setup.task.reward, rows)
    longest = _first_reply(setup)[1] * LONGEST_TOKEN
    calls = setup.samples * math.ceil(len(requests) / len(rows))
    return [_Asked.of(ROLE, calls, requests, longest)] if requests else []


def _request(setup: Setup, row: Example) -> Request:
    messages = setup.task.seed_prompt.render(row)
    if setup.task.reward.needs == "text":
        ask, *_ = first_asks(setup.task.seed_prompt.program, messages)
        return ask.request(setup.decoding, setup.task.seed_prompt.adapter)
    longest = max((row.answer, *row.options), key=len)
    return LikelihoodRequest(messages, longest, setup.task.seed_prompt.adapter)
