"""The runs of a folder, in a line each: cheap enough to look at every second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ledger import Spent
from ..progress import amounts, clock_text
from ..proof.stats import format_number
from ..proof.verdict import Verdict
from ..runfolder import LOCK, RunFolder, State
from ..strict_yaml import load


@dataclass(frozen=True, slots=True)
class Line:
    """A run in the list.

    Attributes:
        name: of its folder.
        state: done, interrupted or running.
        target: the model.
        searchers: their names.
        best: the winner's mean; empty while there is none.
        verdict: its line.
        good: whether the improvement is reliable.
        spent: calls, tokens, dollars.
        seconds: wall time, in words.
        changed: when the folder last changed, in words.
    """

    name: str
    state: State
    target: str = ""
    searchers: str = ""
    best: str = ""
    verdict: str = ""
    good: bool = False
    spent: str = ""
    seconds: str = ""
    changed: str = ""


class Shelf:
    """A folder of runs; only what it lists can be asked for by name."""

    def __init__(self, root: Path) -> None:
        """Name the folder."""
        self.root = root

    def folders(self) -> dict[str, RunFolder]:
        """Return the runs by name, latest first."""
        found = {path.parent for name in (LOCK, "journal.sqlite") for path in self.root.glob(f"*/{name}")}
        known = sorted((path for path in found if not path.is_symlink()), key=_changed, reverse=True)
        return {path.name: RunFolder(path) for path in known}

    def lines(self) -> list[Line]:
        """Return all runs, latest first."""
        return [line_of(folder) for folder in self.folders().values()]


def _changed(path: Path) -> float:
    files = ("history.jsonl", "journal.sqlite", LOCK)
    return max((f.stat().st_mtime for name in files if (f := path / name).exists()), default=0.0)


def job_words(folder: RunFolder) -> tuple[str, str]:
    """Return target and searchers of a run, as its job names them."""
    lock = load(folder.lock_file).value if folder.lock_file.exists() else {}
    return _name(lock.get("target"), "model"), ", ".join(_names(lock.get("search")))


def _names(search: Any) -> list[str]:
    several = search if isinstance(search, list) else [search]
    return [name for one in several if (name := _name(one, "name"))]


def _name(given: Any, key: str) -> str:
    if isinstance(given, Mapping):
        return str(given.get(key, ""))
    return "" if given is None else str(given)


def line_of(folder: RunFolder) -> Line:
    """Return a run's line."""
    target, searchers = job_words(folder)
    moment = _changed(folder.path)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else ""
    result = folder.result()
    if result is None:
        return Line(folder.path.name, folder.state, target, searchers, changed=when)
    verdict = Verdict.from_dict(result["verdict"])
    spent = sum((Spent(**part) for part in result["spent"].values()), Spent())
    return Line(
        folder.path.name,
        "done",
        target,
        searchers,
        "" if verdict.best is None else format_number(verdict.best),
        verdict.line,
        verdict.reliable,
        amounts(spent),
        clock_text(result["seconds"]),
        when,
    )
