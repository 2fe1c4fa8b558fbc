"""Row by row: what the seed prompt and the winner answered, what became of each row, and slices of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby

from ..proof.stats import paired_interval
from ..records import Example
from .archive import CellRow
from .columns import Extra
from .summary import Answer, Change, RowResult, Slice

MOST_VALUES = 12
"""A column with more values is no column to slice by."""
LENGTH = "length of the input"
ORDER: tuple[Change, ...] = ("fixed", "broke", "wrong", "missing", "right")


def answers(cells: Iterable[CellRow]) -> dict[str, Answer]:
    """Return what a prompt answered, by row id; the reply shown is that of the first sample that has one."""
    found: dict[str, Answer] = {}
    for example, group in groupby(cells, key=lambda cell: cell.example):
        samples = list(group)
        answered = [cell for cell in samples if cell.status == "ok"]
        shown = (answered or samples)[0]
        value = math.fsum(cell.value for cell in answered) / len(answered) if answered else None
        found[example] = Answer(shown.output, value, shown.feedback, shown.reason, len(samples))
    return found


def row_results(
    before: Mapping[str, Answer],
    after: Mapping[str, Answer],
    rows: Mapping[str, tuple[str, Example]],
    split: str,
) -> tuple[RowResult, ...]:
    """Join what two prompts answered; what was fixed comes first, then what broke, what stayed wrong."""
    found = [
        RowResult(
            name,
            split,
            rows[name][1] if name in rows else None,
            before.get(name),
            after.get(name),
            _change(before.get(name), after.get(name)),
        )
        for name in dict.fromkeys([*before, *after])
    ]
    return tuple(sorted(found, key=lambda row: ORDER.index(row.change)))


def _change(before: Answer | None, after: Answer | None) -> Change:
    if before is None or after is None or before.value is None or after.value is None:
        return "missing"
    if after.value != before.value:
        return "fixed" if after.value > before.value else "broke"
    return "right" if after.value >= 1 else "wrong"


def slices(rows: Sequence[RowResult], extra: Extra | None = None, *, seed: int = 0) -> tuple[Slice, ...]:
    """Return the rows by each value of each column that has few, and by how long their inputs are.

    Intervals are those of one slice; who looks at twenty finds one that misses by chance.

    Args:
        rows: from `row_results`.
        extra: columns that are no input.
        seed: of the intervals' resamples.
    """
    able = [row for row in rows if row.row is not None and row.change != "missing"]
    found: list[Slice] = []
    for column, value_of in _columns([row.row for row in able if row.row is not None], extra or {}).items():
        values: dict[str, list[RowResult]] = {}
        for row in able:
            if row.row is not None:
                values.setdefault(value_of(row.row), []).append(row)
        if 1 < len(values) <= MOST_VALUES and len(values) <= len(able) / 2:
            order = sorted(values, key=lambda value: (-len(values[value]), value))
            if column == LENGTH:
                order = sorted(
                    values, key=lambda value: min(_length(one.row) for one in values[value] if one.row)
                )
            found += [_slice(column, value, values[value], seed) for value in order]
    return tuple(found)


def _columns(rows: Sequence[Example], extra: Extra) -> dict[str, Callable[[Example], str]]:
    names = list(rows[0].inputs) if rows else []
    columns: dict[str, Callable[[Example], str]] = {name: partial(_input, name) for name in names}
    columns |= {name: partial(_extra, values) for name, values in extra.items()}
    columns["answer"] = lambda row: row.answer
    if any(row.group is not None for row in rows):
        columns["group"] = lambda row: row.group or "none"
    lengths = sorted(_length(row) for row in rows)
    if lengths and lengths[0] < lengths[-1]:
        low, high = lengths[len(lengths) // 3], lengths[2 * len(lengths) // 3]
        columns[LENGTH] = lambda row: _third(_length(row), low, high)
    return columns


def _input(name: str, row: Example) -> str:
    return row.inputs.get(name, "")


def _extra(values: Mapping[str, str], row: Example) -> str:
    return values.get(row.id, "")


def _length(row: Example) -> int:
    return sum(map(len, row.inputs.values()))


def _third(length: int, low: int, high: int) -> str:
    if length <= low:
        return f"up to {low:,} characters"
    return f"up to {high:,} characters" if length <= high else f"over {high:,} characters"


def _slice(column: str, value: str, rows: Sequence[RowResult], seed: int) -> Slice:
    pairs = [
        (row.before.value, row.after.value)
        for row in rows
        if row.before is not None and row.after is not None
    ]
    before = [value for value, _ in pairs if value is not None]
    after = [value for _, value in pairs if value is not None]
    differences = [b - a for a, b in zip(before, after, strict=True)]
    n = len(differences)
    return Slice(
        column,
        value,
        n,
        math.fsum(before) / n,
        math.fsum(after) / n,
        math.fsum(differences) / n,
        paired_interval(differences, seed=seed, groups=shared_groups([_group(row) for row in rows])),
    )


def _group(row: RowResult) -> str | None:
    return None if row.row is None else row.row.group


def shared_groups(groups: Sequence[str | None]) -> list[str | None] | None:
    """Return the groups, or None when no two rows share one: then rows are independent."""
    named = [group for group in groups if group is not None]
    return list(groups) if len(set(named)) < len(named) else None
