"""The contract of trackers: where the curves of a run go besides its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run: names and settings, neither prompts nor rows, and no secret.

    Attributes:
        name: what the run is called.
        key: the same for a run and its resumption, and no other; 16 hexadecimal digits.
        folder: where the run is kept; None for a run in memory.
        settings: target, proposer, reward, searchers, selector, seed, caps, rows by split.
    """

    name: str
    key: str
    folder: Path | None
    settings: Mapping[str, str | int | float]


@runtime_checkable
class Tracker(Protocol):
    """Told of a run in order, in a thread of its own: whatever it breaks or holds up, the run goes on."""

    def begin(self, run: TrackedRun) -> None:
        """Start, or take up again what an interrupted run of the same key has left."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take measurements; `step` is the number of model calls so far, and never falls."""
        ...

    def end(self, summary: Mapping[str, float | str] | None) -> None:
        """Close: the result in numbers, and `verdict` in words; None when the run was interrupted."""
        ...
