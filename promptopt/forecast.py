"""What a run will probably take: calls, tokens, US dollars and, as far as it can be known, seconds.

A run is rehearsed with stand-ins (`rehearsal`). Models of this machine are tried for about two seconds
first: how fast they are, how long their replies, how right the seed prompt's, how varied their proposals.
Models elsewhere cost money, so nothing is asked of them: what is assumed instead is said.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

from .calls import FREE_ENDPOINTS
from .contracts.model import (
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    Request,
)
from .contracts.reward import Needs, OptionScore, Output
from .errors import PromptOptError, UnsupportedError
from .ledger import Spent
from .plan import proving_units
from .programs import Single
from .proof.power import Power, rehearsed_power
from .records import Example
from .rehearsal import Habits, Rehearsal, rehearse
from .setup import Setup

TRIAL = 1.0
"""Seconds for which a model of this machine is tried, in each role."""
FIRST_TRIAL = 16
"""Requests of the first trial; each later one is twice as large."""


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


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model of this machine showed.

    Attributes:
        habits: how it answers.
        seconds_a_call: in a batch of the size that the trial reached.
        loading: seconds before it could answer.
        scores: of the seed prompt, on search rows; empty for a proposer.
    """

    habits: Habits
    seconds_a_call: float
    loading: float
    scores: Sequence[float] = ()


def foresee(make: Callable[[], Setup], latency: float | None = None) -> Forecast | str:
    """Return what a run will probably take, or why that cannot be said.

    Args:
        make: returns the run's parts, anew each time.
        latency: seconds that a model elsewhere takes to answer, if known.
    """
    setup = make()
    habits = {role: _assumed(setup, role) for role in setup.models}
    try:
        rehearsal = rehearse(make(), habits)
        trials = _trials(setup, rehearsal, habits)
        if trials:
            habits |= {role: trial.habits for role, trial in trials.items()}
            rehearsal = rehearse(make(), habits)
    except UnsupportedError as error:  # the models themselves were found able when the run was planned
        return f"the search cannot be rehearsed with stand-ins for the models ({error.where})"
    except PromptOptError as error:
        return f"the search cannot be rehearsed ({error})"
    elsewhere = [role for role in setup.models if role not in trials]
    here = sum(trials[role].seconds_a_call * rehearsal.spent.get(role, Spent()).calls for role in trials)
    waits = [_waiting(setup.models[role], rehearsal.waves[role], latency) for role in elsewhere]
    known = [wait for wait in waits if wait is not None]
    seconds = rehearsal.seconds + here + sum(_once_each(setup, trials)) + sum(known)
    return Forecast(
        spent=rehearsal.spent,
        seconds=seconds if len(known) == len(waits) else None,
        notes=tuple(_notes(setup, habits, elsewhere, latency)),
        power=_power(setup, trials["target"].scores if "target" in trials else ()),
    )


def _power(setup: Setup, scores: Sequence[float]) -> Power | None:
    if len(scores) < 2:
        return None
    units, split = proving_units(setup)
    return rehearsed_power(scores, rows=units, split=split, observed=f"{len(scores)} search rows tried")


def _assumed(setup: Setup, role: str) -> Habits:
    """Return what is assumed of a model that cannot be asked: replies as long as the rows' answers."""
    if role == "proposer":
        plain = Habits()
        return replace(plain, reply=plain.instruction / plain.bytes_a_token)
    answers = [len(row.answer.encode("utf-8", "replace")) for row in setup.task.splits.search if row.answer]
    mean = sum(answers) / len(answers) if answers else 16.0
    if isinstance(setup.task.seed_prompt.program, Single):
        reply = min(setup.decoding.max_tokens, mean / 4 + 1)
    else:
        reply = setup.decoding.max_tokens / 2
    return Habits(reply=reply)


def _trials(setup: Setup, rehearsal: Rehearsal, habits: Mapping[str, Habits]) -> dict[str, Trial]:
    """Try the models of this machine on requests of the rehearsal."""
    trials: dict[str, Trial] = {}
    for role, model in setup.models.items():
        requests = rehearsal.requests[role]
        if model.identity.endpoint not in FREE_ENDPOINTS or not requests:
            continue
        loading = _seconds(model, requests[:1])[0]
        seconds, outcomes = _seconds_of_the_largest(model, requests)
        scores = _seed_scores(setup, outcomes) if role == "target" else []
        learned = _learned(role, habits[role], requests, outcomes, scores)
        trials[role] = Trial(learned, seconds / len(outcomes), loading, scores)
    return trials


def _seconds_of_the_largest(model: LanguageModel, requests: Sequence[Request]) -> tuple[float, Sequence[Any]]:
    """Return how long the largest of ever larger batches took, and its outcomes."""
    begun, size = time.perf_counter(), FIRST_TRIAL
    while True:
        seconds, outcomes = _seconds(model, requests[:size])
        left = TRIAL - (time.perf_counter() - begun)
        if size >= len(requests) or left < 2 * seconds:
            return seconds, outcomes
        size *= 2


def _seconds(model: LanguageModel, requests: Sequence[Request]) -> tuple[float, list[Any]]:
    """Answer requests, kind by kind; return the seconds and the outcomes, in order."""
    outcomes: dict[int, Any] = {}
    begun = time.perf_counter()
    for kind, method in ((GenerateRequest, model.generate), (LikelihoodRequest, model.loglikelihood)):
        places = [i for i, request in enumerate(requests) if isinstance(request, kind)]
        of_kind: Any = [requests[i] for i in places]
        if of_kind:
            outcomes |= {places[i]: outcome for i, outcome in method(of_kind)}
    return time.perf_counter() - begun, [outcomes[i] for i in range(len(requests))]


def _learned(
    role: str, habits: Habits, requests: Sequence[Request], outcomes: Sequence[Any], scores: Sequence[float]
) -> Habits:
    answered = [
        (request, outcome)
        for request, outcome in zip(requests, outcomes, strict=False)
        if not isinstance(outcome, Failure)
    ]
    if not answered:
        return habits
    read = sum(outcome.usage.prompt_tokens for _, outcome in answered)
    size = sum(_bytes(request) for request, _ in answered)
    texts = [outcome.text for _, outcome in answered if isinstance(outcome, Completion)]
    made = [outcome.usage.completion_tokens for _, outcome in answered if isinstance(outcome, Completion)]
    learned: dict[str, Any] = {"bytes_a_token": size / read, "overhead": 0.0} if read else {}
    if made:
        learned["reply"] = sum(made) / len(made)
    if role == "proposer" and texts:
        firsts = [text.strip().partition("\n")[0] for text in texts]  # what is read of a proposal, mostly
        learned["instruction"] = round(sum(len(text.encode()) for text in firsts) / len(firsts))
        learned["variety"] = _variety(len(texts), len(set(texts)))
    elif scores and 0 <= (mean := statistics.fmean(scores)) <= 1:
        learned["right"] = mean
    return replace(habits, **learned)


def _variety(drawn: int, different: int) -> int | None:
    """Return how many equally likely texts there are if so many of so many drawn differ; None is no end.

    Of M texts, `drawn` draws find M (1 - (1 - 1/M)^drawn) different ones on average (the occupancy problem).
    """
    if different == drawn:
        return None
    return next(m for m in count(different) if m * (1 - (1 - 1 / m) ** drawn) >= different - 0.5)


def _seed_scores(setup: Setup, outcomes: Sequence[Completion | Likelihood | Failure]) -> list[float]:
    """Return the seed prompt's scores on the first search rows, where a program makes one call an answer."""
    task, left = setup.task, iter(outcomes)
    if not isinstance(task.seed_prompt.program, Single):
        return []
    scores = []
    for row in (row for row in task.splits.search for _ in range(setup.samples)):
        asked = len(row.options) if task.reward.needs == "options" else 1
        replies = list(islice(left, asked))
        if len(replies) < asked:
            break
        if (output := _output(row, task.reward.needs, replies)) is not None:
            scores.append(task.reward(row, output).value)
    return scores


def _output(
    row: Example, needs: Needs, replies: Sequence[Completion | Likelihood | Failure]
) -> Output | None:
    """Return what was answered for a row; None where an answer is missing."""
    likelihoods = [reply for reply in replies if isinstance(reply, Likelihood)]
    match replies, needs:
        case [Completion(text=text)], "text":
            return Output(text=text)
        case [Likelihood() as one], "likelihood":
            return Output(logprob=one.logprob, tokens=one.tokens)
        case _, "options" if len(likelihoods) == len(replies):
            scored = zip(row.options, likelihoods, strict=True)
            return Output(
                options=tuple(OptionScore(name, each.logprob, each.tokens) for name, each in scored)
            )
    return None


def _once_each(setup: Setup, trials: Mapping[str, Trial]) -> list[float]:
    """Return the loading times, of a model with two roles once."""
    loading: dict[int, float] = {}
    for role, trial in trials.items():
        loading.setdefault(id(setup.models[role]), trial.loading)
    return list(loading.values())


def _waiting(model: LanguageModel, waves: Sequence[int], latency: float | None) -> float | None:
    """Return the seconds that batches take where as many requests as allowed are answered side by side."""
    most = model.capabilities.concurrency
    if latency is None or most is None:
        return 0.0 if not waves else None
    return sum(math.ceil(wave / most) for wave in waves) * latency


def _notes(
    setup: Setup, habits: Mapping[str, Habits], elsewhere: Sequence[str], latency: float | None
) -> list[str]:
    notes = [f"the target is taken to get {habits['target'].right:.0%} of the rows right with your prompt"]
    if elsewhere:
        roles = " and ".join(elsewhere)
        size, reply = habits[elsewhere[0]].bytes_a_token, habits[elsewhere[0]].reply
        notes.append(
            f"tokens of {roles} are reckoned at {size:g} bytes each, replies at {reply:.0f} tokens: "
            "asking would cost"
        )
        if latency is None:
            notes.append(f"seconds of {roles} are not known; say how long an answer takes with --latency")
    unpriced = [role for role in setup.models if role not in setup.prices]
    if unpriced:
        notes.append(f"the price of {' and '.join(unpriced)} is not known; set `price` for dollars")
    return notes


def _bytes(request: Request) -> int:
    more = request.continuation if isinstance(request, LikelihoodRequest) else request.suffix or ""
    return sum(
        len(text.encode("utf-8", "replace")) for text in (*(m.content for m in request.messages), more)
    )
