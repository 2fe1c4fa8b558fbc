"""Turn asynchronous answers into a plain generator, with back-pressure.

At most `window` answers are under way or unread: the place of an answer is given to the next request
only when the consumer, having dealt with that answer, comes back for another. A consumer that journals
each answer before it asks on has therefore never more than `window` requests unaccounted for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TypeVar

from ._loop import LoopThread

T = TypeVar("T")


class _End:
    """The last thing in a stream, with the error that ended it, if any."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.error: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        while isinstance(self.error, BaseExceptionGroup):
            self.error = self.error.exceptions[0]


def stream(
    thread: LoopThread,
    units: Collection[Sequence[int]],
    window: int,
    answer: Callable[[Sequence[int]], Awaitable[Mapping[int, T]]],
) -> Iterator[tuple[int, T]]:
    """Yield `(i, outcome)` for each `i` of each unit of `await answer(unit)`, as they finish.

    The units are gone through on the loop, each when there is a place for it. A unit, which must not be
    larger than the window, takes a place for each of its members.

    The first exception cancels the rest; what was answered before it is yielded first. Closing the
    generator cancels what is under way and waits until it has ended.

    Raises:
        asyncio.CancelledError: the work was cancelled from elsewhere.
        LoopStopped: the thread has stopped.
    """
    results: SimpleQueue[tuple[int, T] | _End] = SimpleQueue()
    room, turn = asyncio.Semaphore(window), asyncio.Lock()
    left = iter(units)

    async def work() -> None:
        # Few steps of the loop lie between an answer and the next request: in each of them, all other
        # answers that came together with it would be dealt with before.
        while True:
            async with turn:
                await room.acquire()
                if (unit := next(left, None)) is None:
                    room.release()
                    return
                for _ in unit[1:]:
                    await room.acquire()
            for item in (await answer(unit)).items():
                results.put(item)

    async def every() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(window, len(units))):
                group.create_task(work())

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
