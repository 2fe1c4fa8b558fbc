"""Read rows into examples; every error names the line."""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from pathlib import Path

from ..errors import DataError, did_you_mean
from ..records import Example, FrozenMap, digest
from .columns import DEFAULT_COLUMNS, Columns, Roles, assign_roles, check_fields
from .files import Format, Numbered, Record, parse_json, read_file
from .hub import PREFIX, read_hub

MAX_CHARACTERS = 1_000_000
"""Most characters of a value: no rendered message may have more."""


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


LOOK = 1000
"""Rows of a stream that tell which columns there are."""


@dataclass(frozen=True)
class Stream:
    """A file that is read a block at a time, however long it is; opened anew for each pass.

    Attributes:
        path: the file.
        roles: of its columns.
        format: what it is, if its suffix does not tell.
    """

    path: Path
    roles: Roles
    format: Format | None = None

    @classmethod
    def open(cls, path: Path, columns: Columns = DEFAULT_COLUMNS, format: Format | None = None) -> Stream:
        """Look at the first rows.

        Raises:
            DataError: anything wrong with them, or a JSON list, which can only be read whole.
            MissingExtra: a Parquet file, and pyarrow is not installed.
        """
        if (format or path.suffix.lower().removeprefix(".")) == "json":
            raise DataError(str(path), "a JSON list cannot be read in pieces", do="save it as .jsonl")
        first = list(islice(read_file(path, format), LOOK))
        if not first:
            raise DataError(str(path), "no rows in it")
        present = list(dict.fromkeys(name for _, record in first for name in record))
        return cls(path, assign_roles(columns, present, str(path)), format)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the input fields."""
        return tuple(self.roles.inputs)

    def blocks(self, size: int) -> Iterator[list[tuple[str, Record]]]:
        """Yield so many records at a time, each with where it is."""
        records = read_file(self.path, self.format)
        while block := list(islice(records, size)):
            yield block

    def examples(self, block: Iterable[tuple[str, Record]]) -> list[Example]:
        """Read the records of a block; their ids are unique within it.

        Raises:
            DataError: anything wrong with a record, with its line.
        """
        seen: dict[str, str] = {}
        taken: set[str] = set()
        found = []
        for where, record in block:
            example = _row(record, self.roles, where, None).example
            if self.roles.id is None:
                example = replace(example, id=_free(example.id, taken))
            else:
                _claim(example.id, where, seen)
            found.append(example)
        return found


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
    check_fields({field: field for field in fields}, f"{name}[0]")
    return Rows(tuple(rows), fields)


def _build(records: Numbered, columns: Columns, source: str, split: str | None = None) -> Rows:
    """Convert records to rows; the roles are found once, over the columns of all records."""
    listed = list(records)
    if not listed:
        raise DataError(source, "no rows in it")
    present = list(dict.fromkeys(name for _, record in listed for name in record))
    roles = assign_roles(columns, present, source)
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


def _row(record: Record, roles: Roles, where: str, split: str | None) -> Row:
    inputs = {}
    for name, column in roles.inputs.items():
        if column not in record:
            raise DataError(
                where,
                f"no column {column!r}, which other rows have",
                got=list(record),
                do="fill it in, or set inputs to columns that all rows have",
            )
        inputs[name] = _text(record[column], where, column)
    answers = _answers(record, roles.answers, where)
    options = _options(record.get(roles.options), where, roles.options) if roles.options else ()
    _check_answer(answers, options, where)
    group = _optional(record, roles.group, where)
    declared = _optional(record, roles.split, where) or split
    if roles.id is None:
        row_id = digest([inputs, answers, options, group, declared])
    else:
        row_id = _optional(record, roles.id, where) or ""
        if not row_id.strip():
            raise DataError(where, f"the id {roles.id!r} is empty", do="fill it in, or set id to null")
    return Row(Example(row_id, FrozenMap(inputs), answers, options, group), where, declared)


def _answers(record: Record, columns: tuple[str, ...], where: str) -> tuple[str, ...]:
    found: list[str] = []
    for column in columns:
        main = column == columns[0]
        if main and column not in record:
            raise DataError(where, f"no column {column!r}", do=did_you_mean(column, record))
        value = record.get(column)
        if not main and value in (None, ""):
            continue
        if not isinstance(value, list | tuple):
            value = [value]
        elif main and not value:
            raise DataError(where, f"{column!r} is an empty list", do="give at least one accepted answer")
        found.extend(_text(item, where, column) for item in value)
    return tuple(found)


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
        if len(value) > MAX_CHARACTERS:
            raise DataError(
                where,
                f"{column!r} has {len(value):,} characters, and a message holds at most {MAX_CHARACTERS:,}",
                do="shorten it, or leave the column out",
            )
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


__all__ = ["Columns", "Row", "Rows", "Source", "Stream", "read"]
