"""What all models at one endpoint share: the event loop, and the pace the endpoint can take.

The pace is additive increase, multiplicative decrease (Chiu and Jain 1989), as in TCP: each sign of
congestion halves the number of requests under way, at most once per round trip; each answer lets it
grow by 1/limit. A `Retry-After` makes the whole endpoint wait. After many connections in a row have
failed, one request at a time tries whether the endpoint is back.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque

from ._loop import LoopThread


class Gate:
    """Let requests through to one endpoint; used on the endpoint's loop only.

    Attributes:
        answered: whether the endpoint has ever answered anything.
        unreachable: connections that failed since its last answer.
    """

    OPEN = 20
    """Failed connections in a row after which the circuit is open."""

    def __init__(self) -> None:
        """Begin with no limit but the models' own."""
        self.answered = False
        self.unreachable = 0
        self._limit = math.inf
        self._active = 0
        self._cut_at = -math.inf
        self._resume_at = -math.inf
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def open(self) -> bool:
        """Whether the endpoint seems to be gone."""
        return self.unreachable >= self.OPEN

    async def enter(self, cap: int, deadline: float = math.inf) -> float:
        """Wait, in turn, until fewer than `cap` requests are under way; return the time on the loop's clock.

        Raises:
            TimeoutError: this cannot be before the deadline.
        """
        loop = asyncio.get_running_loop()
        if max(self._resume_at, loop.time()) >= deadline:
            raise TimeoutError
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, cap))
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

    def leave(self) -> None:
        """Free the place that `enter` took."""
        self._active -= 1
        self._wake()

    def succeeded(self) -> None:
        """Take note of an answer."""
        self.reached()
        self._limit += 1 / self._limit

    def reached(self) -> None:
        """Take note that the endpoint answered, be it with an error."""
        self.answered = True
        self.unreachable = 0

    def congested(self, entered: float) -> None:
        """Halve the pace, unless it was already halved after the request that `entered` then was sent."""
        if entered >= self._cut_at:
            self._limit = max(1.0, min(self._limit, self._active) / 2)
            self._cut_at = asyncio.get_running_loop().time()

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long."""
        loop = asyncio.get_running_loop()
        self._resume_at = max(self._resume_at, loop.time() + seconds)
        loop.call_at(self._resume_at, self._wake)

    def _wake(self) -> None:
        # A timer may fire one tick of the clock early; without the margin nobody would wake again.
        paused = asyncio.get_running_loop().time() + 0.001 < self._resume_at
        while self._waiting and not paused:
            turn, cap = self._waiting[0]
            if not turn.done() and self._active + 1 > (1 if self.open else min(cap, self._limit)):
                break
            self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._active += 1


class Endpoint:
    """One base URL: its loop and its gate."""

    def __init__(self, url: str) -> None:
        """Start the loop."""
        self.url = url
        self.loop = LoopThread(f"promptopt {url}")
        self.gate = Gate()
        self.users = 0


_endpoints: dict[str, Endpoint] = {}
_lock = threading.RLock()  # reentrant: a model may be collected, and leave, while this thread joins


def join(url: str) -> Endpoint:
    """Return the endpoint of this URL, shared by everyone in the process; `leave` it when done."""
    with _lock:
        endpoint = _endpoints.get(url) or Endpoint(url)
        _endpoints[url] = endpoint
        endpoint.users += 1
        return endpoint


def leave(endpoint: Endpoint) -> None:
    """Say that you are done with an endpoint; the last one to leave stops its loop."""
    with _lock:
        endpoint.users -= 1
        if endpoint.users:
            return
        del _endpoints[endpoint.url]
    endpoint.loop.stop()
