"""What a reward may do: hang in a loop, in a regular expression, in every cell, or raise what is no error."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from toys import Exact, make_setup

from promptopt import scoring
from promptopt.contracts.reward import Output
from promptopt.deadline import Deadline
from promptopt.errors import ContractError
from promptopt.records import Example
from promptopt.run import execute


class Hangs(Exact):
    """Takes for ever for some rows, or for all."""

    def __init__(self, rows: set[str] | None) -> None:
        self.rows = rows
        self.over = threading.Event()

    def __call__(self, example: Example, output: Output):
        if self.rows is None or example.id in self.rows:
            self.over.wait(30)
        return super().__call__(example, output)


def test_a_reward_that_hangs_for_a_row_fails_its_cells_and_no_other(monkeypatch):
    monkeypatch.setattr(scoring, "REWARD_SECONDS", 0.05)
    setup = make_setup()
    first = setup.task.splits.search[0].id
    reward = Hangs({first})
    study = execute(make_setup(reward=reward))
    reward.over.set()
    assert study.stopped == "finished"
    cells = [cell for candidate in study.candidates for cell in candidate.search.cells]
    assert {cell.example for cell in cells if cell.status == "failed"} == {first}
    assert {cell.reason for cell in cells if cell.status == "failed"} == {"reward: no answer within 0.05 s"}


def test_a_reward_that_always_hangs_ends_the_run_soon(monkeypatch):
    monkeypatch.setattr(scoring, "REWARD_SECONDS", 0.02)
    reward = Hangs(None)
    begun = time.monotonic()
    with pytest.raises(ContractError, match=r"no answer within 0.02 s, and this 10 times.*mend it"):
        execute(make_setup(reward=reward))
    reward.over.set()
    assert time.monotonic() - begun < 10


def test_a_late_call_is_left_behind_and_the_next_one_is_answered():
    late = threading.Event()
    within = Deadline(0.05)
    with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
        within(late.wait, 30)
    assert within(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        within(lambda: 1 / 0)
    late.set()


ALARM = """
import re, signal, time
from promptopt.deadline import Deadline

def told(function, *args):
    begun = time.monotonic()
    try:
        return function(*args)
    except TimeoutError:
        assert time.monotonic() - begun < 10
        return "late"

def swallows():
    for _ in range(100):
        try:
            time.sleep(0.05)
        except Exception:
            pass

def swallows_all():
    try:
        time.sleep(60)
    except BaseException:
        return "a score all the same"

within = Deadline(0.3)
before = signal.getsignal(signal.SIGALRM)
print(told(within, re.match, r"(a+)+$", "a" * 60 + "b"))
print(told(within, time.sleep, 60))
print(told(within, swallows))
print(told(within, swallows_all))
print(within(max, 1, 2))
assert signal.getsignal(signal.SIGALRM) == before
assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
"""


def test_an_alarm_interrupts_what_no_thread_could():
    """In a process of its own: here the alarm is the test runner's."""
    done = subprocess.run([sys.executable, "-c", ALARM], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["late", "late", "late", "late", "2"], done.stderr
