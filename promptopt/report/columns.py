"""Columns of the data file that no prompt ever sees, such as a topic or a source: good to slice by.

A run's folder keeps what its rows were asked with. The other columns are in the file still, if that is where
it was and its rows are what they were; else there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..data.files import Format, read_file
from ..errors import PromptOptError
from ..job import DataSpec, Job
from ..records import Example
from ..setup import read_rows

LARGEST = 50_000_000
"""Bytes of a file that is read again for a report."""

Extra = Mapping[str, Mapping[str, str]]
"""By column, then by row id, the value."""


def extra_columns(lock: Mapping[str, Any], known: Mapping[str, tuple[str, Example]]) -> Extra:
    """Return the columns that are no input, of the rows that are as the run had them."""
    if "data" not in lock or not known:
        return {}
    try:
        job = Job.model_validate(dict(lock))
        files = list(_files(job.data))
        if not files or sum(path.stat().st_size for path, _ in files) > LARGEST:
            return {}
        rows = read_rows(job)
        records = {where: record for path, format in files for where, record in read_file(path, format)}
    except (OSError, ValueError, PromptOptError):  # moved, changed, or of a plug-in that is not here
        return {}
    found: dict[str, dict[str, str]] = {}
    used = _used(job.data, rows.fields)
    for row in rows:
        its = known.get(row.example.id)
        if its is not None and its[1] == row.example:
            for column, value in records.get(row.origin, {}).items():
                if column not in used and isinstance(value, str | int | float | bool):
                    found.setdefault(column, {})[row.example.id] = str(value)
    return {column: values for column, values in found.items() if len(values) == len(known)}


def _files(data: DataSpec) -> Iterator[tuple[Path, Format | None]]:
    for source in (data.path, data.search, data.select, data.test):
        if source is not None and not source.startswith("hub:"):
            yield Path(source), data.format


def _used(data: DataSpec, fields: tuple[str, ...]) -> set[str]:
    """Return the columns that have a role: the rows hold them already, or they say nothing of a row."""
    named = data.inputs.values() if isinstance(data.inputs, Mapping) else data.inputs or ()
    answers = data.answer if data.answer is not None else ("output", "answer", "label", "target")
    roles = (data.options or "options", data.id or "id", data.group or "group", data.split or "split")
    return {*fields, *named, *answers, *roles}
