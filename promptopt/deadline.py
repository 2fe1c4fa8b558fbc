"""Call somebody else's function for so many seconds at most.

In the main thread an alarm interrupts it, so that what it began is gone; also a regular expression that
backtracks, which no other thread could interrupt. Elsewhere, and where somebody else's alarm is set, it runs
in a thread that is left behind when it is late. Code that never looks for signals cannot be stopped at all.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class _Late(BaseException):
    """Not an Exception: a function that catches those must not catch this."""


class Deadline:
    """Calls functions, one at a time, each for at most `seconds`."""

    def __init__(self, seconds: float) -> None:
        """Start no thread yet."""
        self.seconds = seconds
        self._helper: _Helper | None = None

    def __call__(self, function: Callable[..., T], *args: Any) -> T:
        """Return what `function(*args)` returns, or raise what it raises.

        Raises:
            TimeoutError: it took longer.
        """
        return self._alarmed(function, args) if _alarm_is_free() else self._aside(function, args)

    def _alarmed(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        rung = False

        def ring(_number: int, _frame: FrameType | None) -> None:
            nonlocal rung
            rung = True
            raise _Late

        before = signal.signal(signal.SIGALRM, ring)
        try:
            # Again and again: where the first one is swallowed, another one follows.
            signal.setitimer(signal.ITIMER_REAL, self.seconds, 1.0)
            try:
                result = function(*args)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _Late:
            raise self._late() from None
        finally:
            signal.signal(signal.SIGALRM, before)
        if rung:
            raise self._late()
        return result

    def _aside(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if self._helper is None:
            self._helper = _Helper()
        try:
            done, value = self._helper.call(function, args, self.seconds)
        except Empty:
            self._helper = None
            raise self._late() from None
        if not done:
            raise value
        return value  # type: ignore[no-any-return]

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self.seconds:g} s")


class _Helper:
    """A thread that calls functions until it is not needed any more; late, it is left behind."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        threading.Thread(
            target=_serve, args=(self._work, self._results), name="promptopt helper", daemon=True
        ).start()

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> tuple[bool, Any]:
        self._work.put((function, args))
        return self._results.get(timeout=seconds)

    def __del__(self) -> None:
        self._work.put(None)


def _serve(
    work: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None],
    results: SimpleQueue[tuple[bool, Any]],
) -> None:
    while (asked := work.get()) is not None:
        function, args = asked
        try:
            results.put((True, function(*args)))
        except BaseException as error:
            results.put((False, error))
        del asked, function, args


def _alarm_is_free() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )
