"""Where tables are drawn: as wide as the terminal, and whole when piped."""

from __future__ import annotations

import sys

from rich.console import Console

PIPED = 160


def console() -> Console:
    """Return a console on standard output; only a terminal cuts what is too wide."""
    return Console(width=None if sys.stdout.isatty() else PIPED, highlight=False, soft_wrap=False)
