"""Turn asynchronous answers into a plain generator, with back-pressure.

At most `window` answers are under way or unread: the place of an answer is given to the next request
only when the consumer, having dealt with that answer, comes back for another. A consumer that journals
each answer before it asks on has therefore never more than `window` requests unaccounted for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TypeVar

from ._loop import LoopThread

T = TypeVar("T")

HAND_OVER = 5e-5
"""Seconds that the loop stands still after an answer, so that the consumer can take it and make room.

Otherwise its thread keeps the interpreter to itself while answers come in a row, 5 ms at a time
(`sys.getswitchinterval`), and fewer requests are under way: 3% fewer answers at 400 a second, or 8% where the
consumer journals them. The interval is the whole process's, which is not ours to set.
"""


class _End:
    """The last thing in a stream, with the error that ended it, if any."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.error: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        while isinstance(self.error, BaseExceptionGroup):
            self.error = self.error.exceptions[0]


def stream(
    thread: LoopThread,
    units: Sequence[Sequence[int]],
    window: int,
    answer: Callable[[Sequence[int]], Awaitable[Mapping[int, T]]],
) -> Iterator[tuple[int, T]]:
    """Yield `(i, outcome)` for each `i` of each unit of `await answer(unit)`, as they finish.

    A unit, which must not be larger than the window, takes a place for each of its members.

    The first exception cancels the rest; what was answered before it is yielded first. Closing the
    generator cancels what is under way and waits until it has ended.

    Raises:
        asyncio.CancelledError: the work was cancelled from elsewhere.
        LoopStopped: the thread has stopped.
    """
    results: SimpleQueue[tuple[int, T] | _End] = SimpleQueue()
    room = asyncio.Semaphore(window)

    async def one(unit: Sequence[int]) -> None:
        for item in (await answer(unit)).items():
            results.put(item)
        time.sleep(HAND_OVER)

    async def every() -> None:
        async with asyncio.TaskGroup() as group:
            for unit in units:
                for _ in unit:
                    await room.acquire()
                group.create_task(one(unit))

    cancel = thread.start(every(), lambda task: results.put(_End(task)))
    ended = False
    try:
        while True:
            item = results.get()
            if isinstance(item, _End):
                ended = True
                if item.error is not None:
                    raise item.error
                return
            yield item
            thread.post(room.release)
    finally:
        if not ended:
            cancel()
            while not isinstance(results.get(), _End):
                pass
