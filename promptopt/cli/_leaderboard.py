"""How a leaderboard is printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the help must not wait for it
    from ..leaderboard import Entry

WIDE = 100
"""Columns of a terminal that shows cells, tokens and seconds, too; a narrower one shows prompts instead."""


def print_leaderboard(entries: Sequence[Entry]) -> None:
    """Print one line a searcher, the best first; `*` marks the winner's."""
    from rich.text import Text

    from ..progress import count, tokens_text, usd_text
    from ..proof.stats import format_number, format_p
    from ..visible import one_line
    from ._table import console, say, table

    priced = any(entry.spent.usd for entry in entries)
    tested = all(entry.verdict is None or entry.verdict.held_out for entry in entries)
    score = "test" if tested else "estimate"
    wide = console().width >= WIDE
    numbers = {score: 16, "gain": 17, "p": 6, **({"cells": 5} if wide else {}), "calls": 5}
    numbers |= {"tokens": 6, "seconds": 7} if wide else {}
    drawn = table("searcher", numbers | ({"$": 6} if priced else {}))
    drawn.add_column("prompt", overflow="ellipsis", no_wrap=True)
    for entry in entries:
        spent, verdict = entry.spent, entry.verdict
        judged = ["", "", ""]
        if verdict is not None and verdict.best is not None and verdict.difference is not None:
            judged = [
                f"{format_number(verdict.best)} {verdict.best_interval}",
                f"{format_number(verdict.difference, sign=True)} {verdict.interval}",
                format_p(entry.p if entry.p is not None else 1.0),
            ]
        prompt = f"failed: {entry.failure}" if entry.best is None else _words(entry)
        drawn.add_row(
            Text(f"{'*' if entry.chosen else ' '} {entry.searcher}"),
            *map(Text, judged),
            *([count(entry.cells)] if wide else []),
            count(spent.calls),
            *([tokens_text(spent.tokens), f"{spent.seconds:,.1f}"] if wide else []),
            *([usd_text(spent.usd)] if priced else []),
            Text(one_line(prompt)),
        )
    rows = "on the test rows" if tested else "estimated on the select rows, no held-out proof"
    say(
        "leaderboard:",
        f"score and gain over your prompt {rows}, p by Holm over the searchers; what each used "
        "as if alone; * was chosen on the select rows",
        13,
    )
    sys.stdout.flush()
    console().print(drawn)


def _words(entry: Entry) -> str:
    if entry.verdict is not None and entry.verdict.same_prompt:
        return "(yours)"
    return "" if entry.best is None else entry.best.label
