"""Ctrl-C once: no further call is begun, and those under way are waited for and kept. Twice: at once.

Signals are the process's own, so what is asked for is known to the whole process. Where no calls are under
way there is nothing to wait for, and the first Ctrl-C is the interrupt that Python makes of it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class _State:
    """Attributes: waiting (blocks that wait for calls), asked (whether to stop)."""

    waiting = 0
    asked = False


_state = _State()
_lock = threading.Lock()


def asked() -> bool:
    """Whether no further call is to be begun."""
    return _state.asked


@contextmanager
def waiting_for_calls() -> Iterator[None]:
    """Say that calls are under way.

    Raises:
        KeyboardInterrupt: at the end, if it was asked for meanwhile.
    """
    with _lock:
        _state.waiting += 1
    try:
        yield
    finally:
        with _lock:
            _state.waiting -= 1
    if _state.asked:
        raise KeyboardInterrupt


@contextmanager
def drained(say: Callable[[str], object]) -> Iterator[None]:
    """Let the first Ctrl-C inside wait for calls under way; only the main thread can.

    Args:
        say: told one line when it does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        if _state.asked or not _state.waiting:
            raise KeyboardInterrupt
        _state.asked = True
        say("stopping: no further call is begun, those under way are kept; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _state.asked = False
