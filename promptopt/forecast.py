"""What a run will probably take: calls, tokens, US dollars and, as far as it can be known, seconds.

A run is rehearsed with stand-ins (`rehearsal`). Models of this machine are tried for about two seconds
first: how fast they are, how long their replies, how right the seed prompt's, how varied their proposals.
Models elsewhere cost money, so nothing is asked of them: what is assumed instead is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .contracts.model import LanguageModel, Request
from .contracts.searcher import Trains
from .errors import PromptOptError, UnsupportedError
from .habits import Habits
from .judging import ROLE
from .ledger import Spent
from .plan import proving_units
from .programs import reasons
from .proof.power import Power, rehearsed_power
from .rehearsal import SHORT, Rehearsal, rehearse
from .setup import Setup
from .trial import Trial

OPINION = 32
"""Tokens that a judge is taken to write: a score, and why."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will probably take.

    Attributes:
        spent: calls, tokens and US dollars by role.
        seconds: wall time; None where it is not known.
        notes: what is assumed, and what is not known.
        power: what the rows of the verdict can show, by the real-valued scores that the seed prompt got when
            the target was tried; None where it was not, or its scores are 0 or 1.
    """

    spent: Mapping[str, Spent]
    seconds: float | None
    notes: tuple[str, ...] = ()
    power: Power | None = None

    @property
    def total(self) -> Spent:
        """All roles together."""
        return sum(self.spent.values(), Spent())


def foresee(
    make: Callable[[], Setup], latency: float | None = None, clock: Callable[[], float] = time.perf_counter
) -> Forecast | str:
    """Return what a run will probably take, or why that cannot be said.

    Args:
        make: returns the run's parts, anew each time.
        latency: seconds that a model elsewhere takes to answer, if known.
        clock: seconds, for what this machine does.
    """
    found = dry_run(make, clock)
    if isinstance(found, str):
        return found
    setup, habits, rehearsal, trial, setting_up = found
    elsewhere = [role for role in setup.models if role not in trial.models]
    waits = [_waiting(setup.models[role], rehearsal.batches[role], latency) for role in elsewhere]
    known = [wait for wait in waits if wait is not None]
    seconds = setting_up + rehearsal.seconds + trial.seconds(rehearsal) + sum(known)
    return Forecast(
        spent=rehearsal.spent,
        seconds=seconds if len(known) == len(waits) else None,
        notes=tuple(_notes(setup, habits, elsewhere, latency)),
        power=_power(setup, trial.scores),
    )


class DryRun(NamedTuple):
    """A rehearsed run: its parts, how its models are taken to answer, what it asked, what was tried.

    `setting_up` are the seconds that its parts take to be made.
    """

    setup: Setup
    habits: Mapping[str, Habits]
    rehearsal: Rehearsal
    trial: Trial
    setting_up: float


def dry_run(make: Callable[[], Setup], clock: Callable[[], float] = time.perf_counter) -> DryRun | str:
    """Rehearse a run, models of this machine being tried; return why, if that cannot be done.

    Args:
        make: returns the run's parts, anew each time.
        clock: seconds, for what this machine does.
    """
    setup = make()
    for searcher in (setup.searcher, *setup.entrants.values()):
        if isinstance(searcher, Trains):
            return f"the search trains {searcher.trains}, which cannot be rehearsed without training it"
    habits = {role: assumed(setup, role) for role in setup.models}
    try:
        begun = clock()
        fresh = make()
        setting_up = clock() - begun
        rehearsal = rehearse(fresh, habits, clock)
        trial = Trial(setup, clock)
        if trial.models:
            habits |= trial.first(rehearsal, habits)
            habits |= trial.throughout(rehearse(make(), habits, clock), habits)
            rehearsal = rehearse(make(), habits, clock)
    except UnsupportedError as error:  # the models themselves were found able when the run was planned
        return f"the search cannot be rehearsed with stand-ins for the models ({error.where})"
    except PromptOptError as error:
        return f"the search cannot be rehearsed ({error})"
    return DryRun(setup, habits, rehearsal, trial, setting_up)


def _power(setup: Setup, scores: Sequence[float]) -> Power | None:
    if len(scores) < 2:
        return None
    units, split = proving_units(setup)
    return rehearsed_power(scores, rows=units, split=split, observed=f"{len(scores)} search rows tried")


def assumed(setup: Setup, role: str) -> Habits:
    """Return what is assumed of a model that cannot be asked: replies as long as the rows' answers."""
    if role == "proposer":
        plain = Habits()
        return replace(plain, reply=plain.instruction / plain.bytes_a_token)
    if role == ROLE:
        return Habits(reply=OPINION)
    answers = [len(row.answer.encode("utf-8", "replace")) for row in setup.task.splits.search if row.answer]
    mean = sum(answers) / len(answers) if answers else 16.0
    if reasons(setup.task.seed_prompt.program):
        reply = (setup.decoding.reasoning_tokens or setup.decoding.max_tokens) / 2
    else:
        reply = min(setup.decoding.max_tokens, mean / 4 + 1)
    return Habits(reply=reply)


def _waiting(
    model: LanguageModel, batches: Sequence[Sequence[Request]], latency: float | None
) -> float | None:
    """Return the seconds that batches take where as many requests as allowed are answered side by side."""
    most = model.capabilities.concurrency
    if latency is None or most is None:
        return 0.0 if not batches else None
    return sum(math.ceil(len(batch) / most) for batch in batches) * latency


def _notes(
    setup: Setup, habits: Mapping[str, Habits], elsewhere: Sequence[str], latency: float | None
) -> list[str]:
    notes = [f"the target is taken to get {habits['target'].right:.0%} of the rows right with your prompt"]
    if elsewhere:
        roles = _listed(elsewhere)
        size, reply = habits[elsewhere[0]].bytes_a_token, habits[elsewhere[0]].reply
        notes.append(
            f"tokens of {roles} are reckoned at {size:g} bytes each, replies at {reply:.0f} tokens: "
            "asking would cost"
        )
        if latency is None:
            notes.append(f"seconds of {roles} are not known; say how long an answer takes with --latency")
    if ROLE in setup.models:
        differ = habits["target"].reply > SHORT
        taken = "every output is taken to differ" if differ else "outputs this short are taken to repeat"
        notes.append(f"{taken}; equal ones are judged once")
    unpriced = [role for role in setup.models if role not in setup.prices]
    if unpriced:
        notes.append(f"the price of {_listed(unpriced)} is not known; set `price` for dollars")
    return notes


def _listed(names: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
