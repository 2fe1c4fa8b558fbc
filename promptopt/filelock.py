"""Locks on files, which end with the process that holds them, however it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PAUSE = 0.05
"""Seconds between tries."""


def try_lock(handle: IO[bytes]) -> bool:
    """Lock an open file; False if another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process of this machine is inside, and keep them out."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+b") as handle:
        while not try_lock(handle):
            time.sleep(PAUSE)
        yield
