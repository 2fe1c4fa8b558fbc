"""How models of this machine answer: each is tried for about a second on what a run will ask it.

First on what a run begins with: the seed prompt on the first rows, the first proposals. What is proposed then
stands in the place of rehearsed proposals when the models are tried once more, on batches from all over the
rehearsal: long instructions, odd replies and what prompts share decide how long a run takes. And the prompts
of the rehearsal meet the first rows: which of them do well decides which of them are asked again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, count, islice
from typing import Any

import numpy as np

from .calls import FREE_ENDPOINTS
from .contracts.model import (
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    LikelihoodRequest,
    Request,
)
from .habits import Habits, Tried
from .prompt import Prompt
from .records import Message
from .rehearsal import PROPOSED, Rehearsal, text_of
from .setup import Setup
from .tryout import requests_of, scores, seed_scores

FIRST, THROUGHOUT = 0.3, 2.0
"""Seconds for which a model is tried first, in each role, and for which all are tried then, together."""
OUTCOMES = 0.5
"""Seconds for which prompts that a rehearsed run made meet the first rows, about."""
PROMPTS, ROWS = 16, 8
"""How many of them do so at most, and how many rows each meets at least."""
BATCHES = 4
"""Batches that are tried then, at least, where a run has so many."""
FEWEST, MOST = 8, 512
"""Requests that are asked together."""
PLACES = (7, 3, 11, 1, 9, 5, 13, 0, 8, 4, 12, 2, 10, 6, 14, 15)
"""Where in a run its batches are tried, in sixteenths: in this order any first few are spread evenly."""


class Trial:
    """The models of this machine, tried.

    Attributes:
        models: by role.
        scores: of the seed prompt on the first search rows; empty if the target was not tried.
    """

    def __init__(self, setup: Setup, clock: Callable[[], float] = time.perf_counter) -> None:
        """Try nothing yet."""
        self.models: dict[str, LanguageModel] = {
            role: model for role, model in setup.models.items() if model.identity.endpoint in FREE_ENDPOINTS
        }
        self.scores: Sequence[float] = ()
        self._setup, self._clock = setup, clock
        self._texts: list[str] = []
        self._named: dict[str, int] = {}
        self._took: dict[str, list[tuple[int, float]]] = {}
        self._loading: dict[int, float] = {}

    def first(self, rehearsal: Rehearsal, habits: Mapping[str, Habits]) -> dict[str, Habits]:
        """Try each model on what it is asked first; return what that tells of its habits."""
        found: dict[str, Habits] = {}
        for role, model in self.models.items():
            requests = list(islice(chain(*rehearsal.batches[role]), 64 * MOST))
            if not requests:
                continue
            if id(model) not in self._loading:
                self._loading[id(model)] = self._ask(model, requests[:1])[0]
            asked, outcomes = self._growing(role, model, requests)
            habit = _learned(habits[role], asked, outcomes)
            if role == "proposer":
                habit = self._read_proposals(habit, outcomes)
            elif role == "target":
                self.scores = seed_scores(self._setup, outcomes)
                if self.scores and 0 <= (mean := statistics.fmean(self.scores)) <= 1:
                    habit = replace(habit, right=mean)
            found[role] = habit
        return found

    def throughout(self, rehearsal: Rehearsal, habits: Mapping[str, Habits]) -> dict[str, Habits]:
        """Try each model on batches from all over a run; return its habits there."""
        found: dict[str, Habits] = {}
        for role, most in self._shares(rehearsal).items():
            asked: list[Request] = []
            outcomes: list[Any] = []
            spent = 0.0
            a_batch, a_call = _line(self._took[role])
            # Not much smaller than those of a run, which take less a call, but within the time.
            least = max(FEWEST, min(4 * FEWEST, int(THROUGHOUT / 2 / a_call)))
            size = max(least, min(MOST, int((most / BATCHES - a_batch) / a_call)))
            for batch in _spread(rehearsal.batches[role], size):
                spoken = [self._spoken(request) for request in batch]
                seconds, answers = self._ask(self.models[role], spoken)
                self._took[role].append((len(spoken), seconds))
                asked += spoken
                outcomes += answers
                spent += seconds
                if spent > most * (1 - 0.5 / BATCHES):
                    break
            habit = _learned(habits[role], asked, outcomes)
            if role == "proposer":
                habit = self._read_proposals(habit, outcomes)
            elif role == "target":
                habit = self._with_outcomes(habit, rehearsal.prompts, a_call)
            found[role] = habit
        return found

    def _with_outcomes(self, habit: Habits, prompts: Sequence[Prompt], a_call: float) -> Habits:
        """Let the seed prompt and those of a rehearsed run meet the first search rows; return how they did.

        Args:
            habit: what is known of the target so far.
            prompts: that a run may make.
            a_call: seconds that a call takes.
        """
        task = self._setup.task
        if not self.scores or not (min(self.scores) >= 0 and max(self.scores) <= 1):
            return habit
        seed = task.seed_prompt
        others = [prompt for prompt in prompts if prompt != seed]
        at_once = len(task.splits.search[0].options) if task.reward.needs == "options" else 1
        answers = int(OUTCOMES / (a_call * at_once))
        chosen = _evenly(others, min(PROMPTS, answers // ROWS))
        rows = task.splits.search[: answers // max(1, len(chosen))]
        tried: list[Tried] = []
        known: dict[tuple[Message, ...], bool] = {}
        for prompt in [seed, *chosen] if chosen else ():
            asked = requests_of(self._setup, prompt, rows)
            _, outcomes = self._ask(self.models["target"], list(chain(*asked)))
            judged = zip(asked, scores(self._setup, rows, outcomes), strict=True)
            met = {its[0].messages: score for its, score in judged if score is not None}
            if met:
                size = statistics.fmean(len(text_of(messages)) for messages in met)
                tried.append(Tried(size, len(met), sum(met.values())))
                known |= {messages: score >= 0.5 for messages, score in met.items()}
        return replace(habit, tried=tuple(tried), known=known)

    def _shares(self, rehearsal: Rehearsal) -> dict[str, float]:
        """Return the seconds for each role: who takes most of a run is looked at longest."""
        takes = {role: self._answering(role, rehearsal) for role in self._took if rehearsal.batches[role]}
        return {role: THROUGHOUT * its / sum(takes.values()) for role, its in takes.items()}

    def seconds(self, rehearsal: Rehearsal) -> float:
        """Return how long the models of this machine take to load and to answer a run."""
        answering = sum(self._answering(role, rehearsal) for role in self._took)
        return answering + sum(self._loading.values())

    def _answering(self, role: str, rehearsal: Rehearsal) -> float:
        a_batch, a_call = _line(self._took[role])
        return sum(a_batch + a_call * len(batch) for batch in rehearsal.batches[role])

    def _growing(
        self, role: str, model: LanguageModel, requests: Sequence[Request]
    ) -> tuple[Sequence[Request], Sequence[Any]]:
        """Ask the first requests in ever larger batches; return the largest, and its outcomes."""
        begun, size = self._clock(), min(FEWEST, len(requests))
        while True:
            seconds, outcomes = self._ask(model, requests[:size])
            self._took.setdefault(role, []).append((size, seconds))
            left = FIRST - (self._clock() - begun)
            if size >= len(requests) or left < 2 * seconds:
                return requests[:size], outcomes
            size = min(2 * size, len(requests))

    def _ask(self, model: LanguageModel, requests: Sequence[Request]) -> tuple[float, list[Any]]:
        """Answer requests, kind by kind; return the seconds and the outcomes, in order."""
        outcomes: dict[int, Any] = {}
        begun = self._clock()
        for kind, method in ((GenerateRequest, model.generate), (LikelihoodRequest, model.loglikelihood)):
            places = [i for i, request in enumerate(requests) if isinstance(request, kind)]
            of_kind: Any = [requests[i] for i in places]
            if of_kind:
                outcomes |= {places[i]: outcome for i, outcome in method(of_kind)}
        return self._clock() - begun, [outcomes[i] for i in range(len(requests))]

    def _read_proposals(self, habit: Habits, outcomes: Sequence[Any]) -> Habits:
        texts = [outcome.text for outcome in outcomes if isinstance(outcome, Completion)]
        # What is read of a proposal, mostly.
        lines = (text.strip().partition("\n")[0] for text in texts)
        self._texts = list(dict.fromkeys(line for line in lines if line))
        if not self._texts:
            return habit
        size = statistics.fmean(len(text.encode("utf-8", "replace")) for text in self._texts)
        return replace(habit, instruction=round(size), variety=_variety(len(texts), len(set(texts))))

    def _spoken(self, request: Request) -> Request:
        """Return a request with real proposals in the place of rehearsed ones."""
        if not self._texts:
            return request
        messages = tuple(
            Message(role, PROPOSED.sub(lambda found: self._proposal(found[1]), content))
            for role, content in request.messages
        )
        return replace(request, messages=messages)

    def _proposal(self, name: str) -> str:
        """Return the real proposal for a rehearsed one; after the last, halves of two are put together.

        Each has a text of its own: what is asked twice would be computed once.
        """
        number = self._named.setdefault(name, len(self._named))
        if number < len(self._texts):
            return self._texts[number]
        turn, place = divmod(number, len(self._texts))
        begin, end = self._texts[place].split(), self._texts[(place + turn) % len(self._texts)].split()
        return " ".join([*begin[: (len(begin) + 1) // 2], *end[len(end) // 2 :]])


def _evenly(prompts: Sequence[Prompt], most: int) -> list[Prompt]:
    """Return at most so many, from beginning to end."""
    count = min(most, len(prompts))
    return [prompts[place * len(prompts) // count] for place in range(count)]


def _spread(batches: Sequence[Sequence[Request]], most: int) -> Iterator[Sequence[Request]]:
    """Iterate over batches, or parts of at most `most`; each call is as likely to be met as any other."""
    ends = list(accumulate(map(len, batches)))
    met: set[tuple[int, int]] = set()
    for place in PLACES if ends else ():
        position = int((place + 0.5) / len(PLACES) * ends[-1])
        number = next(number for number, end in enumerate(ends) if position < end)
        within = position - (ends[number] - len(batches[number]))
        start = max(0, min(within, len(batches[number]) - most))
        if (number, start) not in met:
            met.add((number, start))
            yield batches[number][start : start + most]


def _line(took: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the seconds of a batch and those of each of its calls, by least squares of relative errors."""
    a_call = sum(seconds for _, seconds in took) / sum(size for size, _ in took)
    if len({size for size, _ in took}) == 1:
        return 0.0, a_call
    sides = np.array([(1 / seconds, size / seconds) for size, seconds in took])
    line = np.linalg.lstsq(sides, np.ones(len(took)), rcond=None)[0]
    return (float(line[0]), float(line[1])) if (line > 0).all() else (0.0, a_call)


def _learned(habits: Habits, requests: Sequence[Request], outcomes: Sequence[Any]) -> Habits:
    """Return how large tokens are, and replies."""
    answered = [
        (request, outcome)
        for request, outcome in zip(requests, outcomes, strict=True)
        if not isinstance(outcome, Failure)
    ]
    read = sum(outcome.usage.prompt_tokens for _, outcome in answered)
    made = [outcome.usage.completion_tokens for _, outcome in answered if isinstance(outcome, Completion)]
    learned: dict[str, Any] = {}
    if read:
        size = sum(_bytes(request) for request, _ in answered)
        learned = {"bytes_a_token": size / read, "overhead": 0.0}
    if made:
        learned["reply"] = statistics.fmean(made)
    return replace(habits, **learned)


def _variety(drawn: int, different: int) -> int | None:
    """Return how many equally likely texts there are if so many of so many drawn differ; None is no end.

    Of M texts, `drawn` draws find M (1 - (1 - 1/M)^drawn) different ones on average (the occupancy problem).
    """
    if different == drawn:
        return None
    return next(m for m in count(different) if m * (1 - (1 - 1 / m) ** drawn) >= different - 0.5)


def _bytes(request: Request) -> int:
    more = request.continuation if isinstance(request, LikelihoodRequest) else request.suffix or ""
    return sum(
        len(text.encode("utf-8", "replace")) for text in (*(m.content for m in request.messages), more)
    )
