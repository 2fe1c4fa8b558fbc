"""Read rows into examples: which column plays which role, with every error naming its line."""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path

from .data_files import Format, Numbered, Record, parse_json, read_file
from .data_hub import PREFIX, read_hub
from .errors import DataError, did_you_mean
from .records import Example, FrozenMap, digest

ANSWER_NAMES = ("output", "answer", "label", "target")
RESERVED = ("instruction", "demonstrations", "output")
"""Slots a template fills itself, so no input field can have their names."""


@dataclass(frozen=True)
class Columns:
    """Which column plays which role.

    A role left at its default is taken by the column of that name if there is one; a name you give
    yourself must be there; None leaves the role empty.

    Attributes:
        inputs: input columns; a mapping renames (new name -> column); None is every column without
            another role.
        answer: accepted answer, a text or a list of texts. The default also finds `answer`, `label` and
            `target`. None is for tasks whose reward needs no reference.
        options: list of the row's possible answers (in CSV, a JSON list in the cell).
        id: unique name of the row; without it, the id is a hash of the row's content.
        group: rows with the same group belong together: never in two splits.
        split: the split the row is declared for.
    """

    inputs: Sequence[str] | Mapping[str, str] | None = None
    answer: str | None = "output"
    options: str | None = "options"
    id: str | None = "id"
    group: str | None = "group"
    split: str | None = "split"


DEFAULT_COLUMNS = Columns()


@dataclass(frozen=True, slots=True)
class Row:
    """An example with where it came from (`train.jsonl line 12`) and the split it is declared for."""

    example: Example
    origin: str
    split: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """Rows as read, in the order of their source, all with the same input fields.

    Attributes:
        rows: at least one row; the ids of their examples are unique.
        fields: names of the input fields.
    """

    rows: tuple[Row, ...]
    fields: tuple[str, ...]

    def assign(self, split: str) -> Rows:
        """Return the same rows, all declared for `split`."""
        return replace(self, rows=tuple(replace(row, split=split) for row in self.rows))

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples, in order."""
        return tuple(row.example for row in self.rows)

    def __add__(self, other: Rows) -> Rows:
        """Join two sources; an id that both have gets a `#2` in the second.

        Raises:
            DataError: their input fields differ.
        """
        if set(self.fields) != set(other.fields):
            raise DataError(
                other.rows[0].origin,
                f"other input fields than {self.rows[0].origin} ({', '.join(self.fields)})",
                got=list(other.fields),
                do="name the same inputs for both",
            )
        taken = {row.example.id for row in self.rows}
        kept = [
            replace(row, example=replace(row.example, id=_free(row.example.id, taken))) for row in other.rows
        ]
        return Rows((*self.rows, *kept), self.fields)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return iter(self.rows)

    def __repr__(self) -> str:
        """Show size, fields and first origin, not the rows."""
        return f"Rows({len(self)} from {self.rows[0].origin!r}, fields={list(self.fields)})"


Source = str | Path | Rows | Iterable[Mapping[str, object] | Example]


def read(
    source: Source,
    columns: Columns = DEFAULT_COLUMNS,
    *,
    format: Format | None = None,
    hub_split: str | None = None,
    name: str = "rows",
) -> Rows:
    """Read rows from a file, the hub, or Python.

    Args:
        source: a path (.jsonl, .ndjson, .json, .csv, .tsv, .parquet), `hub:owner/name[/config][@split]`,
            or dicts or Examples. A hub name without a split declares each row for the split it is in.
        columns: which column plays which role; Examples have theirs already.
        format: the file's format, if its suffix does not tell.
        hub_split: the split to read of a hub name that has none.
        name: what errors call rows from Python (`rows[3]`).

    Raises:
        DataError: anything wrong with the data, with its line.
        MissingExtra: a Parquet file or a hub name, and the package that reads it is missing.
    """
    if isinstance(source, Rows):
        return source
    if isinstance(source, str) and source.startswith(PREFIX):
        sections = read_hub(source, hub_split)
        return reduce(add, (_build(records, columns, source, split) for split, records in sections))
    if isinstance(source, str | Path):
        return _build(read_file(Path(source), format), columns, str(source))
    items = list(source)
    examples = [item for item in items if isinstance(item, Example)]
    if examples and len(examples) == len(items):
        return _from_examples(examples, name)
    return _build(_from_python(items, name), columns, name)


def _from_python(items: list[Mapping[str, object] | Example], name: str) -> Numbered:
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise DataError(f"{name}[{index}]", "not a dict like the others", got=item)
        yield f"{name}[{index}]", item


def _from_examples(examples: list[Example], name: str) -> Rows:
    fields = tuple(examples[0].inputs)
    seen: dict[str, str] = {}
    rows = []
    for index, example in enumerate(examples):
        where = f"{name}[{index}]"
        if set(example.inputs) != set(fields):
            raise DataError(where, f"other input fields than {name}[0]", got=list(example.inputs))
        for text in (*example.inputs.values(), *example.answers, *example.options):
            if not isinstance(text, str):
                raise DataError(where, f"an Example holds texts, not {type(text).__name__}", got=text)
            _check_unicode(text, where, "text")
        _check_answer(example.answers, example.options, where)
        _claim(example.id, where, seen)
        rows.append(Row(example, where))
    _check_fields({field: field for field in fields}, f"{name}[0]")
    return Rows(tuple(rows), fields)


def _build(records: Numbered, columns: Columns, source: str, split: str | None = None) -> Rows:
    """Convert records to rows; the roles are found once, over the columns of all records."""
    listed = list(records)
    if not listed:
        raise DataError(source, "no rows in it")
    present = list(dict.fromkeys(name for _, record in listed for name in record))
    roles = _assign_roles(columns, present, source)
    rows = []
    seen: dict[str, str] = {}
    taken: set[str] = set()
    for where, record in listed:
        row = _row(record, roles, where, split)
        if roles.id is None:
            row = replace(row, example=replace(row.example, id=_free(row.example.id, taken)))
        else:
            _claim(row.example.id, where, seen)
        rows.append(row)
    return Rows(tuple(rows), tuple(roles.inputs))


@dataclass(frozen=True, slots=True)
class _Roles:
    """The columns found for each role; `inputs` maps field names to columns."""

    inputs: dict[str, str]
    answer: str | None
    options: str | None
    id: str | None
    group: str | None
    split: str | None


def _assign_roles(columns: Columns, present: list[str], where: str) -> _Roles:
    named = _named_inputs(columns.inputs)
    for column in (named or {}).values():
        _require(column, present, where)
    claimed = set((named or {}).values())
    answer = _answer_column(columns, present, claimed, where)
    if answer in claimed:
        raise DataError(where, f"{answer!r} is the answer and an input: the prompt would tell the answer")

    def role(name: str | None, default: str) -> str | None:
        if name == default:
            return name if name in present and name not in claimed and name != answer else None
        return None if name is None else _require(name, present, where)

    options = role(columns.options, "options")
    row_id, group = role(columns.id, "id"), role(columns.group, "group")
    split = role(columns.split, "split")
    if named is None:
        others = {answer, options, row_id, group, split}
        named = {name: name for name in present if name not in others}
    if not named:
        raise DataError(where, "no input column", got=present, do="name one with columns.inputs")
    _check_fields(named, where)
    return _Roles(named, answer, options, row_id, group, split)


def _named_inputs(inputs: Sequence[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {name: name for name in ([inputs] if isinstance(inputs, str) else inputs)}


def _require(column: str, present: list[str], where: str) -> str:
    if column not in present:
        raise DataError(where, f"no column {column!r}", do=did_you_mean(column, present))
    return column


def _answer_column(columns: Columns, present: list[str], claimed: set[str], where: str) -> str | None:
    if columns.answer is None:
        return None
    if columns.answer != ANSWER_NAMES[0]:
        return _require(columns.answer, present, where)
    found = [name for name in ANSWER_NAMES if name in present and name not in claimed]
    if len(found) > 1 and (columns.inputs is None or found[0] != ANSWER_NAMES[0]):
        # Guessing would put the other one into the prompt, and with it the answer.
        raise DataError(
            where,
            f"{' and '.join(map(repr, found))} may each be the answer",
            do="name it with columns.answer",
        )
    if not found:
        raise DataError(
            where,
            f"no answer column (looked for {', '.join(ANSWER_NAMES)})",
            got=present,
            do="name it with columns.answer; null is for tasks without reference answers",
        )
    return found[0]


def _check_fields(inputs: dict[str, str], where: str) -> None:
    for name, column in inputs.items():
        clash = name in RESERVED
        if clash or not name or name != name.strip() or set(name) & set("{}\n"):
            why = "is a slot of the template itself" if clash else "cannot be written as {{name}}"
            raise DataError(
                where,
                f"input field {name!r} {why}",
                do=f"rename it with columns.inputs: {{my_name: {column!r}}}, or leave the column out",
            )


def _row(record: Record, roles: _Roles, where: str, split: str | None) -> Row:
    inputs = {}
    for name, column in roles.inputs.items():
        if column not in record:
            raise DataError(
                where,
                f"no column {column!r}, which other rows have",
                got=list(record),
                do="fill it in, or name the columns that all rows have with columns.inputs",
            )
        inputs[name] = _text(record[column], where, column)
    answers = _answers(record, roles.answer, where)
    options = _options(record.get(roles.options), where, roles.options) if roles.options else ()
    _check_answer(answers, options, where)
    group = _optional(record, roles.group, where)
    declared = _optional(record, roles.split, where) or split
    if roles.id is None:
        row_id = digest([inputs, answers, options, group, declared])
    else:
        row_id = _optional(record, roles.id, where) or ""
        if not row_id.strip():
            raise DataError(
                where, f"the id {roles.id!r} is empty", do="fill it in, or set columns.id to null"
            )
    return Row(Example(row_id, FrozenMap(inputs), answers, options, group), where, declared)


def _answers(record: Record, column: str | None, where: str) -> tuple[str, ...]:
    if column is None:
        return ()
    if column not in record:
        raise DataError(where, f"no column {column!r}", do=did_you_mean(column, record))
    value = record[column]
    if not isinstance(value, list | tuple):
        return (_text(value, where, column),)
    if not value:
        raise DataError(where, f"{column!r} is an empty list", do="give at least one accepted answer")
    return tuple(_text(item, where, column) for item in value)


def _options(value: object, where: str, column: str) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise DataError(where, f"{column!r} is not a JSON list: {error}", got=value) from error
    if not isinstance(value, list | tuple):
        raise DataError(where, f"{column!r} is not a list of texts", got=value, do='write ["yes", "no"]')
    return tuple(_text(item, where, column) for item in value)


def _check_answer(answers: tuple[str, ...], options: tuple[str, ...], where: str) -> None:
    if answers and options and not set(answers) & set(options):
        raise DataError(
            where, "the answer is not among the options", got=answers[0], do=did_you_mean(answers[0], options)
        )


def _optional(record: Record, column: str | None, where: str) -> str | None:
    value = record.get(column) if column is not None else None
    return None if column is None or value is None or value == "" else _text(value, where, column)


def _text(value: object, where: str, column: str) -> str:
    """Return a scalar as text, numbers and booleans as JSON writes them."""
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value, where, column)
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return repr(float(value))
    if isinstance(value, decimal.Decimal | datetime.date | datetime.time):
        return str(value)
    if value is None or isinstance(value, numbers.Real):
        why = "null" if value is None else "not a finite number"
        raise DataError(where, f"{column!r} is {why}", do="fill it in or drop the row")
    kind = "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise DataError(
        where, f"{column!r} is {kind}, not a text", got=value, do="make it a text, or leave it out"
    )


def _check_unicode(value: str, where: str, column: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(where, f"{column!r} holds half a surrogate pair", got=value[error.start]) from error


def _claim(row_id: str, where: str, seen: dict[str, str]) -> None:
    if row_id in seen:
        raise DataError(where, f"the id {row_id!r} is taken by {seen[row_id]}", do="make the ids unique")
    seen[row_id] = where


def _free(row_id: str, taken: set[str]) -> str:
    """Return `row_id`, or with the first free `#2`, `#3`, …, and take it."""
    free, number = row_id, 1
    while free in taken:
        number += 1
        free = f"{row_id}#{number}"
    taken.add(free)
    return free
