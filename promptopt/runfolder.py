"""A run's folder on disk: config, environment, journal, candidates, the winner, the result.

`config.lock.yaml, env.json, journal.sqlite, rows.jsonl, history.jsonl, candidates.jsonl, best/, result.json,
report.html`. A folder belongs to one process at a time; a file named `stop`, from whomever, ends the run.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from .errors import DataError, JournalError
from .filelock import try_lock
from .records import Example
from .strict_yaml import dump, load
from .study import Study

State = Literal["done", "interrupted", "running"]
PACKAGES = ("promptopt", "numpy", "openai", "optuna", "pydantic", "torch", "transformers", "trl", "peft")
LOCK = "config.lock.yaml"
RESULT = "result.json"
PRIVATE = 0o700
"""Prompts and rows may be confidential: a run's folder is for its owner alone."""
POLL = 0.2
"""Seconds between two looks for the file `stop`, and for which a lock is tried."""
TRIES = 4


class RunFolder:
    """Paths and writers of one run's folder."""

    def __init__(self, path: str | Path) -> None:
        """Name the folder; nothing is created yet."""
        self.path = Path(path)

    @classmethod
    def create(cls, parent: str | Path, name: str) -> RunFolder:
        """Make a new folder `parent/name-NNN` and point `parent/latest` at it."""
        stem = re.sub(r"[^\w.-]+", "-", name).strip("-") or "run"
        root = Path(parent)
        root.mkdir(parents=True, exist_ok=True)
        taken = [
            int(m[1]) for p in root.iterdir() if (m := re.fullmatch(re.escape(stem) + r"-(\d+)", p.name))
        ]
        number = max(taken, default=0) + 1
        while True:
            folder = root / f"{stem}-{number:03d}"
            try:
                folder.mkdir(mode=PRIVATE)
                break
            except FileExistsError:
                number += 1
        _point_latest(folder)
        return cls(folder)

    def discard(self) -> None:
        """Remove a folder in which nothing was bought; `latest` is what it was before."""
        shutil.rmtree(self.path)
        latest = self.path.parent / "latest"
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
            runs = [path for path in self.path.parent.iterdir() if RunFolder(path).lock_file.exists()]
            if runs:
                _point_latest(max(runs, key=lambda path: RunFolder(path).lock_file.stat().st_mtime_ns))

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            DataError: there is no run.
        """
        folder = cls(Path(path).resolve())
        if not folder.journal.exists() and not folder.lock_file.exists():
            raise DataError(str(path), "is not a run's folder", do="name one that `promptopt ls` shows")
        return folder

    @property
    def journal(self) -> Path:
        """The SQLite file."""
        return self.path / "journal.sqlite"

    @property
    def lock_file(self) -> Path:
        """The job, every default written out."""
        return self.path / LOCK

    @property
    def result_file(self) -> Path:
        """The result; absent while the run is not done."""
        return self.path / RESULT

    @property
    def report_file(self) -> Path:
        """The report that a finished run writes."""
        return self.path / "report.html"

    @property
    def history_file(self) -> Path:
        """How the run went, a line of JSON each."""
        return self.path / "history.jsonl"

    @property
    def rows_file(self) -> Path:
        """The rows that cells are of; test rows from the moment on when they are opened."""
        return self.path / "rows.jsonl"

    @property
    def stop_file(self) -> Path:
        """What ends the run when somebody writes it."""
        return self.path / "stop"

    @property
    def workdir(self) -> Path:
        """Where trainers keep checkpoints."""
        return self.path / "work"

    @property
    def study(self) -> str | None:
        """The database that keeps its journal, if it is not kept here."""
        if not self.lock_file.exists():
            return None
        lock = load(self.lock_file).value
        study = lock.get("study") if isinstance(lock, dict) else None
        return None if study is None else str(study)

    def result(self) -> dict[str, Any] | None:
        """Return what `result.json` holds, or None while the run is not done.

        Raises:
            DataError: the file is broken.
        """
        try:
            data: dict[str, Any] = json.loads(self.result_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(
                str(self.result_file), f"cannot be read: {error}",
                do=f"`promptopt resume {self.path}` writes it again",
            ) from error  # fmt: skip
        return data

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes out; the claim ends with the process, however it ends.

        Raises:
            JournalError: another process has it, or it cannot be made.
        """
        with _telling(self.path):
            self.path.mkdir(PRIVATE, parents=True, exist_ok=True)
        with claimed(self.path / ".lock", str(self.path)):
            yield

    @property
    def state(self) -> State:
        """Whether the run is done, under way in some process, or neither."""
        if self.result_file.exists():
            return "done"
        lock = self.path / ".lock"
        if not lock.exists():
            return "interrupted"
        with lock.open("a+b") as handle:
            return "interrupted" if try_lock(handle) else "running"

    def stop_watch(self) -> Callable[[], bool]:
        """Begin without a wish to stop; return what says whether somebody has that wish."""
        self.stop_file.unlink(missing_ok=True)
        looked, asked = 0.0, False

        def stopped() -> bool:
            nonlocal looked, asked
            now = time.monotonic()
            if not asked and now - looked > POLL:
                looked, asked = now, self.stop_file.exists()
            return asked

        return stopped

    def write_rows(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Write the rows of all splits."""
        lines = (
            json.dumps({**row.to_dict(), "split": split}) for split, rows in splits.items() for row in rows
        )
        with _telling(self.path):
            write_whole(self.rows_file, "".join(line + "\n" for line in lines))

    def rows(self) -> dict[str, tuple[str, Example]]:
        """Return split and row by the row's id; empty for a run that kept none."""
        if not self.rows_file.exists():
            return {}
        found: dict[str, tuple[str, Example]] = {}
        with self.rows_file.open(encoding="utf-8") as lines:
            for line in lines:
                data = json.loads(line)
                found[data["id"]] = (data["split"], Example.from_dict(data))
        return found

    def write_start(self, lock: dict[str, Any]) -> None:
        """Write the job and the environment."""
        with _telling(self.path):
            self._write_start(lock)

    def _write_start(self, lock: dict[str, Any]) -> None:
        write_whole(self.lock_file, dump(lock))
        write_whole(self.path / "env.json", json.dumps(environment(), indent=2) + "\n")

    def write_study(self, study: Study) -> None:
        """Write candidates, the winner and, last, the result."""
        with _telling(self.path):
            self._write_study(study)

    def _write_study(self, study: Study) -> None:
        lines = (json.dumps(candidate.to_dict(), ensure_ascii=False) for candidate in study.candidates)
        write_whole(self.path / "candidates.jsonl", "".join(line + "\n" for line in lines))
        study.best.save(self.path / "best" / "prompt.json")
        write_whole(self.path / "best" / "prompt.txt", study.best.instruction + "\n")
        write_whole(self.result_file, json.dumps(study.to_dict(), indent=2, ensure_ascii=False) + "\n")


def _point_latest(folder: Path) -> None:
    with suppress(OSError):  # a file system without links still has the folder itself
        fresh = folder.parent / f".latest-{os.getpid()}"
        fresh.symlink_to(folder.name)
        fresh.replace(folder.parent / "latest")


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turn the refusal of a file system into one line; what is in the journal is safe."""
    try:
        yield
    except OSError as error:
        raise JournalError(
            str(folder), f"cannot be written: {error.strerror or error}",
            do="mend this; `promptopt resume` goes on where the run was",
        ) from error  # fmt: skip


@contextmanager
def claimed(lock: Path, where: str) -> Iterator[None]:
    """Hold a lock file, so that one process at a time works on `where`.

    Raises:
        JournalError: another process holds it.
    """
    with lock.open("a+b") as handle:
        tries = 0
        while not try_lock(handle):
            if (tries := tries + 1) < TRIES:  # it may only have been looked at (`RunFolder.state`)
                time.sleep(POLL / TRIES)
                continue
            raise JournalError(where, "another process is working on it", do="wait for it, or stop it")
        yield


def environment() -> dict[str, Any]:
    """Return Python, platform and package versions: what one needs to explain a difference."""
    packages: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": packages}


def write_whole(path: Path, text: str) -> None:
    """Write a whole file or nothing: into a neighbour first, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8", errors="surrogatepass")
    fresh.replace(path)
