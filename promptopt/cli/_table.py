"""Where tables are drawn: as wide as the terminal, and whole when piped."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from ..visible import visible

PIPED = 160


def say(name: str, text: str, indent: int = 8) -> None:
    """Print a named line; on a terminal, what does not fit goes on below, under the text."""
    line = f"{name:<{indent}}{' '.join(visible(text).splitlines())}"
    if sys.stdout.isatty():
        line = textwrap.fill(
            line,
            shutil.get_terminal_size().columns,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    print(line)


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
