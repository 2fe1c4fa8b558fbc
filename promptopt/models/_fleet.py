"""Which replica answers: the one that has read the prompt's beginning before, as long as its share allows.

Calls whose prompts begin alike go to the same replica, so that its prefix cache serves them: the one that
wins the rendezvous (Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates"), which
moves nothing else when a replica comes or goes. No replica takes more than `SLACK` times its share of what is
under way; what is beyond goes to the next in the rendezvous' order (Mirrokni, Thorup and Zadimoghaddam 2018,
"Consistent hashing with bounded loads", section 1), with shares in proportion to what each replica's pace
allows. Nobody waits while any replica has room. A replica that fails is left alone for a while (`_circuit`),
and its calls go to others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._circuit import Circuit
from ._endpoint import Ask, Endpoint, Gate

if TYPE_CHECKING:  # it imports the SDK, which takes a second
    from ._http import Http

SLACK = 1.25
"""How many times its share a replica may have under way, before calls that it should have go elsewhere."""

_log = logging.getLogger("promptopt.models")


class Replica:
    """One server that gives the answers that all the others would give."""

    def __init__(self, where: str, endpoint: Endpoint, http: Http) -> None:
        """Begin in service; `where` names it in messages."""
        self.where, self.endpoint, self.http = where, endpoint, http
        self.circuit = Circuit()

    @property
    def gate(self) -> Gate:
        """Its pace and its load."""
        return self.endpoint.gate


@dataclass(frozen=True, slots=True)
class Seat:
    """A place at a replica, taken at a time of the loop's clock; `trying` is the first after an outage."""

    replica: Replica
    entered: float
    trying: bool = False


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call that waits for a place."""

    ask: Ask
    order: Sequence[Replica]
    tried: Collection[Replica]
    turn: asyncio.Future[Seat] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lanes(Collection[Sequence[int]]):
    """Units by the replica they are meant for, None where that does not matter; used up by going through."""

    def __init__(self, lanes: dict[Replica | None, deque[Sequence[int]]]) -> None:
        """Take them over."""
        self._lanes = lanes

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._lanes.values()))

    def __contains__(self, unit: object) -> bool:
        """Return whether a unit is still to come."""
        return any(unit in lane for lane in self._lanes.values())

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Yield them, each time the first one of the lane whose replica has least to do at that time."""
        while len(self):
            yield min((lane for lane in self._lanes.items() if lane[1]), key=_busy)[1].popleft()


def _busy(lane: tuple[Replica | None, Collection[object]]) -> tuple[float, int]:
    """Return how much the replica of a lane has to do, and, less than nothing, how long the lane is."""
    replica, units = lane
    if replica is None or replica.circuit.open:
        return math.inf, -len(units)
    return replica.gate.active, -len(units)


class Fleet:
    """Replicas of one model; used on their loop only."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        """Take the replicas: at least one, no two at one endpoint."""
        self.replicas = tuple(replicas)
        self._queue: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        if self.several:
            for replica in self.replicas:
                replica.gate.watchers.add(self._wake)

    @property
    def several(self) -> bool:
        """Whether there is a choice."""
        return len(self.replicas) > 1

    @property
    def silent(self) -> bool:
        """Whether none has ever answered, and none can be reached."""
        return all(not each.gate.answered and each.gate.unreachable for each in self.replicas)

    @property
    def gone(self) -> bool:
        """Whether none can be reached any more."""
        if not self.several:
            return self.replicas[0].gate.open
        return all(each.circuit.open and each.gate.unreachable for each in self.replicas)

    def others(self, tried: Collection[Replica]) -> bool:
        """Whether there is a replica in service that has not been tried."""
        return any(not each.circuit.open and each not in tried for each in self.replicas)

    def order(self, prefix: str) -> Sequence[Replica]:
        """Return the replicas as they are asked for calls that begin so; nothing if it does not matter."""
        if not prefix or not self.several:
            return ()
        begun = hashlib.blake2b(prefix.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return sorted(self.replicas, key=lambda each: _score(begun, each.endpoint.url), reverse=True)

    def in_turns(
        self, units: Sequence[Sequence[int]], beginnings: Sequence[str]
    ) -> Collection[Sequence[int]]:
        """Return units so that each time one comes whose calls are meant for the replica with least to do.

        One after the other, as they stand, calls that begin alike would all be under way at the same time,
        and no replica may take so many.
        """
        if not self.several:
            return units
        lanes: dict[Replica | None, deque[Sequence[int]]] = {}
        for unit in units:
            first = next(iter(self.order(beginnings[unit[0]])), None)
            lanes.setdefault(first, deque()).append(unit)
        return Lanes(lanes)

    async def enter(
        self, ask: Ask, order: Sequence[Replica], tried: Collection[Replica], deadline: float
    ) -> Seat:
        """Wait for a place.

        Args:
            ask: what the call is to a gate.
            order: as `order` returns it.
            tried: replicas that have failed this call; others come first.
            deadline: on the loop's clock.

        Raises:
            TimeoutError: there is none before the deadline.
        """
        if not self.several:
            return Seat(self.replicas[0], await self.replicas[0].gate.enter(ask, deadline))
        if asyncio.get_running_loop().time() >= deadline:
            raise TimeoutError
        waiting = _Waiting(ask, order, tried)
        self._queue.append(waiting)
        self._wake()
        try:
            async with asyncio.timeout_at(deadline if deadline < math.inf else None):
                return await waiting.turn
        except BaseException:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.leave(waiting.turn.result())
            else:
                waiting.turn.cancel()
                with suppress(ValueError):
                    self._queue.remove(waiting)
                self._wake()
            raise

    def leave(self, seat: Seat) -> None:
        """Give a place back."""
        if seat.trying:
            seat.replica.circuit.abandoned()
        seat.replica.gate.leave()

    def worked(self, seat: Seat) -> None:
        """Take note that a replica is at work."""
        if self.several and seat.replica.circuit.worked():
            seat.replica.gate.renew()
            _log.warning("%s is back", seat.replica.where)

    def failed(self, seat: Seat, problem: str, *, unreachable: bool) -> None:
        """Take note of a failure that may be the replica's own."""
        now = asyncio.get_running_loop().time()
        circuit = seat.replica.circuit
        if self.several and circuit.failed(now, trying=seat.trying, unreachable=unreachable):
            _log.warning("%s is out of service, its calls go to others: %s", seat.replica.where, problem)

    def close(self) -> None:
        """Stop looking for places."""
        for replica in self.replicas:
            replica.gate.watchers.discard(self._wake)
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        """Give free places to those that wait, the first first; none is free for those after a new call."""
        now = asyncio.get_running_loop().time()
        soonest, blocked = math.inf, []
        while self._queue:
            waiting = self._queue.popleft()
            if waiting.turn.done():
                continue
            replica, wait = self._choose(waiting, now)
            if replica is None:
                soonest = min(soonest, wait)
                blocked.append(waiting)
                if not waiting.tried:
                    break
            else:
                replica.gate.seize(waiting.ask)
                waiting.turn.set_result(Seat(replica, now, replica.circuit.entered()))
        self._queue.extendleft(reversed(blocked))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if soonest < math.inf:
            # A timer may fire one tick of the clock early; without the margin nobody would wake again.
            self._timer = asyncio.get_running_loop().call_later(soonest + 0.001, self._wake)

    def _choose(self, waiting: _Waiting, now: float) -> tuple[Replica | None, float]:
        """Return a replica that may be asked now, or else how many seconds it takes until one may."""
        ask, again = waiting.ask, self.others(waiting.tried) if waiting.tried else False
        soonest, free = math.inf, []
        for each in self.replicas:
            if again and (each in waiting.tried or each.circuit.open):
                continue  # a call that failed once is not the one that tries whether a replica is back
            if each.gate.active + 1 > each.gate.room(ask):
                continue  # it wakes us as soon as it has a place
            wait = max(each.circuit.wait(now), each.gate.delay(ask))
            if wait > 0:
                soonest = min(soonest, wait)
            else:
                free.append(each)
        if not free:
            return None, soonest
        serving = [each.gate for each in self.replicas if not each.circuit.open]
        rooms = sum(gate.room(ask) for gate in serving) or 1.0
        most = SLACK * (sum(gate.active for gate in serving) + 1) / rooms
        for each in waiting.order:
            if each in free and each.gate.active + 1 <= math.ceil(most * each.gate.room(ask)):
                return each, 0.0
        return min(free, key=lambda each: each.gate.active / each.gate.room(ask)), 0.0


def _score(begun: bytes, url: str) -> bytes:
    return hashlib.blake2b(url.encode(), key=begun, digest_size=8).digest()
