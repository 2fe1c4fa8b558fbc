"""A remote model at work: its replicas on their loop, and the batches it has under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..contracts.model import Admit, Completion, Failure, GenerateRequest, Likelihood, LikelihoodRequest
from ..errors import ModelError
from ..records import digest
from . import _endpoint
from ._endpoint import Ask
from ._filed import Line, by_batch
from ._filing import MOST_LINES, Filing
from ._fleet import Fleet, Seat
from ._likelihood import CURE, Echo, read_likelihood
from ._loop import LoopStopped
from ._quota import Cost
from ._retry import Apart, Patience, persist
from ._stream import stream
from ._text import joined, spaced
from ._trouble import Trouble
from ._units import MOST_SAMPLES, beginnings, in_order, units
from ._wire import Dialect, read_completions

A = TypeVar("A")
R = TypeVar("R", GenerateRequest, LikelihoodRequest)
T = TypeVar("T", Completion, Likelihood)

BYTES_A_TOKEN = 4
"""Of English text, on average: what a server that counts tokens a minute beforehand reckons with, too."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How fast the endpoint is asked.

    Attributes:
        concurrency: most requests under way at each endpoint.
        adaptive: whether to find out how many of them it takes.
        requests_per_minute: most calls a minute of this model at each; None is what the endpoint says.
        tokens_per_minute: the same for tokens.
    """

    concurrency: int
    adaptive: bool = True
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that came together: how each begins, and who is asked before each attempt."""

    requests: Sequence[GenerateRequest]
    beginnings: Sequence[str]
    admit: Admit


class Samples:
    """Whether the endpoint gives several samples in one call, which only a call can tell.

    Attributes:
        able: None until it is known.
    """

    def __init__(self, able: bool | None) -> None:
        """Begin with what is known."""
        self.able = able
        self.trying = asyncio.Lock()


class Connection:
    """From the first call of a model until it is closed; safe to use from several threads."""

    def __init__(
        self,
        fleet: Fleet,
        dialect: Dialect,
        patience: Patience,
        traffic: Traffic,
        *,
        together: bool,
        batch_poll: float | None = None,
    ) -> None:
        """Take over the replicas, whose endpoints have been joined.

        Args:
            fleet: who answers; batches are filed with the first.
            dialect: what to send there.
            patience: how long and how often.
            traffic: how fast.
            together: whether samples of one request may share a call, if the endpoint can do that.
            batch_poll: seconds between two looks at a batch; None sends single requests.
        """
        self._fleet, self._dialect, self._patience, self._traffic = fleet, dialect, patience, traffic
        self._loop = fleet.replicas[0].endpoint.loop
        self._window = traffic.concurrency * len(fleet.replicas)
        self._echo = Echo()
        self._samples = Samples(None if together else False)
        self._limited = False
        self._batch_poll = batch_poll
        self._taken: set[str] = set()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._closed = False

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completion of each request as it finishes."""
        if self._batch_poll is not None:
            return self._filed(self._batch_poll, requests, admit, self._cannot_complete, self._line)
        most = 1 if self._samples.able is False else min(MOST_SAMPLES, self._traffic.concurrency)
        began = self._beginnings(requests)

        async def answer(unit: Sequence[int]) -> Mapping[int, Completion | Failure]:
            if (failure := self._cannot_complete(requests[unit[0]])) is not None:
                return dict.fromkeys(unit, failure)
            return await self._complete_all(unit, Batch(requests, began, admit))

        return self._batch(self._fleet.in_turns(units(requests, most), began), answer)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probability of each continuation as it finishes."""
        requests = [spaced(request) for request in requests]
        began = self._beginnings(requests)
        if self._batch_poll is not None:
            return self._filed(self._batch_poll, requests, admit, self._cannot_score, self._echo_line)

        async def answer(unit: Sequence[int]) -> Mapping[int, Likelihood | Failure]:
            request = requests[unit[0]]
            if (failure := self._cannot_score(request)) is not None:
                return dict.fromkeys(unit, failure)
            ask = self._ask("likelihood", len(joined(request.messages)) + len(request.continuation), 1)

            async def attempt(positions: Sequence[int], seat: Seat) -> dict[int, Likelihood]:
                return {positions[0]: await self._score(request, ask, seat)}

            began_so = began[unit[0]]
            return await persist(self._fleet, self._patience, ask, unit, admit, attempt, beginning=began_so)

        return self._batch(self._fleet.in_turns([[i] for i in in_order(requests)], began), answer)

    def close(self) -> None:
        """Cancel what is under way, close the clients and leave the endpoints."""
        self._loop.finish(self._shut())
        for replica in self._fleet.replicas:
            _endpoint.leave(replica.endpoint)

    async def _shut(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fleet.close()
        for replica in self._fleet.replicas:
            await replica.http.close()

    def _beginnings(self, requests: Sequence[GenerateRequest] | Sequence[LikelihoodRequest]) -> Sequence[str]:
        return beginnings(requests) if self._fleet.several else [""] * len(requests)

    def _batch(
        self,
        parts: Collection[Sequence[int]],
        answer: Callable[[Sequence[int]], Awaitable[Mapping[int, A]]],
        window: int | None = None,
    ) -> Iterator[tuple[int, A]]:
        async def while_open(unit: Sequence[int]) -> Mapping[int, A]:
            if self._closed:
                raise self._was_closed()
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await answer(unit)
            except asyncio.CancelledError:
                if self._closed:
                    raise self._was_closed() from None
                raise
            finally:
                self._tasks.discard(task)

        try:
            yield from stream(self._loop, parts, window or self._window, while_open)
        except (asyncio.CancelledError, LoopStopped):
            raise self._was_closed() from None

    def _filed(
        self,
        poll: float,
        requests: Sequence[R],
        admit: Admit,
        cannot: Callable[[R], Failure | None],
        line: Callable[[R], Line[T]],
    ) -> Iterator[tuple[int, T | Failure]]:
        """Answer requests by batches; once the caller has all answers, the batches are forgotten."""
        dialect, patience = self._dialect, self._patience
        tag = digest([dialect.model, dialect.path])
        http = self._fleet.replicas[0].http
        filing = Filing(http, patience.where, dialect.path, tag, poll, patience.max_attempts, self._taken)

        async def answer(unit: Sequence[int]) -> Mapping[int, T | Failure]:
            failed: dict[int, T | Failure] = {i: f for i in unit if (f := cannot(requests[i])) is not None}
            able = [i for i in unit if i not in failed]
            found = by_batch(filing, able, lambda i: line(requests[i]), admit, patience.max_attempts)
            return failed | await found

        order = in_order(requests)
        parts = [order[at : at + MOST_LINES] for at in range(0, len(order), MOST_LINES)]
        yield from self._batch(parts, answer, window=max(1, min(len(order), MOST_LINES)))
        self._loop.finish(filing.forget())

    def _line(self, request: GenerateRequest) -> Line[Completion]:
        def read(data: Mapping[str, Any]) -> Completion:
            return read_completions(data, request, self._dialect.api, 1, self._dialect.model)[0]

        return Line(self._dialect.body(request), read, request.sample)

    def _echo_line(self, request: LikelihoodRequest) -> Line[Likelihood]:
        sent = self._echo.max_tokens
        return Line(
            self._echo.body(request, self._dialect),
            lambda data: read_likelihood(data, request, sent),
            refused=lambda trouble: self._echo.refused(trouble, sent),
        )

    def _was_closed(self) -> ModelError:
        return ModelError(self._patience.where, "the model was closed while it was being asked")

    def _ask(self, what: str, characters: int, limit: int, n: int = 1) -> Ask:
        traffic, model = self._traffic, self._dialect.model
        if not self._limited:
            self._limited = True
            for replica in self._fleet.replicas:
                quota = replica.gate.quota(model)
                quota.limit(traffic.requests_per_minute, traffic.tokens_per_minute)
        cost = Cost(1, characters // BYTES_A_TOKEN + n * limit)
        return Ask(traffic.concurrency, (model, what, limit, n), traffic.adaptive, cost)

    async def _complete_all(self, unit: Sequence[int], batch: Batch) -> dict[int, Completion | Failure]:
        """Complete samples of one request, in one call where the endpoint can."""
        if len(unit) == 1:
            return await self._complete(unit, batch)
        if self._samples.able is None:
            async with self._samples.trying:
                if self._samples.able is None:
                    first = await self._complete(unit[:2], batch)
                    return first | await self._rest(unit[2:], batch)
        if self._samples.able:
            return await self._complete(unit, batch)
        return await self._one_by_one(unit, batch)

    async def _rest(self, unit: Sequence[int], batch: Batch) -> dict[int, Completion | Failure]:
        if not unit:
            return {}
        if self._samples.able:
            return await self._complete(unit, batch)
        return await self._one_by_one(unit, batch)

    async def _one_by_one(
        self, unit: Sequence[int], batch: Batch, lost: int = 0
    ) -> dict[int, Completion | Failure]:
        found: dict[int, Completion | Failure] = {}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._complete([i], batch, lost)) for i in unit]
        for task in tasks:
            found |= task.result()
        return found

    async def _complete(
        self, unit: Sequence[int], batch: Batch, lost: int = 0
    ) -> dict[int, Completion | Failure]:
        """Complete samples of one request in one call, or apart if that turns out to be impossible."""
        request = batch.requests[unit[0]]
        size = len(joined(request.messages)) + len(request.suffix or "")
        ask = self._ask("generate", size, request.decoding.max_tokens, len(unit))

        async def attempt(positions: Sequence[int], seat: Seat) -> dict[int, Completion]:
            answers = await self._answers(batch.requests[positions[0]], len(positions), ask, seat)
            given = dict(zip(positions, answers, strict=False))
            if len(given) < len(positions):
                self._samples.able = False
                raise Apart(given)
            if len(positions) > 1:
                self._samples.able = True
            return given

        try:
            began = batch.beginnings[unit[0]]
            return await persist(self._fleet, self._patience, ask, unit, batch.admit, attempt, lost, began)
        except Apart as apart:
            unspent = apart.unspent

            def admit_rest(i: int) -> bool:
                if i in unspent:
                    unspent.discard(i)
                    return True
                return batch.admit(i)

            rest = [i for i in unit if i not in apart.outcomes]
            others = replace(batch, admit=admit_rest)
            return apart.outcomes | await self._one_by_one(rest, others, apart.lost)

    async def _answers(self, request: GenerateRequest, n: int, ask: Ask, seat: Seat) -> list[Completion]:
        """Make one call for `n` completions; there may come fewer."""
        try:
            data = await self._post(self._dialect.body(request, n), ask, seat)
        except Trouble as trouble:
            if n > 1 and not self._samples.able and trouble.reason in ("rejected", "unsupported"):
                self._samples.able = False
                raise Apart({}) from None
            if request.suffix is not None and trouble.reason == "rejected":
                raise Trouble("unsupported", f"the endpoint refuses to insert: {trouble.message}") from None
            raise
        answers = read_completions(data, request, self._dialect.api, n, self._dialect.model)
        self._settle(ask, seat, sum(answer.usage.tokens for answer in answers))
        return answers

    async def _score(self, request: LikelihoodRequest, ask: Ask, seat: Seat) -> Likelihood:
        sent = self._echo.max_tokens
        try:
            data = await self._post(self._echo.body(request, self._dialect), ask, seat)
        except Trouble as trouble:
            raise self._echo.refused(trouble, sent) from None
        likelihood = read_likelihood(data, request, sent)
        self._echo.proven = True
        self._settle(ask, seat, likelihood.usage.tokens)
        return likelihood

    async def _post(self, body: Mapping[str, Any], ask: Ask, seat: Seat) -> dict[str, Any]:
        data, headers = await seat.replica.http.post(self._dialect.path, body)
        seat.replica.gate.quota(ask.kind[0]).read(headers)
        return data

    def _settle(self, ask: Ask, seat: Seat, tokens: int) -> None:
        seat.replica.gate.quota(ask.kind[0]).settle(ask.cost, tokens)

    def _cannot_complete(self, request: GenerateRequest) -> Failure | None:
        if request.suffix is not None and self._dialect.api == "chat":
            return Failure(
                "unsupported", "a chat endpoint cannot insert before a suffix; set api: completions"
            )
        return None

    def _cannot_score(self, request: LikelihoodRequest) -> Failure | None:
        if self._dialect.api == "chat":
            return Failure(
                "unsupported",
                f"a chat endpoint gives no log-probabilities of a text; set api: completions, or {CURE}",
            )
        if not request.continuation:
            return Failure("rejected", "the continuation is empty, so it has no probability")
        return None
