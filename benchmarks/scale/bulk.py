"""What a scoring job takes, by its size: `python -m benchmarks.scale.bulk`.

`promptopt score --data FILE --out FOLDER` in a process of its own, with a function that costs nothing as the
target: what is measured is promptopt. Constant memory means that the peak does not grow with the rows. Every
cell must be in the files once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIZES = (10_000, 100_000, 1_000_000)
GROWTH = 1.25
"""Most that the peak may grow from the smallest size to the largest."""
MODEL = 'def reply(messages):\n    return "yes" if len(messages[-1]["content"]) % 2 else "no"\n'
JOB = {
    "data": "rows.jsonl", "prompt": "Is it odd? {{question}}", "target": "python/model.py:reply",
    "reward": "exact_match", "search": "seed_only",
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What scoring so many cells took: bytes at the peak, seconds of wall time and of the processor."""

    cells: int
    peak: int
    seconds: float
    cpu: float
    found: int


def measure(cells: int) -> Taken:
    """Score so many cells in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "model.py").write_text(MODEL)
        (folder / "job.yaml").write_text(json.dumps(JOB))
        _write(folder / "rows.jsonl", 60)
        _write(folder / "all.jsonl", cells)
        words = ["score", "job.yaml", "--data", "all.jsonl", "--out", "cells", "--quiet"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "promptopt.cli", *words], cwd=folder, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        found = sum(_rows(folder / "cells"))
    kib = 1 if sys.platform == "darwin" else 1024
    return Taken(cells, usage.ru_maxrss * kib, seconds, usage.ru_utime + usage.ru_stime, found)


def _write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for i in range(rows):
            row = {"id": str(i), "question": f"Is {i} odd?", "output": "yes" if i % 2 else "no"}
            file.write(json.dumps(row) + "\n")


def _rows(folder: Path) -> Iterator[int]:
    """Yield how many cells each file holds; each has rows of its own."""
    import pyarrow.compute
    import pyarrow.parquet

    last = -1
    for path in sorted(folder.glob("part-*.parquet")):
        rows = pyarrow.parquet.read_table(path, columns=["row"]).column("row")
        ends = pyarrow.compute.min_max(rows).as_py()
        assert ends["min"] == last + 1
        last = ends["max"]
        yield len(rows.unique())


def main() -> int:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.bulk", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="some numbers of cells")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    print("     cells   peak MB   seconds   CPU us a cell   cells in files")
    taken = []
    for size in sizes:
        one = measure(size)
        taken.append(one)
        print(
            f"{one.cells:>10,}{one.peak / 1e6:>10.1f}{one.seconds:>10.1f}{one.cpu / one.cells * 1e6:>16.0f}"
            f"{one.found:>17,}",
            flush=True,
        )
    complete = all(one.found == one.cells for one in taken)
    return int(not complete or taken[-1].peak > GROWTH * taken[0].peak)


if __name__ == "__main__":
    raise SystemExit(main())
