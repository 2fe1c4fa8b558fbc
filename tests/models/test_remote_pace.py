"""How fast an endpoint is asked: the cap, back-pressure, waits that everyone keeps, stopping early."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply

from promptopt.contracts.model import Completion, GenerateRequest
from promptopt.models._endpoint import Ask, Gate
from promptopt.models._pace import Pace
from promptopt.models.remote import RemoteModel
from promptopt.records import Message

SLOW = Reply("x", delay=0.02)


def ask(text: str = "Hi") -> GenerateRequest:
    return GenerateRequest((Message("user", text),))


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


@pytest.mark.parametrize("concurrency", [1, 7])
def test_never_more_than_concurrency_are_under_way(concurrency: int) -> None:
    with (
        LoopbackServer(lambda m, b: SLOW) as server,
        RemoteModel("m", base_url=server.url, concurrency=concurrency) as model,
    ):
        assert len(list(model.generate([ask()] * 20))) == 20
    assert server.peak == concurrency


def test_models_at_one_endpoint_share_the_cap() -> None:
    with LoopbackServer(lambda m, b: SLOW) as server:
        models = [RemoteModel(name, base_url=server.url, concurrency=5) for name in ("a", "b", "c")]
        done: list[int] = []
        threads = [
            threading.Thread(target=lambda m=model: done.append(len(list(m.generate([ask()] * 20)))))
            for model in models
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for model in models:
            model.close()
    assert done == [20, 20, 20]
    assert server.peak == 5


def test_a_place_is_free_only_once_the_consumer_comes_back() -> None:
    with (
        LoopbackServer(lambda m, b: "x") as server,
        RemoteModel("m", base_url=server.url, concurrency=4) as model,
    ):
        answers = model.generate([ask()] * 12)
        for read in range(8):
            next(answers)
            wait_until(lambda read=read: server.calls == 4 + read and server.active == 0)  # type: ignore[misc]
            time.sleep(0.02)  # time enough for a request that should not come
            assert server.calls == 4 + read
        assert len(list(answers)) == 4
    assert server.calls == 12


def test_a_retry_after_makes_the_whole_endpoint_wait() -> None:
    served = threading.Event()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        if served.is_set():
            return Reply("x")
        served.set()
        return Reply("slow down", 429, {"retry-after": "0.6"})

    with (
        LoopbackServer(reply) as server,
        RemoteModel("first", base_url=server.url, backoff=0.001) as first,
        RemoteModel("second", base_url=server.url, backoff=0.001) as second,
    ):
        answers = first.generate([ask()])
        thread = threading.Thread(target=lambda: list(answers))
        thread.start()
        wait_until(lambda: server.calls == 1 and server.active == 0)
        time.sleep(0.05)  # let the client read what it was told
        assert isinstance(dict(second.generate([ask()]))[0], Completion)
        thread.join(10)
        begun = [seen.begun for seen in server.seen]
    assert len(begun) == 3
    assert min(begun[1:]) - begun[0] >= 0.55


def test_congestion_slows_the_endpoint_down() -> None:
    refused, go = iter(range(16)), threading.Event()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply("busy", 503, delay=0.02) if next(refused, None) is not None else Reply("x", until=go)

    outcomes: list[object] = []
    with (
        LoopbackServer(reply) as server,
        RemoteModel("m", base_url=server.url, concurrency=16, backoff=0.001) as model,
    ):
        thread = threading.Thread(target=lambda: outcomes.extend(o for _, o in model.generate([ask()] * 24)))
        thread.start()
        wait_until(lambda: server.calls > 16 and len(server.seen) - server.active == 16)
        time.sleep(0.1)  # time enough for more to come, were there room
        assert 1 <= server.active <= 12
        go.set()
        thread.join(20)
    assert len(outcomes) == 24
    assert all(isinstance(outcome, Completion) for outcome in outcomes)


def test_closing_early_cancels_what_is_under_way_and_waits_for_it() -> None:
    never = threading.Event()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply("x", until=None if messages[0]["content"] == "quick" else never)

    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url, concurrency=6) as model:
        answers = model.generate([ask("quick"), *[ask()] * 20])
        next(answers)
        wait_until(lambda: server.active == 5)
        answers.close()  # type: ignore[attr-defined]
        wait_until(lambda: server.active == 0)
        assert (server.calls, server.broken) == (6, 5)
        assert isinstance(dict(model.generate([ask("quick")]))[0], Completion)
    assert server.calls == 7


def test_leaving_the_loop_early_sends_nothing_more() -> None:
    with (
        LoopbackServer(lambda m, b: SLOW) as server,
        RemoteModel("m", base_url=server.url, concurrency=2) as model,
    ):
        for _ in model.generate([ask()] * 50):
            break
        wait_until(lambda: server.active == 0)
        calls = server.calls
        time.sleep(0.1)
        assert server.calls == calls <= 4


def run(steps: Callable[[Gate], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await steps(Gate())

    asyncio.run(main())


async def entered(gate: Gate, cap: int, many: int, adaptive: bool = True) -> int:
    """Count how many of `many` can enter at once; all leave again."""
    tasks = [asyncio.create_task(gate.enter(Ask(cap, adaptive=adaptive))) for _ in range(many)]
    await asyncio.sleep(0.01)
    inside = sum(task.done() for task in tasks)
    for task in tasks:
        if not task.done():
            task.cancel()
    for _ in range(inside):
        gate.leave()
    await asyncio.sleep(0)
    return inside


def test_the_lower_of_cap_and_pace_decides_unless_the_pace_is_switched_off() -> None:
    async def steps(gate: Gate) -> None:
        assert await entered(gate, 1000, 100) == Pace.START
        assert await entered(gate, 5, 100) == 5
        assert await entered(gate, 50, 100, adaptive=False) == 50

    run(steps)


def test_an_open_circuit_lets_one_request_try() -> None:
    async def steps(gate: Gate) -> None:
        gate.unreachable = Gate.OPEN
        assert await entered(gate, 16, 40) == 1
        gate.reached()
        assert await entered(gate, 16, 40) == 16

    run(steps)


def test_a_pause_holds_all_back_and_a_deadline_within_it_ends_the_wait() -> None:
    async def steps(gate: Gate) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        gate.pause(0.2)
        with pytest.raises(TimeoutError):
            await gate.enter(Ask(16), begun + 0.1)
        assert clock() - begun < 0.1
        assert await gate.enter(Ask(16), begun + 5) >= begun + 0.19

    run(steps)


def test_a_cancelled_turn_loses_no_place() -> None:
    async def steps(gate: Gate) -> None:
        await gate.enter(Ask(1))
        waiting = [asyncio.create_task(gate.enter(Ask(1))) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        gate.leave()
        waiting[1].cancel()  # its turn has come, and it does not know yet
        await asyncio.wait(waiting, timeout=1)
        assert [task.cancelled() for task in waiting] == [True, True, False]
        gate.leave()
        assert await entered(gate, 1, 3) == 1

    run(steps)
