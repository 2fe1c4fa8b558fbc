"""A server of three is killed, and comes back, while they are asked: `python -m benchmarks.scale.fleet`.

Each server, a process of its own on loopback, serves so many requests at once and lets others wait. The same
calls are made with all three there, which tells what a server is worth on this machine at this time. From
that and the times of the kill and of the return follows when those alive, at their share each, could be done.
The time taken is compared with that.
Each call must be answered once, be in the journal once, and say what one server alone says.
"""

from __future__ import annotations

import argparse
import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.api.server import Profile, start, stop
from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Decoding, GenerateRequest
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.models.remote import RemoteModel
from promptopt.records import Budget, Message

SERVERS = 3
PROFILE = Profile(0.8, slots=8, queue=1_000_000)
CONCURRENCY = 16
"""Twice what a server has room for: it is never idle, and little waits for it when it goes."""
PROMPTS = 12
TOLERANCE = 0.15


@dataclass(frozen=True)
class Outage:
    """What came of it.

    Attributes:
        calls: answers that were asked for.
        answered: those that are right.
        journaled: calls in the journal.
        attempts: calls in the ledger, those that the killed server took with it included.
        seconds: taken.
        undisturbed: seconds that the same calls took with all servers there.
        least: seconds that the servers alive, each worth as much as then, would have taken.
        down: seconds that one was not there.
    """

    calls: int
    answered: int
    journaled: int
    attempts: int
    seconds: float
    undisturbed: float
    least: float
    down: float

    @property
    def excess(self) -> float:
        """Share of the least time by which it took longer."""
        return self.seconds / self.least - 1


def with_an_outage(calls: int, *, kill_at: float, back_at: float) -> Outage:
    """Ask three servers, kill one after so many seconds, and start it again."""
    requests = _requests(calls)
    servers = [start(PROFILE) for _ in range(SERVERS)]
    urls = [url for _, url in servers]
    times: list[float] = []

    def kill_and_return() -> None:
        time.sleep(kill_at)
        stop(servers[0][0])
        times.append(time.perf_counter())
        time.sleep(back_at - kill_at)
        servers[0] = start(PROFILE, int(urls[0].split(":")[2].split("/")[0]))
        times.append(time.perf_counter())

    try:
        undisturbed = _ask(urls, requests).seconds
        trouble = threading.Thread(target=kill_and_return)
        trouble.start()
        asked = _ask(urls, requests)
        trouble.join()
    finally:
        for process, _ in servers:
            stop(process)
    down = [moment - asked.begun for moment in times]
    least = _least(calls, down, each=calls / undisturbed / SERVERS)
    return Outage(
        calls, asked.right, asked.journaled, asked.attempts, asked.seconds, undisturbed, least,
        down[1] - down[0],
    )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """What asking came to; `begun` is on the clock of `perf_counter`."""

    begun: float
    seconds: float
    right: int
    journaled: int
    attempts: int


def _ask(urls: Sequence[str], requests: Sequence[GenerateRequest]) -> _Asked:
    """Ask the servers, each call through a fresh journal."""
    journal = Journal()
    with RemoteModel("m", endpoints=urls, concurrency=CONCURRENCY) as model:
        warm = [replace(request, sample=1) for request in requests[:SERVERS]]
        assert len(list(model.generate(warm))) == SERVERS
        caller = Caller({"target": model}, journal, Ledger(Budget()))
        begun = time.perf_counter()
        outcomes = caller.ask("target", requests)
        seconds = time.perf_counter() - begun
    right = sum(
        isinstance(outcome, Completion) and outcome.text == _said(request)
        for outcome, request in zip(outcomes, requests, strict=True)
    )
    return _Asked(begun, seconds, right, journal.count("calls"), caller.ledger.total.calls)


def _requests(calls: int) -> list[GenerateRequest]:
    """Return rows under some prompts that are long enough to be worth a prefix cache."""
    prompts = [f"Prompt {p}. " + f"Think about question {p} with care. " * 20 for p in range(PROMPTS)]
    decoding = Decoding(max_tokens=8)
    return [
        GenerateRequest((Message("user", f"{prompts[i % PROMPTS]}\nRow {i}"),), decoding)
        for i in range(calls)
    ]


def _said(request: GenerateRequest) -> str:
    """Return what a server answers, as `benchmarks.api.server.answer` does."""
    texts = [message.content for message in request.messages]
    return "yes" if hashlib.sha256(repr((texts, 0)).encode()).digest()[0] % 2 else "no"


def _least(calls: int, down: Sequence[float], each: float) -> float:
    """Return when servers worth `each` calls a second are done, one of them away in between."""
    before = SERVERS * each * down[0]
    between = (SERVERS - 1) * each * (down[1] - down[0])
    if calls <= before:
        return calls / (SERVERS * each)
    if calls <= before + between:
        return down[0] + (calls - before) / ((SERVERS - 1) * each)
    return down[1] + (calls - before - between) / (SERVERS * each)


def main() -> int:
    """Run it a few times."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.fleet", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--calls", type=int, default=750)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    failed = False
    print("  calls   right  journaled  attempts  down s  undisturbed s  least s  took s")
    for _ in range(options.rounds):
        found = with_an_outage(options.calls, kill_at=4.0, back_at=10.0)
        print(
            f"{found.calls:>7,}{found.answered:>8,}{found.journaled:>11,}{found.attempts:>10,}{found.down:>8.1f}"
            f"{found.undisturbed:>15.1f}{found.least:>9.1f}{found.seconds:>8.1f}  {found.excess:+.1%}",
            flush=True,
        )
        failed |= found.excess > TOLERANCE or {found.answered, found.journaled} != {found.calls}
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
