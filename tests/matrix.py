"""The matrix of what promptopt promises to survive: named cases, run as the tests that try them.

    python -m tests.matrix                        # all but those that take minutes
    python -m tests.matrix --slow                 # those, too
    python -m tests.matrix --group "bad input" --list

A row names a case and the tests that try it; it is survived if all of them pass. Each case of bad input is
a row of its own. What cannot be survived, or is not tried, is named with the reason. Exit code 1 if a row
fails.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from tests.matrix_rows import BAD_INPUT, CANNOT, ROWS

ROOT = Path(__file__).resolve().parent.parent
State = Literal["survived", "NOT SURVIVED", "not tried"]


@dataclass(eq=False)  # pytest keeps its plug-ins in sets
class Tally:
    """What pytest made of each test, by its name without parameters, and of each parameter."""

    states: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note: of the test itself, or of a step before or after it that went wrong."""
        whole = report.nodeid.split("[", 1)[0]
        for name in {report.nodeid, whole, "::".join(whole.split("::")[:2])}:
            self.seconds[name] = self.seconds.get(name, 0.0) + report.duration
            if report.when == "call" or report.outcome != "passed":
                self.states.setdefault(name, []).append(report.outcome)
            if report.outcome == "failed":
                self.reasons[name] = str(report.longrepr).strip().splitlines()[-1]
            elif report.outcome == "skipped" and isinstance(report.longrepr, tuple):
                self.reasons[name] = report.longrepr[2].removeprefix("Skipped: ")

    def state(self, tests: Sequence[str]) -> State:
        """Return what became of a row."""
        found = [outcome for test in tests for outcome in self.states.get(test, ["skipped"])]
        if "failed" in found:
            return "NOT SURVIVED"
        return (
            "survived"
            if all(self.states.get(test, ["skipped"]) != ["skipped"] for test in tests)
            else "not tried"
        )

    def why(self, tests: Sequence[str]) -> str:
        """Return why a row failed, or was not tried."""
        return next((self.reasons[test] for test in tests if test in self.reasons), "takes minutes: --slow")


@dataclass(frozen=True)
class Line:
    """A row as it is printed."""

    group: str
    case: str
    state: State
    seconds: float
    why: str = ""

    def __str__(self) -> str:
        """Lay it out."""
        return f"{self.state:<13}{self.seconds:>7.1f} s  {self.group}: {self.case}" + (
            self.why and f" ({self.why})"
        )


def run(groups: Sequence[str], slow: bool) -> list[Line]:
    """Run the tests of some groups, and return the rows."""
    rows = [row for row in ROWS if row.group in groups]
    tests = sorted({test for row in rows for test in row.tests})
    bad = [BAD_INPUT] if "bad input" in groups else []
    tally = Tally()
    # A machine that has much else to do takes its time.
    options = ["-q", "-p", "no:cacheprovider", "--no-header", "-o", "timeout=1800"]
    options += [] if slow else ["-m", "not slow"]
    code: int = pytest.ExitCode.TESTS_FAILED
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            code = pytest.main([*options, *tests, *bad], plugins=[tally])
        except ExceptionGroup as left:  # what a failed test has left open
            print(f"note: {left}", file=sys.stderr)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest ended with {code!r}\n{said.getvalue()[-3000:]}")
    lines = [line(row.group, row.case, row.tests, tally) for row in rows]
    return lines + [line("bad input", name, [test], tally) for name, test in bad_input(tally)]


def line(group: str, case: str, tests: Sequence[str], tally: Tally) -> Line:
    """Make a row of what its tests came to."""
    state = tally.state(tests)
    why = "" if state == "survived" else tally.why(tests)
    return Line(group, case, state, sum(tally.seconds.get(test, 0.0) for test in tests), why)


def bad_input(tally: Tally) -> Iterator[tuple[str, str]]:
    """Return each case of bad input with its test: a parameter's own, else the whole test."""
    names = [name for name in tally.states if name.startswith(BAD_INPUT)]
    for name in names:
        if "[" in name:
            yield name.split("[", 1)[1].removesuffix("]"), name
        elif not any(other.startswith(f"{name}[") for other in names):
            yield name.rpartition("::")[2].removeprefix("test_").replace("_", " "), name


GROUPS = list(dict.fromkeys([*(row.group for row in ROWS), "bad input"]))


def parser() -> argparse.ArgumentParser:
    """Make the reader of the command line."""
    made = argparse.ArgumentParser(description="Print what promptopt survives.")
    made.add_argument("--group", action="append", choices=GROUPS, help="may be given again; default: all")
    made.add_argument("--slow", action="store_true", help="also what takes minutes")
    made.add_argument("--list", action="store_true", help="name the rows, run nothing")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Print the matrix."""
    options = parser().parse_args(argv)
    groups = options.group or GROUPS
    if options.list:
        for row in ROWS:
            if row.group in groups:
                print(f"{row.group}: {row.case}: {', '.join(row.tests)}")
        return 0
    begun = time.monotonic()
    lines = run(groups, options.slow)
    for each in lines:
        print(each)
    for case, reason in CANNOT.items():
        print(f"{'cannot':<13}{'':>9}  {case} ({reason})")
    print()
    for group in groups:
        its = [each.state for each in lines if each.group == group]
        left = its.count("not tried")
        more = f", {left} not tried" if left else ""
        print(f"{group:<14}{its.count('survived')} of {len(its) - left} survived{more}")
    states = [each.state for each in lines]
    failed, left = states.count("NOT SURVIVED"), states.count("not tried")
    print(
        f"{len(states) - left} rows tried, {states.count('survived')} survived, {failed} not; "
        f"{left} not tried; {len(CANNOT)} cannot be; {time.monotonic() - begun:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
