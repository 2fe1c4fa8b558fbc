"""The limit that is learned: against simulated servers, in simulated time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import pytest

from promptopt.models._pace import Pace


@dataclass
class Server:
    """A server in simulated time.

    Attributes:
        latency: seconds of service, given how many are being served.
        slots: most served at once.
        queue: most that wait for a slot; what comes beyond is refused at once.
        broken: share of answers that are failures.
    """

    latency: Callable[[int, random.Random], float]
    slots: int
    queue: float = 0
    broken: float = 0.0


@dataclass
class Result:
    answers: int
    refused: int
    seconds: float
    limit: float

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def drive(server: Server, want: int, *, fixed: int | None = None, cap: int = 256, seed: int = 1) -> Result:
    """Ask as fast as the pace (or a fixed number at once) lets, until `want` answers have come."""
    pace, rng, order = Pace(), random.Random(seed), count()
    events: list[tuple[float, int, str, float]] = []
    waiting: deque[float] = deque()
    now, active, serving, answers, refused = 0.0, 0, 0, 0, 0

    def begin(entered: float) -> None:
        nonlocal serving
        serving += 1
        done = now + server.latency(serving, rng)
        heapq.heappush(events, (done, next(order), "done", entered))

    while answers < want:
        room = fixed if fixed is not None else min(cap, int(pace.limit))
        while active < room:
            active += 1
            if serving < server.slots:
                begin(now)
            elif len(waiting) < server.queue:
                waiting.append(now)
            else:
                heapq.heappush(events, (now + 0.005, next(order), "refused", now))
        now, _, what, entered = heapq.heappop(events)
        if what == "refused":
            refused += 1
            pace.congested(entered, now, active)
        else:
            serving -= 1
            if waiting:
                begin(waiting.popleft())
            if rng.random() < server.broken:
                pace.broke(entered, now, active)
            else:
                answers += 1
                pace.answered(entered, now, active, "kind")
        active -= 1
    return Result(answers, refused, now, pace.limit)


def steady(seconds: float) -> Callable[[int, random.Random], float]:
    return lambda serving, rng: seconds


def varied(seconds: float) -> Callable[[int, random.Random], float]:
    return lambda serving, rng: seconds * rng.lognormvariate(0, 0.5)


def batched(serving: int, rng: random.Random) -> float:
    """Serve as a GPU that batches: 128 at once take three times as long as one."""
    return (0.2 + 0.4 * serving / 128) * rng.lognormvariate(0, 0.3)


SERVERS = {
    "refuses": Server(steady(0.02), slots=50),
    "refuses few": Server(steady(0.5), slots=5),
    "refuses, varied": Server(varied(0.3), slots=100),
    "queues": Server(steady(0.02), slots=32, queue=10**6),
    "queues, varied": Server(varied(0.5), slots=32, queue=10**6),
    "one slot": Server(steady(0.05), slots=1, queue=10**6),
    "batches": Server(batched, slots=128, queue=10**6),
    "breaks": Server(varied(0.1), slots=64, broken=0.03),
    "takes all": Server(varied(0.2), slots=10**6),
}


@pytest.mark.parametrize("name", SERVERS)
def test_it_comes_close_to_the_best_fixed_number_and_is_rarely_refused(name: str) -> None:
    server = SERVERS[name]
    most = server.slots if not server.queue else 256  # beyond it, fixed numbers are refused and no faster
    sweep = {n for n in (1, 5, 16, 32, 64, 100, 128, 256, server.slots) if n <= min(most, 256)}
    best = max(drive(server, 2000, fixed=n).rate for n in sweep)
    found = drive(server, 6000)
    assert found.rate >= 0.85 * best
    assert found.refused <= 0.02 * 6000


def test_a_queue_is_not_filled_for_nothing() -> None:
    assert drive(SERVERS["queues"], 5000).limit <= 64
    assert drive(SERVERS["one slot"], 2000).limit <= 32


def test_failures_that_are_many_slow_it_down() -> None:
    assert drive(Server(steady(0.1), slots=10**6, broken=0.5), 500).limit < 4


def test_a_cut_is_made_once_a_round_trip_and_leaves_one() -> None:
    pace = Pace()
    for _ in range(10):
        pace.congested(entered=0.0, now=1.0, active=16)
    assert pace.limit == 8
    for second in range(2, 100):
        pace.congested(entered=second, now=second + 0.5, active=int(pace.limit))
    assert pace.limit == 1


def test_what_is_not_used_does_not_grow() -> None:
    pace = Pace()
    for second in range(1000):
        pace.answered(second, second + 1, active=3, kind="kind")
    assert pace.limit == Pace.START


def test_kinds_that_take_longer_are_no_congestion() -> None:
    """A few long generations after many short ones are compared with nothing that they should be like."""
    pace = Pace()
    for kind, seconds in (("short", 0.1), ("long", 5.0), ("short", 0.1)):
        for i in range(200):
            pace.answered(1000 * (kind == "long") + i, 1000 * (kind == "long") + i + seconds, 10**6, kind)
    assert pace.limit > 100
