"""Does `--dry-run` say what a run takes? Forecast against run: `python -m benchmarks.planner`.

Jobs with the embedded model (the demo's rows) and with a server on loopback that answers after 50 ms (a
stated latency); the run comes right after its forecast, in a fresh folder. Seconds of local models are those
of the processor, which is to be idle otherwise. Seconds of remote ones, in parentheses, are wall time, shown
only.
Exit code 1 if a figure is more than 25% off.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.api.server import Profile, running
from promptopt.api import run_job
from promptopt.config import job_from_dict
from promptopt.forecast import foresee
from promptopt.setup import from_job

ROWS = Path(__file__).parents[1] / "promptopt" / "demo" / "rows.jsonl"
LATENCY = 0.05
TOLERANCE = 0.25

EMBEDDED = {
    "data": str(ROWS),
    "prompt": "Second letter of the word.",
    "target": {"model": "embedded/small", "decoding": {"max_tokens": 8}},
    "reward": "exact_match",
}
REMOTE = {
    "prompt": "Is the number odd?",
    "target": {"model": "openai/m", "concurrency": 16, "price": {"input": 0.15, "output": 0.6}},
    "reward": "exact_match",
}
JOBS: dict[str, dict[str, Any]] = {
    "embedded, ape, 6,000 calls at most": {**EMBEDDED, "search": "ape", "budget": {"calls": 6000}},
    "embedded, ape, 2,000 calls at most": {**EMBEDDED, "search": "ape", "budget": {"calls": 2000}},
    "embedded, paraphrases": {**EMBEDDED, "search": "paraphrases"},
    "embedded, evolution, 2,000 calls": {**EMBEDDED, "search": "evolution", "budget": {"calls": 2000}},
    "embedded, demos, 2,000 calls": {**EMBEDDED, "search": "demos", "budget": {"calls": 2000}},
    "embedded, ape by likelihood": {**EMBEDDED, "search": {"name": "ape", "reward": "log_likelihood"}},
    "embedded, no search, likelihood": {**EMBEDDED, "search": "seed_only", "reward": "log_likelihood"},
    "loopback, ape": {**REMOTE, "search": {"name": "ape", "num_prompts_per_subsample": 10}},
    "loopback, ape, $0.01 at most": {**REMOTE, "search": "ape", "budget": {"usd": 0.01}},
    "loopback, opro, 2,000 calls": {**REMOTE, "search": "opro", "budget": {"calls": 2000}},
    "loopback, votes of 5": {
        **REMOTE, "search": "paraphrases", "program": {"name": "self_consistency", "n": 5}
    },
}  # fmt: skip


def main() -> int:
    """Forecast and run each job."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planner", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    options = parser.parse_args()
    print(f"{'forecast / run':<36}{'calls':>18}{'tokens':>22}{'US dollars':>20}{'seconds':>16}{'worst':>8}")
    foresee(lambda: from_job(job_from_dict(EMBEDDED)))  # imports what local models need
    worst = 0.0
    for name, data in JOBS.items():
        if options.only in name:
            worst = max(worst, _compare(name, data))
    return int(worst > TOLERANCE)


def _compare(name: str, data: dict[str, Any]) -> float:
    """Print a job's line; return its worst relative error."""
    local = data["target"]["model"].startswith("embedded")
    clock = time.process_time if local else time.perf_counter
    with _ready(data) as (job, folder):
        foreseen = foresee(lambda: from_job(job), LATENCY, clock)
        if isinstance(foreseen, str) or foreseen.seconds is None:
            print(f"{name:<36}{foreseen}")
            return 1.0
        begun = clock()
        total = run_job(job, folder=folder / "run").total
        seconds = clock() - begun
    pairs = [
        (foreseen.total.calls, total.calls),
        (foreseen.total.tokens, total.tokens),
        (foreseen.total.usd, total.usd),
        (foreseen.seconds, seconds),
    ]
    errors = [abs(said - took) / took for said, took in pairs[: 4 if local else 3] if took]
    shown = [
        f"{said:,.{digits}f}/{took:,.{digits}f}"
        for (said, took), digits in zip(pairs, (0, 0, 4, 1), strict=True)
    ]
    if not local:
        shown[3] = f"({shown[3]})"
    print(
        f"{name:<36}{shown[0]:>18}{shown[1]:>22}{shown[2]:>20}{shown[3]:>16}{max(errors):>8.0%}", flush=True
    )
    return max(errors)


@contextmanager
def _ready(data: dict[str, Any]) -> Iterator[tuple[Any, Path]]:
    """Yield the job, with a server if it needs one, and a folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if data["target"]["model"].startswith("embedded"):
            yield job_from_dict(data), folder
            return
        rows = ({"question": f"Is {i} odd?", "output": "yes" if i % 2 else "no"} for i in range(230))
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sizes = {"search": 100, "select": 60, "test": 70}
        with running(Profile(LATENCY)) as url:
            target = {**data["target"], "base_url": url}
            source = {"path": str(folder / "rows.jsonl"), "sizes": sizes}
            yield job_from_dict({**data, "data": source, "target": target}), folder


if __name__ == "__main__":
    raise SystemExit(main())
