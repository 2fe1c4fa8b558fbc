"""An event loop on a thread of its own, so that asynchronous work can be asked for from any thread.

It also works where the calling thread has a running loop already, as in Jupyter.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class LoopStopped(RuntimeError):
    """Work was given to a loop that has stopped."""


class LoopThread:
    """A daemon thread that runs an event loop until `stop`."""

    def __init__(self, name: str) -> None:
        """Start the thread and wait until its loop runs."""
        self._lock = threading.RLock()  # reentrant: a finalizer may stop the loop while this thread posts
        self._stopped = False
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name=name, daemon=True
        )
        self._thread.start()
        ready.wait()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        ready.set()
        await self._stop.wait()

    def post(self, function: Callable[[], object]) -> bool:
        """Call `function` on the loop, soon; False if the loop has stopped."""
        with self._lock:
            if not self._stopped:
                self._loop.call_soon_threadsafe(function)
            return not self._stopped

    def start(
        self, work: Coroutine[Any, Any, None], done: Callable[[asyncio.Task[None]], object]
    ) -> Callable[[], None]:
        """Run `work` as a task and call `done` with it in the end, come what may; return how to cancel it.

        Raises:
            LoopStopped: too late.
        """
        task: asyncio.Task[None]

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(work)
            task.add_done_callback(done)

        if not self.post(begin):
            work.close()
            raise LoopStopped

        def cancel() -> None:
            self.post(lambda: task.cancel())

        return cancel

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end; on the loop's own thread, where waiting would lock up, only begin it."""
        over = threading.Event()
        try:
            self.start(work, lambda _: over.set())
        except LoopStopped:
            return
        if threading.current_thread() is not self._thread:
            over.wait()

    def stop(self) -> None:
        """Cancel all tasks, close the loop and end the thread."""
        with self._lock:
            self.post(self._stop.set)
            self._stopped = True
        if threading.current_thread() is not self._thread:
            self._thread.join()
