"""What a training run leaves on disk, a line a step and checkpoints, and what of it is whole after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATE = "trainer_state.json"
"""What the trainer writes into a checkpoint last."""


class StepLog:
    """A line of JSON a step, on disk before the next step begins."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is created yet."""
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a step down."""
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")
            out.flush()
            os.fsync(out.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Return the steps, up to a line that a kill has torn."""
        records: list[dict[str, Any]] = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
        return records

    def keep(self, steps: int) -> list[dict[str, Any]]:
        """Drop all but the first `steps` steps, and return these."""
        kept = [record for record in self.read() if record["step"] < steps]
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        fresh.replace(self.path)
        return kept


def newest_checkpoint(folder: Path, needed: tuple[str, ...]) -> tuple[Path, int] | None:
    """Return the newest checkpoint that is whole, and the optimizer steps behind it; None without one.

    Args:
        folder: where the trainer writes `checkpoint-N` folders.
        needed: files that a whole one has besides `trainer_state.json`.
    """
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            step = json.loads((path / STATE).read_text(encoding="utf-8"))["global_step"]
        except (OSError, ValueError, KeyError):
            continue
        if all((path / name).is_file() for name in needed):
            found.append((step, path))
    return max(((path, step) for step, path in found), key=lambda one: one[1], default=None)
