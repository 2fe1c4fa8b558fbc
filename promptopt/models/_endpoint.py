"""What all models at one endpoint share: the pace it can take, the waits it asks for. One loop serves all.

A `Retry-After` makes the whole endpoint wait. After many connections in a row have failed, one request at
a time tries whether the endpoint is back.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ._loop import LoopThread
from ._pace import Pace
from ._quota import Cost, Quota


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request is to the gate.

    Attributes:
        cap: most requests that may be under way at the endpoint.
        kind: requests of one kind are answered about equally fast; its first part is the model.
        adaptive: whether the endpoint's pace holds it back, too.
        cost: what it takes of the model's quota.
    """

    cap: int
    kind: tuple[Hashable, ...] = ("",)
    adaptive: bool = True
    cost: Cost = Cost()


class Gate:
    """Let requests through to one endpoint; used on the endpoint's loop only.

    Attributes:
        answered: whether the endpoint has ever answered anything.
        unreachable: connections that failed since its last answer.
        pace: how many requests it takes at once.
        watchers: called whenever there may be room, after those who wait here.
    """

    OPEN = 20
    """Failed connections in a row after which the circuit is open."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.answered = False
        self.unreachable = 0
        self.pace = Pace()
        self.watchers: set[Callable[[], None]] = set()
        self._quotas: dict[Hashable, Quota] = {}
        self._active = 0
        self._resume_at = -math.inf
        self._waiting: deque[tuple[asyncio.Future[None], Ask]] = deque()

    @property
    def open(self) -> bool:
        """Whether the endpoint seems to be gone."""
        return self.unreachable >= self.OPEN

    @property
    def active(self) -> int:
        """How many requests are under way."""
        return self._active

    def quota(self, model: Hashable) -> Quota:
        """Return what the model may be asked for."""
        return self._quotas.setdefault(model, Quota())

    async def enter(self, ask: Ask, deadline: float = math.inf) -> float:
        """Wait, in turn, until there is room; return the time on the loop's clock.

        Raises:
            TimeoutError: this cannot be before the deadline.
        """
        loop = asyncio.get_running_loop()
        if max(self._resume_at, loop.time()) >= deadline:
            raise TimeoutError
        await self.quota(ask.kind[0]).take(ask.cost, deadline)
        if not self._waiting and not self._paused and self._active + 1 <= self.room(ask):
            self._active += 1
            return loop.time()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, ask))
        self._wake()
        try:
            async with asyncio.timeout_at(deadline if deadline < math.inf else None):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                turn.cancel()
                self._wake()
            raise
        return loop.time()

    def delay(self, ask: Ask) -> float:
        """Return for how many seconds a request has to wait, even if there is room."""
        paused = self._resume_at - asyncio.get_running_loop().time()
        # Those who wait here come first, and wake the watchers when they go.
        return max(0.0, paused, self.quota(ask.kind[0]).wait(ask.cost), math.inf if self._waiting else 0.0)

    def seize(self, ask: Ask) -> None:
        """Take a place at once, where there is room and no delay."""
        self.quota(ask.kind[0]).seize(ask.cost)
        self._active += 1

    def renew(self) -> None:
        """Forget the pace: what is at this endpoint now is not what was."""
        self.pace = Pace()

    def leave(self) -> None:
        """Free the place that `enter` or `seize` took."""
        self._active -= 1
        self._wake()

    def succeeded(self, entered: float, ask: Ask) -> None:
        """Take note of an answer."""
        self.reached()
        self.pace.answered(entered, asyncio.get_running_loop().time(), self._active, ask.kind)

    def reached(self) -> None:
        """Take note that the endpoint answered, be it with an error."""
        self.answered = True
        self.unreachable = 0

    def congested(self, entered: float) -> None:
        """Take note of a refusal, or a timeout, of a request sent at `entered`."""
        self.pace.congested(entered, asyncio.get_running_loop().time(), self._active)

    def broke(self, entered: float) -> None:
        """Take note of another failure at the endpoint."""
        self.pace.broke(entered, asyncio.get_running_loop().time(), self._active)

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long."""
        loop = asyncio.get_running_loop()
        self._resume_at = max(self._resume_at, loop.time() + seconds)
        loop.call_at(self._resume_at, self._wake)

    def _wake(self) -> None:
        paused = self._paused
        while self._waiting and not paused:
            turn, ask = self._waiting[0]
            if not turn.done() and self._active + 1 > self.room(ask):
                break
            self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._active += 1
        for wake in tuple(self.watchers):
            wake()

    @property
    def _paused(self) -> bool:
        # A timer may fire one tick of the clock early; without the margin nobody would wake again.
        return asyncio.get_running_loop().time() + 0.001 < self._resume_at

    def room(self, ask: Ask) -> float:
        """Return how many requests like this one may be under way."""
        if self.open:
            return 1
        return min(ask.cap, self.pace.limit) if ask.adaptive else ask.cap


class Endpoint:
    """One base URL: its gate, and the loop that it shares with all others."""

    def __init__(self, url: str, loop: LoopThread) -> None:
        """Begin with nothing known."""
        self.url, self.loop = url, loop
        self.gate = Gate()
        self.users = 0


_endpoints: dict[str, Endpoint] = {}
_lock = threading.RLock()  # reentrant: a model may be collected, and leave, while this thread joins


def join(url: str) -> Endpoint:
    """Return the endpoint of this URL, shared by everyone in the process; `leave` it when done."""
    with _lock:
        endpoint = _endpoints.get(url)
        if endpoint is None:
            running = next((each.loop for each in _endpoints.values()), None)
            loop = running or LoopThread("promptopt endpoints")
            endpoint = _endpoints[url] = Endpoint(url, loop)
        endpoint.users += 1
        return endpoint


def leave(endpoint: Endpoint) -> None:
    """Say that you are done with an endpoint; the last one to leave stops the loop."""
    with _lock:
        endpoint.users -= 1
        if endpoint.users:
            return
        del _endpoints[endpoint.url]
        if _endpoints:
            return
    endpoint.loop.stop()
