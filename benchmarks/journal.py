"""What the journal costs a cell, from a thousand cells to a million.

    python -m benchmarks.journal                        # to 100,000 cells
    python -m benchmarks.journal --cells 1000000        # minutes, 1 GB of disk

A model that answers at once is asked through the run's own door (`calls.Caller`: key, look-up, ledger,
attempt, answer, commit) and the cells are put down, and it is asked directly. The difference of the two in
CPU time is what a cell pays. `paid` writes down every attempt before it is sent, and with it the answers
that came before, as for a remote model; `local` commits twice a second. Then the journal is opened again and
answers everything once more (`replay`). Exit code 1 if a cell takes more than 60 microseconds, or a journal
a second to open.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from promptopt.calls import Caller
from promptopt.contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Outcome,
    always,
)
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.records import Budget, Message, Price, Usage, digest

OVERHEAD, OPEN = 60e-6, 1.0
"""Seconds that a cell, and opening, may take at most."""
ROWS = 500
"""Rows that a prompt meets."""
CHUNK = 4096
"""Cells bought at a time, as the scorer does."""
WORDS = "Say whether the review below is positive or negative, and answer with one word only. " * 3


class Instant:
    """A model that answers at once."""

    capabilities = Capabilities()

    def __init__(self, endpoint: str) -> None:
        """Pretend to be at an endpoint."""
        self.identity = ModelIdentity(endpoint, "instant")

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Answer yes."""
        for place in range(len(requests)):
            yield place, Completion("yes", usage=Usage(80, 1)) if admit(place) else Failure("budget")

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Refuse."""
        for place in range(len(requests)):
            yield place, Failure("unsupported")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal")
    parser.add_argument("--cells", type=int, default=100_000, help="of the largest journal")
    largest = parser.parse_args().cells
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n < largest] + [largest]
    failed = False
    print("           cells  fresh us/cell  replay us/cell  open ms  bytes/cell  peak MB")
    with tempfile.TemporaryDirectory() as folder:
        for kind, endpoint in (("local", "local"), ("paid", "http://127.0.0.1/v1")):
            model = Instant(endpoint)
            for cells in sizes:
                path = Path(folder) / f"{kind}-{cells}.sqlite"
                direct = _seconds(lambda chunk, model=model: list(model.generate(chunk)), cells)  # type: ignore[misc]
                fresh, _ = _through(path, model, cells)
                replay, opened = _through(path, model, cells)
                each = [(seconds - direct) / cells * 1e6 for seconds in (fresh, replay)]
                size = path.stat().st_size / cells
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f"{kind:<6}{cells:>10,}{each[0]:>15.1f}{each[1]:>16.1f}{opened * 1e3:>9.1f}"
                    f"{size:>12.0f}{peak:>9.0f}",
                    flush=True,
                )
                path.unlink()
                failed |= max(each) > 1e6 * OVERHEAD or opened > OPEN
    return int(failed)


def _through(path: Path, model: Instant, cells: int) -> tuple[float, float]:
    """Return the CPU seconds of asking it all through a caller, and the seconds of opening the journal."""
    began = time.monotonic()
    journal = Journal(path)
    opened = time.monotonic() - began
    caller = Caller({"target": model}, journal, Ledger(Budget(calls=10**9), {"target": Price(0.15, 0.6)}))
    filled = 0

    def fill(chunk: list[GenerateRequest]) -> None:
        nonlocal filled
        outcomes = caller.ask("target", chunk)
        journal.put_cells("search", [_cell(filled + i, outcome) for i, outcome in enumerate(outcomes)])
        filled += len(outcomes)

    seconds = _seconds(fill, cells)
    journal.close()
    return seconds, opened


def _cell(place: int, outcome: Outcome) -> tuple[object, ...]:
    assert isinstance(outcome, Completion)
    prompt = digest(place // ROWS)
    return prompt, str(place % ROWS), 0, "exact_match", "ok", 1.0, "", 1, outcome.text, ""


def _seconds(ask: Callable[[list[GenerateRequest]], object], cells: int) -> float:
    """Return the CPU seconds that asking for so many cells takes, making the requests left out."""
    total = 0.0
    for start in range(0, cells, CHUNK):
        chunk = [
            GenerateRequest((Message("user", f"{WORDS}\n\nInput: row {place}\nOutput:"),))
            for place in range(start, min(start + CHUNK, cells))
        ]
        began = time.process_time()
        ask(chunk)
        total += time.process_time() - began
    return total


if __name__ == "__main__":
    raise SystemExit(main())
