"""Time contenders in turns, in one process, and say how they compare."""

from __future__ import annotations

import json
import resource
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def seconds(run: Callable[[], object], device: str) -> float:
    """Return CPU seconds (they do not count what else the machine does), or seconds where a GPU works."""
    if not device.startswith("cuda"):
        begin = time.process_time()
        run()
        return time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


@dataclass
class Bench:
    """Runs contenders on a device, and writes down what it finds at once.

    Attributes:
        device: where they work.
        rounds: how often each is timed.
        budget: seconds after which a contender is not timed again, and which a sample of cells is cut to.
        about: what every record says.
        out: a file for records as lines of JSON; None is none.
    """

    device: str
    rounds: int
    budget: float
    about: Mapping[str, Any]
    out: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        """Whether a GPU works."""
        return self.device.startswith("cuda")

    def attempt(self, name: str, run: Callable[[], Item]) -> Item | None:
        """Run what may fail; say so, and return None then: one contender is not to stop the others."""
        try:
            return run()
        # Whatever a contender's libraries raise, and out of memory.
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            traceback.print_exc()
            print(f"FAILED {name}: {self.failed[name]}", flush=True)
        if self.gpu:
            torch.cuda.empty_cache()
        return None

    def cut(
        self, name: str, run: Callable[[Sequence[Item]], object], groups: Sequence[Sequence[Item]]
    ) -> list[Item]:
        """Return the items of as many groups as `run` gets through in a share of the budget; at least one."""
        first = list(groups[0])
        if self.attempt(name, lambda: seconds(lambda: run(first), self.device)) is None:
            return []
        took = self.attempt(name, lambda: seconds(lambda: run(first), self.device))
        count = max(1, int(self.budget / self.rounds / max(took or self.budget, 1e-6)))
        return [item for group in groups[:count] for item in group]

    def in_turns(self, runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Return the median time of each, measured one after the other, several times."""
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self.rounds):
            for name, run in runs.items():
                if sum(times[name]) > self.budget or name in self.failed:
                    continue
                took = self.attempt(name, lambda run=run: seconds(run, self.device))  # type: ignore[misc]
                if took is not None:
                    times[name].append(took)
        return {name: statistics.median(values) for name, values in times.items() if values}

    def peak(self, run: Callable[[], object]) -> float | None:
        """Return by how many MiB a run raises the memory of the GPU at most; None on a CPU."""
        if not self.gpu:
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def write(self, record: Mapping[str, Any]) -> None:
        """Print a record, and append it to the file."""
        whole = {
            **self.about,
            **{key: rounded(value) for key, value in record.items()},
            "failed": self.failed,
        }
        print(json.dumps({key: whole[key] for key in (*record, "failed")}), flush=True)
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(json.dumps(whole) + "\n")
        self.failed = {}


def rounded(value: Any) -> Any:
    """Return floats with four digits that count."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def peak() -> str:
    """Return the most memory so far."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() >> 20} MiB on the GPU"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB of the process"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return records as a Markdown table; what is nested gets a column each."""
    flat = [
        {
            (f"{key}: {inner}" if inner else key): item
            for key, value in row.items()
            for inner, item in (value.items() if isinstance(value, Mapping) else [("", value)])
        }
        for row in map(rounded, rows)
    ]
    header = list(dict.fromkeys(key for row in flat for key in row))
    lines = [header, ["---"] * len(header), *([row.get(key, "") for key in header] for row in flat)]
    return "\n".join(f"| {' | '.join('' if x is None else str(x) for x in line)} |" for line in lines)
