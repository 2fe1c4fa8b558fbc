"""TensorBoard: scalars in event files, written without torch or TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contracts.tracker import TrackedRun
from ..errors import ConfigError
from ._needs import need


class Board:
    """Writes the scalars of one run into event files.

    Args:
        folder: of the files; made if it is not there.
        purge: what an earlier process wrote from this step on counts no more.
    """

    def __init__(self, folder: str | Path, purge: int = 0) -> None:
        """Open a new file."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer: Any = EventFileWriter(str(folder))
        self._add(purge, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write values down; they are in the file when this returns."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=Summary(value=scalars))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(step=step, wall_time=time.time(), **content))


@dataclass
class TensorBoard:
    """Event files in the run's folder, under `tensorboard/`; nothing leaves the machine.

    Attributes:
        folder: where to write instead.
    """

    folder: str = ""
    _board: Board | None = field(default=None, init=False, repr=False, compare=False)
    _last: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """See that tensorboard is there."""
        need("tensorboard", "tensorboard")

    def begin(self, run: TrackedRun) -> None:
        """Open the files; a resumed run writes its steps again."""
        if not self.folder and run.folder is None:
            raise ConfigError("tensorboard", "a run in memory has no folder", do="give the tracker one")
        self._board = Board(self.folder or str(run.folder and run.folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        assert self._board is not None
        self._last = step
        self._board.add(step, values)

    def end(self, summary: Mapping[str, float | str] | None) -> None:
        """Write the result's numbers, and close."""
        assert self._board is not None
        numbers = {key: value for key, value in (summary or {}).items() if not isinstance(value, str)}
        if numbers:
            self._board.add(self._last, numbers)
        self._board.close()
