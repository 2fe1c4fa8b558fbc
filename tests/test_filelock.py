"""One process at a time: the others wait, and whoever holds a lock loses it with its life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from promptopt.filelock import alone, try_lock

COUNT = """
import sys, time
from pathlib import Path
from promptopt.filelock import alone
count = Path(sys.argv[1])
for _ in range(20):
    with alone(count.with_suffix(".lock")):
        seen = int(count.read_text())
        time.sleep(0.001)
        count.write_text(str(seen + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from promptopt.filelock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def start(code, *words):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_processes_take_turns(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    both = [start(COUNT, count) for _ in range(2)]
    for process in both:
        process.communicate(timeout=100)
    assert [process.returncode for process in both] == [0, 0]
    assert count.read_text() == "40"


def test_a_lock_ends_with_whoever_holds_it(tmp_path):
    lock = tmp_path / "deep" / "lock"
    holder = start(HOLD, lock)
    assert holder.stdout.readline().strip() == "held"
    with lock.open("a+b") as handle:
        assert not try_lock(handle)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    began = time.monotonic()
    with alone(lock):
        assert time.monotonic() - began < 30
