"""Folders of weights that were shipped to this machine, by the names under which they are asked for."""

from __future__ import annotations

from pathlib import Path

_folders: dict[tuple[str, str | None], Path] = {}


def note(name: str, revision: str | None, folder: Path) -> None:
    """Say where the folder or hub id of this name and revision is, in this process."""
    _folders[name, revision] = folder


def find(name: str, revision: str | None) -> Path | None:
    """Return the folder that was shipped under a name; None if none was."""
    return _folders.get((name, revision))
