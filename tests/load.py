"""Keep 64 calls under way for minutes at a server that fails one in twenty; account for cells and leaks.

    python -m tests.load                          # 10 minutes
    python -m tests.load --minutes 1 --concurrency 64

The server is a process of its own. It answers after a while, or not at all: errors, refusals with
Retry-After, lost connections, cut and senseless replies, silence. A hundredth of the rows it never answers.
Runs follow each other in one process, on one model, each with a journal of its own. After each, every cell
must be there: right, or failed where it had to fail; the calls on the bill must be those that the server
counted. Memory, threads, open files and tasks must be at the end what they were when all was warm. Exit code
1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptopt.calls import Caller
from promptopt.contracts.model import Decoding
from promptopt.contracts.reward import Output
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.models import _endpoint
from promptopt.models.remote import RemoteModel
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap, Score
from promptopt.scoring import Scorer
from tests.loopback import LoopbackServer, Reply

FAULTS = 0.05
PROMPTS, ROWS = 4, 128
"""Of a run: 512 cells."""
PATIENCE = {"attempt_timeout": 5.0, "timeout": 120.0, "max_attempts": 6, "backoff": 0.05}


def digest(text: str) -> int:
    """Return a number that depends on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def lost(text: str) -> bool:
    """Whether a row is never answered: one in a hundred."""
    return digest(f"lost {text}") % 100 == 0


def answer(text: str) -> str:
    """Return what the server says to a row."""
    return str(digest(text) % 1000)


def serve(delay: float, seed: int) -> None:
    """Serve until standard input is closed; the first line of output is the URL."""
    chance = random.Random(seed)
    kinds: tuple[Reply, ...] = (
        Reply("broken", 500), Reply("busy", 429, {"retry-after": "0.2"}), Reply("later", 503),
        Reply("slow", 504, delay=1.0), Reply("a reply to be cut", fault="cut"), Reply(fault="drop"),
        Reply(fault="html"), Reply(fault="no_choices"), Reply(fault="null"),
    )  # fmt: skip

    def reply(messages: list[dict[str, str]], body: dict[str, Any]) -> Reply:
        text = messages[-1]["content"]
        if lost(text):
            return Reply("never", 500, delay=delay)
        if chance.random() < FAULTS:
            return Reply(fault="hang") if chance.random() < 0.02 else chance.choice(kinds)
        if chance.random() < 0.01:
            return Reply(answer(text), fault="no_usage")
        return Reply(answer(text), delay=delay * (0.5 + chance.random()))

    with LoopbackServer(reply) as server:
        server._page = lambda path: {"calls": len(server.seen)}  # type: ignore[method-assign]
        server.seen = Counted()  # type: ignore[assignment]
        print(server.url, flush=True)
        sys.stdin.read()


class Counted(list[Any]):
    """A list that only counts what is put into it: the server is to stay small, too."""

    count = 0

    def append(self, item: Any) -> None:
        """Count."""
        self.count += 1

    def __len__(self) -> int:
        return self.count


@dataclass
class Right:
    """1 if the reply is what the server has to say to this row."""

    instruction: str = ""
    needs: str = "text"

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare."""
        expected = {answer(text_of(instruction, example)) for instruction in self.instruction.split("|")}
        return Score(float(output.text in expected))

    def extract(self, text: str) -> str | None:
        """Return the reply."""
        return text


def text_of(instruction: str, example: Example) -> str:
    """Return what is sent for a row."""
    return Prompt(instruction).render(example)[-1].content


@dataclass(frozen=True)
class Sample:
    """What the process holds: resident memory (MB), threads, open files, tasks of the endpoint's loop."""

    megabytes: float
    threads: int
    files: int
    tasks: int

    def __str__(self) -> str:
        """Tell all four."""
        return f"{self.megabytes:.1f} MB, {self.threads} threads, {self.files} files, {self.tasks} tasks"


def look(url: str) -> Sample:
    """Look at this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    loop = _endpoint._endpoints[url].loop._loop
    done = threading.Event()
    tasks: list[int] = []

    def count() -> None:
        tasks.append(len(asyncio.all_tasks(loop)))
        done.set()

    loop.call_soon_threadsafe(count)
    assert done.wait(30)
    size = pages * resource.getpagesize() / 1e6
    return Sample(size, threading.active_count(), len(os.listdir("/proc/self/fd")), tasks[0])


@dataclass
class Report:
    """What became of the load."""

    runs: int = 0
    cells: int = 0
    failed: int = 0
    calls: int = 0
    retried: int = 0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def check_leaks(self) -> None:
        """Compare the end with the time when all was warm: after a fifth of the runs."""
        warm, end = self.samples[max(1, len(self.samples) // 5)], self.samples[-1]
        if end.megabytes > 1.05 * warm.megabytes + 8:
            self.problems.append(f"memory grew from {warm.megabytes:.1f} to {end.megabytes:.1f} MB")
        for name in ("threads", "tasks"):
            if getattr(end, name) > getattr(warm, name):
                self.problems.append(f"{name} grew from {getattr(warm, name)} to {getattr(end, name)}")
        # Connections are kept open for further calls, at most one a call under way.
        if end.files > warm.files + 64:
            self.problems.append(f"open files grew from {warm.files} to {end.files}")

    def __str__(self) -> str:
        """Tell it in a few lines."""
        begun, warm, end = self.samples[0], self.samples[max(1, len(self.samples) // 5)], self.samples[-1]
        share = self.retried / max(1, self.calls)
        lines = [
            f"{self.runs} runs, {self.cells:,} cells ({self.failed} failed as they had to), "
            f"{self.calls:,} calls ({self.retried:,} repeated, {share:.1%}) in {self.seconds:.0f} s",
            f"first {begun}; warm {warm}; end {end}",
            *(f"NOT SURVIVED: {problem}" for problem in self.problems[:10]),
        ]
        return "\n".join(lines)


def load(
    seconds: float, concurrency: int = 64, delay: float = 0.4, seed: int = 0, told: bool = False
) -> Report:
    """Run for so long, at least three runs."""
    report = Report()
    with started(delay, seed) as url, tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"concurrency": concurrency, "adaptive": False, **PATIENCE}
        begun = time.monotonic()
        with RemoteModel("m", base_url=url, **options) as model:
            while time.monotonic() - begun < seconds or report.runs < 3:
                one_run(model, Path(folder) / f"{report.runs}.sqlite", report, url)
                report.seconds = time.monotonic() - begun
                if told:
                    print(f"{report.seconds:.0f} s: {report.cells:,} cells, {report.samples[-1]}", flush=True)
    report.check_leaks()
    return report


def one_run(model: RemoteModel, file: Path, report: Report, url: str) -> None:
    """Fill the cells of some new prompts, and check them, the bill and the server's count."""
    rows = [Example(str(i), FrozenMap({"input": f"row {i}"}), ("x",)) for i in range(ROWS)]
    prompts = [Prompt(f"Prompt {report.runs}.{i}") for i in range(PROMPTS)]
    reward = Right("|".join(prompt.instruction for prompt in prompts))
    before = counted(url)
    journal = Journal(file)
    ledger = Ledger()
    caller = Caller({"target": model}, journal, ledger)
    scorer = Scorer(caller, journal, {"right": reward}, decoding=Decoding(max_tokens=8), warn=lambda _: None)
    found = scorer.evaluate(prompts, rows, "right", "search")
    for prompt, evaluation in zip(prompts, found, strict=True):
        for example, cell in zip(rows, evaluation.cells, strict=True):
            text = text_of(prompt.instruction, example)
            report.cells += 1
            report.failed += cell.status == "failed"
            if (cell.status == "failed") != lost(text):
                report.problems.append(f"{text!r} is {cell.status} {cell.reason!r}")
            elif cell.score is not None and (cell.score.value != 1.0 or cell.output != answer(text)):
                report.problems.append(f"{text!r} was given the answer of another row")
    calls = counted(url) - before
    bill = journal.bill()["target"].attempts
    if not (bill == ledger.total.calls == calls):
        report.problems.append(
            f"{calls} calls at the server, {bill} on the bill, {ledger.total.calls} in the ledger"
        )
    if journal.count("calls") != PROMPTS * ROWS or journal.count("attempts"):
        report.problems.append(
            f"{journal.count('calls')} calls and {journal.count('attempts')} attempts journaled"
        )
    journal.close()
    file.unlink()
    report.runs += 1
    report.calls += calls
    report.retried += calls - PROMPTS * ROWS
    report.samples.append(look(url))


def counted(url: str) -> int:
    """Return how many calls the server has seen."""
    with urllib.request.urlopen(f"{url}/stats", timeout=60) as page:
        return int(json.load(page)["calls"])


@contextmanager
def started(delay: float, seed: int) -> Iterator[str]:
    """Start the server; yield its URL."""
    command = [sys.executable, "-m", "tests.load", "--serve", str(delay), "--seed", str(seed)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def parser() -> argparse.ArgumentParser:
    """Make the reader of the command line."""
    made = argparse.ArgumentParser(
        description="Load the engine for minutes, and look for what is lost or leaks."
    )
    made.add_argument("--minutes", type=float, default=10.0)
    made.add_argument("--concurrency", type=int, default=64)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--serve", type=float, default=None, help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Load, and print what became of it."""
    options = parser().parse_args(argv)
    if options.serve is not None:
        serve(options.serve, options.seed)
        return 0
    report = load(60 * options.minutes, options.concurrency, seed=options.seed, told=True)
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
