"""What a prompt did with rows, laid out for a proposer that is to say what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from promptopt.records import Cell, Evaluation, Example
from promptopt.template import fill, label, slots

from ._meta import ERROR

TRACE = ERROR + "\nFeedback: {{feedback}}"
"""One row of a trace. A line is left out where its `{{expected}}` or `{{feedback}}` has nothing to say."""

OPTIONAL = ("expected", "feedback")
WORDS = re.compile(r"\w+")
SAID_ANYWAY = frozenset(("correct", "expected", "or", "but", "the", "reply", "was", "empty"))


def traces(evaluation: Evaluation) -> list[Cell]:
    """Return one ok cell a row, its worst sample, in the order of the rows."""
    worst: dict[str, Cell] = {}
    for cell in evaluation.cells:
        if cell.status == "ok" and (cell.example not in worst or cell.value < worst[cell.example].value):
            worst[cell.example] = cell
    return list(worst.values())


def errors(evaluation: Evaluation) -> list[Cell]:
    """Return the traces that score less than 1.

    Where scores go above 1, nobody knows the highest: those that score less than the best row, or all if all
    are equal.
    """
    cells = traces(evaluation)
    top = max([1.0, *(cell.value for cell in cells)])
    below = [cell for cell in cells if cell.value < top - 1e-9]
    return below if below or top <= 1 else cells


def show_traces(
    cells: Sequence[Cell], rows: Mapping[str, Example], fields: Sequence[str], layout: str = TRACE
) -> str:
    """Lay cells out, with an empty line between them.

    Args:
        cells: ok cells.
        rows: the rows they are of, by id.
        fields: names of the input columns.
        layout: with the slots `input` (the only input column, or a line `Name: value` for each), `output`,
            `expected`, `feedback` (the reward's), and the input columns by name.
    """
    return "\n\n".join(_show(cell, rows[cell.example], fields, layout) for cell in cells)


def _show(cell: Cell, row: Example, fields: Sequence[str], layout: str) -> str:
    named = "\n".join(f"{label(name)}: {row.inputs[name]}" for name in fields)
    values = {
        **row.inputs,
        "input": row.inputs[fields[0]] if len(fields) == 1 else named,
        "output": cell.output,
        "expected": row.answer,
        "feedback": _feedback(cell, row),
    }
    return fill("\n".join(line for line in layout.split("\n") if _says(line, values)), values)


def _says(line: str, values: Mapping[str, str]) -> bool:
    return all(values[name] for name in slots(line) if name in OPTIONAL)


def _feedback(cell: Cell, row: Example) -> str:
    """Return the reward's feedback, or nothing if it only repeats the output and the answer."""
    text = cell.score.feedback if cell.score is not None else ""
    known = {word.lower() for said in (cell.output, row.answer) for word in WORDS.findall(said)}
    news = {word.lower() for word in WORDS.findall(text)} - known - SAID_ANYWAY
    return text if news else ""
