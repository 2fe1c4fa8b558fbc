"""Files of cells: a block of rows each, written whole or not at all, as Parquet, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .errors import MissingExtra
from .records import Cell

CellFormat = Literal["parquet", "jsonl", "csv"]
COLUMNS = {
    "row": "int64", "prompt": "string", "example": "string", "sample": "int32", "status": "string",
    "value": "float64", "parsed": "bool", "output": "string", "feedback": "string", "reason": "string",
    "prompt_tokens": "int64", "completion_tokens": "int64",
}  # fmt: skip
"""What is known of a cell; `row` is the row's place in its source, from 0."""

Values = Sequence[Any]


def values_of(row: int, cell: Cell) -> Values:
    """Return a cell as the columns have it; a failed one has no value."""
    score = cell.score
    value, parsed, feedback = (
        (None, False, "") if score is None else (score.value, score.parsed, score.feedback)
    )
    return (
        row, cell.prompt, cell.example, cell.sample, cell.status, value, parsed, cell.output, feedback,
        cell.reason, cell.usage.prompt_tokens, cell.usage.completion_tokens,
    )  # fmt: skip


def check_format(format: CellFormat) -> None:
    """See that files of this format can be written.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    if format == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingExtra("--format parquet", "pyarrow", "scale") from error


def write_cells(path: Path, rows: Iterable[Values], format: CellFormat) -> None:
    """Write cells into a new file, or in place of one that is there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    WRITERS[format](fresh, rows)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def _write_parquet(path: Path, rows: Iterable[Values]) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [
        pyarrow.array(map(_storable, column), field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    pyarrow.parquet.write_table(pyarrow.table(arrays, schema=schema), path, compression="zstd")


def _write_jsonl(path: Path, rows: Iterable[Values]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        file.writelines(
            json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
        )


def _write_csv(path: Path, rows: Iterable[Values]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _storable(value: Any) -> Any:
    """Replace lone surrogates, which Parquet's UTF-8 cannot hold."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


WRITERS: Mapping[CellFormat, Callable[[Path, Iterable[Values]], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
