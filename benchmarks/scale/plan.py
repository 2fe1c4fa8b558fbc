"""Does `promptopt plan` say how long a job takes on several servers? `python -m benchmarks.scale.plan`.

Servers on loopback, each a process of its own, with a known latency, number of slots and time a token. What
one writes a second is measured first, as a user does: some calls, all slots busy. Each job is planned from
a dry run, with these figures and nothing else, and is then run. Exit code 1 if a time is more than 20% off.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api.server import Profile, running
from promptopt.api import run_job
from promptopt.api_bulk import score_file
from promptopt.api_scale import plan_capacity
from promptopt.capacity import Replicas
from promptopt.config import job_from_dict
from promptopt.contracts.model import Completion, GenerateRequest
from promptopt.job import Job
from promptopt.models.remote import RemoteModel
from promptopt.records import Message

TOLERANCE = 0.2
SLOTS, LATENCY, TOKENS_PER_S = 4, 0.2, 120.0
PROFILE = Profile(LATENCY, slots=SLOTS, queue=1_000_000, per_token=SLOTS / TOKENS_PER_S)
PROMPT = "You are shown a question about a whole number. Think about it, and answer with yes or no."
SEARCHED = {"sizes": {"search": 30, "select": 20, "test": 40}}


@dataclass(frozen=True)
class Case:
    """A job, the servers it runs on, and how many rows it scores, if it is not a search."""

    servers: int
    changes: dict[str, Any]
    rows: int = 0


CASES = {
    "score 300 rows, 2 servers": Case(2, {"search": "seed_only"}, 300),
    "opro, 400 calls, 2 servers": Case(2, {"search": {"name": "opro"}, "budget": {"calls": 400}}),
    "ape, 500 calls, 3 servers": Case(
        3, {"search": {"name": "ape", "num_prompts_per_subsample": 10}, "budget": {"calls": 500}}
    ),
}


@dataclass(frozen=True)
class Checked:
    """Seconds foretold and taken, calls foretold and made."""

    foretold: float
    took: float
    calls: tuple[int, int]

    @property
    def error(self) -> float:
        """How far off, as a share of what it took."""
        return self.foretold / self.took - 1


def check(case: Case) -> Checked:
    """Plan a job, then run it."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        _write(folder / "rows.jsonl", 90)
        urls = [stack.enter_context(running(PROFILE)) for _ in range(case.servers)]
        job = _job(folder, urls, case.changes)
        replicas = Replicas(case.servers, tokens_per_s(urls[0]), slots=SLOTS, latency=LATENCY)
        source = folder / "all.jsonl" if case.rows else None
        if source is not None:
            _write(source, case.rows)
        outlook, _ = plan_capacity(job, replicas, data=source)
        begun = time.perf_counter()
        if source is not None:
            calls = score_file(job, source, folder / "cells").totals.calls
        else:
            calls = run_job(job, folder=folder / "run").total.calls
        return Checked(outlook.seconds, time.perf_counter() - begun, (outlook.calls, calls))


def tokens_per_s(url: str, calls: int = 60) -> float:
    """Return the tokens that a server reads and writes a second, without its latency, when it is busy."""
    asked = [
        GenerateRequest((Message("user", f"{PROMPT} Is the number {i} odd, then?"),)) for i in range(calls)
    ]
    with RemoteModel("m", base_url=url, concurrency=2 * SLOTS) as model:
        list(model.generate(asked[: 2 * SLOTS]))
        begun = time.perf_counter()
        used = sum(
            answer.usage.tokens for _, answer in model.generate(asked) if isinstance(answer, Completion)
        )
        a_call = (time.perf_counter() - begun) * SLOTS / calls
    return SLOTS * used / calls / (a_call - LATENCY)


def _job(folder: Path, urls: list[str], changes: dict[str, Any]) -> Job:
    return job_from_dict(
        {
            "data": {"path": str(folder / "rows.jsonl"), **SEARCHED},
            "prompt": PROMPT,
            "target": {"model": "openai/m", "endpoints": urls, "concurrency": SLOTS},
            "reward": "exact_match",
            **changes,
        }
    )


def _write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for i in range(rows):
            question = f"Take the number {i} and think whether two divides it. Is the number odd, then?"
            file.write(json.dumps({"question": question, "output": "yes" if i % 2 else "no"}) + "\n")


def main() -> int:
    """Print a line for each job."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.plan", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    options = parser.parse_args()
    worst = 0.0
    print(f"{'':<28}{'calls':>14}{'foretold s':>12}{'took s':>9}{'error':>8}")
    for name, case in CASES.items():
        if options.only in name:
            found = check(case)
            calls = "{:,}/{:,}".format(*found.calls)
            print(
                f"{name:<28}{calls:>14}{found.foretold:>12.1f}{found.took:>9.1f}{found.error:>+8.1%}",
                flush=True,
            )
            worst = max(worst, abs(found.error))
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
