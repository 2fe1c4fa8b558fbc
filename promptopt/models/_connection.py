"""A remote model at work: its HTTP client on its endpoint's loop, and the batches it has under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ..contracts.model import Admit, Completion, Failure, GenerateRequest, Likelihood, LikelihoodRequest
from ..errors import ModelError
from . import _endpoint
from ._likelihood import CURE, Echo, read_likelihood
from ._loop import LoopStopped
from ._retry import Patience, Trouble, persist
from ._stream import stream
from ._text import spaced
from ._wire import Dialect, read_completion

A = TypeVar("A")
R = TypeVar("R", GenerateRequest, LikelihoodRequest)
T = TypeVar("T", Completion, Likelihood)


class Http(Protocol):
    """An HTTP client; see `_http.Http`, which is imported only when one is made."""

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and return the JSON object that is answered."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Connection:
    """From the first call of a model until it is closed; safe to use from several threads."""

    def __init__(self, url: str, http: Http, dialect: Dialect, patience: Patience) -> None:
        """Join the endpoint."""
        self._endpoint = _endpoint.join(url)
        self._http, self._dialect, self._patience = http, dialect, patience
        self._echo = Echo()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._closed = False

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completion of each request as it finishes."""
        return self._batch(requests, admit, self._complete, self._cannot_complete)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probability of each continuation as it finishes."""
        return self._batch([spaced(request) for request in requests], admit, self._score, self._cannot_score)

    def close(self) -> None:
        """Cancel what is under way, close the client and leave the endpoint."""
        self._endpoint.loop.finish(self._shut())
        _endpoint.leave(self._endpoint)

    async def _shut(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    def _batch(
        self,
        requests: Sequence[R],
        admit: Admit,
        attempt: Callable[[R], Awaitable[T]],
        cannot: Callable[[R], Failure | None],
    ) -> Iterator[tuple[int, T | Failure]]:
        async def answer(i: int) -> T | Failure:
            request = requests[i]
            if (failure := cannot(request)) is not None:
                return failure
            return await self._while_open(
                persist(self._endpoint.gate, self._patience, lambda: admit(i), lambda: attempt(request))
            )

        try:
            yield from stream(self._endpoint.loop, len(requests), self._patience.concurrency, answer)
        except (asyncio.CancelledError, LoopStopped):
            raise self._was_closed() from None

    async def _while_open(self, work: Coroutine[Any, Any, A]) -> A:
        if self._closed:
            work.close()
            raise self._was_closed()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed:
                raise self._was_closed() from None
            raise
        finally:
            self._tasks.discard(task)

    def _was_closed(self) -> ModelError:
        return ModelError(self._patience.where, "the model was closed while it was being asked")

    async def _complete(self, request: GenerateRequest) -> Completion:
        try:
            data = await self._http.post(self._dialect.path, self._dialect.body(request))
        except Trouble as trouble:
            if request.suffix is not None and trouble.reason == "rejected":
                raise Trouble("unsupported", f"the endpoint refuses to insert: {trouble.message}") from None
            raise
        return read_completion(data, request, self._dialect.api)

    async def _score(self, request: LikelihoodRequest) -> Likelihood:
        sent = self._echo.max_tokens
        try:
            data = await self._http.post(self._dialect.path, self._echo.body(request, self._dialect))
        except Trouble as trouble:
            raise self._echo.refused(trouble, sent) from None
        likelihood = read_likelihood(data, request, sent)
        self._echo.proven = True
        return likelihood

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
