"""The rows of a run as CSV, safe to open in a spreadsheet.

A cell that begins like a formula gets an apostrophe before it (OWASP, CSV Injection); what would act on a
screen is written as an escape.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from ..visible import visible
from .summary import Answer, Summary

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def render_csv(summary: Summary) -> str:
    """Return a line for each row: its columns, what both prompts answered, scores, what became of it."""
    names = list(
        dict.fromkeys(name for one in summary.rows if one.row is not None for name in one.row.inputs)
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    shown = [f"input: {name}" for name in names]
    writer.writerow(
        [
            *map(guard, ("id", "split", "change", *shown, "expected")),
            *(
                f"{who} {what}"
                for who in ("seed", "best")
                for what in ("score", "output", "feedback", "failure")
            ),
        ]
    )
    for one in summary.rows:
        inputs = one.row.inputs if one.row is not None else {}
        expected = one.row.answer if one.row is not None else ""
        texts = (one.id, one.split, one.change, *(inputs.get(name, "") for name in names), expected)
        writer.writerow([*map(guard, texts), *_answer(one.before), *_answer(one.after)])
    return out.getvalue()


def guard(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula and no screen for a command."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip(" ").startswith(FORMULA) else shown


def _answer(answer: Answer | None) -> Iterator[str]:
    if answer is None:
        yield from ("", "", "", "")
        return
    yield "" if answer.value is None else f"{answer.value:.6g}"  # a number of ours, not a text
    yield from map(guard, (answer.output, answer.feedback, answer.reason))
