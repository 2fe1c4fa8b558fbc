"""What a run will do and what it can cost at most, worked out before anything is bought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from .contracts.model import GenerateRequest, LikelihoodRequest, Request
from .contracts.reward import OptionScore, Output, Reward
from .contracts.searcher import ParticularSearcher
from .errors import BadInput, ConfigError, DataError
from .keys import worst_case
from .proof.power import MIN_UNITS, Power, assumed_power, rows_needed, unscaled_power
from .records import Budget, Example, Usage
from .setup import Setup
from .splits import count_units

LONGEST_TOKEN = 16
"""Bytes that hardly any token exceeds: turns a text's size into the fewest tokens it can have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on paper.

    Attributes:
        rows: number of search, select and test rows.
        baseline_calls: target calls to score the seed prompt on the search rows.
        final_calls: target calls to choose among the finalists and to prove the winner, at most.
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
    notes = _warnings(setup)
    calls, bound, least = _per_row(setup)
    searchers = max(1, len(setup.entrants))
    calls *= searchers  # each pays for its own baseline and finals, as if it were alone
    fewest = (len(search) + 2 * len(select) + 2 * n_test) * calls
    final = ((setup.finalists + 1) * len(select) + 2 * n_test) * calls
    price = setup.prices.get("target")
    cap = setup.budget
    if cap.calls is not None and cap.calls < fewest:
        raise _too_small("calls", cap.calls, str(fewest), searchers)
    if cap.tokens is not None and cap.tokens < fewest * least.tokens:
        raise _too_small("tokens", cap.tokens, f"more than {fewest * least.tokens}", searchers)
    if cap.usd is not None and price is not None and cap.usd < fewest * price.usd(least):
        raise _too_small("usd", cap.usd, f"more than {fewest * price.usd(least):.4f}", searchers)
    return Plan(
        rows=(len(search), len(select), n_test),
        baseline_calls=len(search) * calls,
        final_calls=final,
        final_usd=final * price.usd(bound) if price is not None else math.nan,
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


def _check_row(reward: Reward, row: Example) -> None:
    """Judge an empty output: a row that cannot be judged says so before anything is bought."""
    if reward.needs == "options" and not row.options:
        raise DataError(f"row {row.id}", "has no options to score", do="add an options column")
    if reward.needs == "likelihood" and not row.answers:
        raise DataError(f"row {row.id}", "has no answer whose likelihood could be scored", do="add one")
    options = tuple(OptionScore(option, -1.0, 1) for option in row.options)
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


def _per_row(setup: Setup) -> tuple[int, Usage, Usage]:
    """Return calls per row, and the worst and the best case of one call, over the search rows."""
    task = setup.task
    rows = task.splits.search
    calls = setup.samples * task.seed_prompt.program.calls
    if task.reward.needs != "text":
        calls = max(len(row.options) for row in rows) if task.reward.needs == "options" else 1
    requests = [_request(setup, row) for row in rows]
    bounds = [worst_case(request) for request in requests]
    worst = Usage(max(b.prompt_tokens for b in bounds), max(b.completion_tokens for b in bounds))
    texts = [sum(len(message.content.encode()) for message in request.messages) for request in requests]
    return max(calls, 1), worst, Usage(min(texts) // LONGEST_TOKEN, 0)


def _request(setup: Setup, row: Example) -> Request:
    messages = setup.task.seed_prompt.render(row)
    if setup.task.reward.needs == "text":
        return GenerateRequest(messages, setup.decoding, adapter=setup.task.seed_prompt.adapter)
    longest = max((row.answer, *row.options), key=len)
    return LikelihoodRequest(messages, longest, setup.task.seed_prompt.adapter)
