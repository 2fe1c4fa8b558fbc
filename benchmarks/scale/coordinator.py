"""How much work PostgreSQL hands out to workers that take no time: `python -m benchmarks.scale.coordinator`.

    parts  a scoring job: workers lease parts of 8,192 cells and note them as finished, nothing in between
    calls  a search: workers stand before the same calls, make a share of them (for nothing) and read the rest

Cells a second at 1, 4 and 16 workers, all on this machine, beside the ceiling that the processor time of the
database and of the workers predicts for it (cores / seconds a cell), and the one that the database alone has
where the workers have machines of their own. Starts a server of its own (Debian: apt install postgresql).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptopt.bulk import PART_CELLS
from promptopt.calls import Caller
from promptopt.contracts.model import Completion, GenerateRequest
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.partbook import Part, StudyBook
from promptopt.records import Budget, Message, Usage
from promptopt.tally import Tally
from promptopt.testing.model import FakeModel
from tests.postgres import server

WORKERS = (1, 4, 16)
BATCH = 2048
"""Calls that a search asks together."""


@dataclass(frozen=True)
class Rate:
    """Cells a second, and seconds of the processor for a cell: the database's, and the workers' together."""

    workers: int
    cells: int
    seconds: float
    database: float
    own: float

    @property
    def rate(self) -> float:
        """Cells a second."""
        return self.cells / self.seconds

    @property
    def here(self) -> float:
        """Most cells a second on this machine."""
        return self.cells / (self.database + self.own) * (os.cpu_count() or 1)

    @property
    def apart(self) -> float:
        """Most cells a second if only the database were here."""
        return self.cells / self.database * (os.cpu_count() or 1)


def measure(url: str, kind: str, workers: int, size: int) -> Rate:
    """Let workers share so many parts or calls; each must be there once in the end."""
    study = f"{url}?study={kind}{workers}"
    journal = Journal(study)
    ((backend,),) = journal._store.query("SELECT pg_backend_pid()")
    postmaster = _fields(backend)[1]
    command = [sys.executable, "-m", "benchmarks.scale.coordinator", "--worker", study, "--kind", kind]
    processes = [
        subprocess.Popen(
            [*command, "--size", str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    database = _database_seconds(postmaster)
    begun = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in processes]
    seconds = time.perf_counter() - begun
    database = _database_seconds(postmaster) - database
    assert journal.count("calls") == size
    journal.close()
    cells = size * PART_CELLS if kind == "parts" else size
    return Rate(workers, cells, seconds, database, sum(map(float, said)))


def _database_seconds(postmaster: int) -> float:
    """Return the processor seconds that a server has taken, its processes that have ended included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = _fields(int(path.name))
        except OSError:
            continue
        if postmaster in (int(path.name), fields[1]):
            ticks += sum(fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[int]:
    """Return what `/proc/PID/stat` says after the name: state (as 0), parent, …, times at 11 to 14."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return [0, *map(int, words[1:])]


def work(study: str, kind: str, size: int) -> float:
    """Do a worker's share; return the processor seconds that it took."""
    journal = Journal(study)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.process_time()
    (_take_parts if kind == "parts" else _make_calls)(journal, size)
    seconds = time.process_time() - begun
    journal.close()
    return seconds


def _take_parts(journal: Journal, size: int) -> None:
    book = StudyBook(journal, "fake")
    tallies = {"prompt": Tally(PART_CELLS, 1.0, 1.0)}
    for number in range(size):
        if book.get(number) is None and book.take(number):
            book.put(Part(number, PART_CELLS, {"target": (PART_CELLS, Usage(1, 1))}, 1.0, tallies))


def _make_calls(journal: Journal, size: int) -> None:
    model = FakeModel(lambda _: Completion("yes", usage=Usage(9, 1)))
    caller = Caller({"target": model}, journal, Ledger(Budget()))
    requests = [GenerateRequest((Message("user", f"Is {i} odd?"),)) for i in range(size)]
    for at in range(0, size, BATCH):
        caller.ask("target", requests[at : at + BATCH])


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each number of workers, or be one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.coordinator", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)), help="some numbers of workers")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="", choices=["", "parts", "calls"], help="one of the two only")
    parser.add_argument("--size", type=int, default=0, help="parts or calls")
    options = parser.parse_args(argv)
    if options.worker:
        print(work(options.worker, options.kind, options.size))
        return 0
    with server() as url:
        for kind, size in (("parts", 600), ("calls", 3 * BATCH)):
            if options.kind in ("", kind):
                print(f"{kind}: cells a second; predicted ceiling here; with only the database here")
                for workers in map(int, options.workers.split(",")):
                    found = measure(url, kind, workers, options.size or size)
                    print(
                        f"{workers:>4} workers{found.rate:>14,.0f}{found.here:>14,.0f}{found.apart:>14,.0f}",
                        flush=True,
                    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
