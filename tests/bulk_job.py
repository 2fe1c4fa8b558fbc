"""A job that scores a file of numbers, and what is left of it: the calls that were made, the cells."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from promptopt.api_bulk import score_file
from promptopt.config import load_job

MODEL = """
import os
from pathlib import Path

def reply(messages):
    log = Path(__file__).with_name("calls.log")
    with log.open("a") as file:
        file.write(messages[-1]["content"].replace("\\n", " ") + "\\n")
    number = int(messages[-1]["content"].split()[-1])
    if os.environ.get("FAIL_AT") == str(number):
        raise KeyboardInterrupt
    return "yes" if number % 2 else "no"
"""


def write(path: Path, many: int, wrong: int = 0) -> Path:
    rows = (
        {"id": f"r{i}", "number": str(i), "output": "yes" if (i % 2) != (i < wrong) else "no"}
        for i in range(many)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_job(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    write(tmp_path / "rows.jsonl", 60)
    job = {
        "data": "rows.jsonl", "prompt": "Is it odd? {{number}}", "target": "python/model.py:reply",
        "reward": "exact_match", "search": "seed_only", **changes,
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    return tmp_path / "job.yaml"


def asked(tmp_path: Path) -> Counter[str]:
    log = tmp_path / "calls.log"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def cells(folder: Path) -> list[dict[str, Any]]:
    """Return all cells of JSON-lines parts, by row."""
    lines = [line for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda cell: (cell["row"], cell["prompt"]))


def run(tmp_path: Path, **options: Any) -> Any:
    given = {"format": "jsonl", "part": 10, "folder": tmp_path / "out", **options}
    return score_file(load_job(tmp_path / "job.yaml"), tmp_path / "all.jsonl", **given)
