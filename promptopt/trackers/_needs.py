"""Whether the library of a tracker is installed; it is imported when a run begins."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import MissingExtra


def need(package: str, tracker: str) -> None:
    """Raise MissingExtra unless a package is installed."""
    if find_spec(package) is None:
        raise MissingExtra(f"tracker {tracker!r}", package, "track")
