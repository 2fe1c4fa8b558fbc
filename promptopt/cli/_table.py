"""Where tables are drawn: as wide as the terminal, and whole when piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

PIPED = 160


def console() -> Console:
    """Return a console on standard output; only a terminal cuts what is too wide."""
    return Console(width=None if sys.stdout.isatty() else PIPED, highlight=False, soft_wrap=False)


def table(first: str, numbers: Mapping[str, int]) -> Table:
    """Return an empty table: a column of texts, then columns of numbers by name and least width."""
    made = Table(box=None, pad_edge=False)
    made.add_column(first, overflow="ellipsis", no_wrap=True)
    for name, width in numbers.items():
        made.add_column(name, justify="right", no_wrap=True, min_width=width)
    return made
