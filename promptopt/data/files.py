"""Turn a data file into numbered records; knows file formats and nothing of columns or examples.

JSON and CSV are read with the standard library, so that every error has its line and every value stays
as it was written: `007`, `NA` and `1.10` reach the prompt unchanged.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, MissingExtra, did_you_mean

Record = Mapping[str, object]
Numbered = Iterator[tuple[str, Record]]
Format = Literal["jsonl", "json", "csv", "tsv", "parquet"]

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
BOM = b"\xef\xbb\xbf"


def read_file(path: Path, format: Format | None = None) -> Numbered:
    """Yield `("data.csv line 12", record)` for every row of a file.

    Args:
        path: the file; its suffix tells the format unless `format` does.
        format: one of `jsonl`, `json` (a list of objects), `csv`, `tsv`, `parquet`.

    Raises:
        DataError: no such file, an unknown format, or content that is broken; with its line.
        MissingExtra: a Parquet file, and pyarrow is not installed.
    """
    _check_file(path)
    kind = format or SUFFIXES.get(path.suffix.lower())
    if kind is None or kind not in READERS:
        got = kind or path.suffix
        raise DataError(str(path), "unknown data format", got=got, do="choose from " + ", ".join(READERS))
    try:
        yield from READERS[kind](path)
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}") from error


def parse_json(text: str) -> Any:
    """Parse one JSON value; numbers stay the text they were, duplicate keys and NaN are errors.

    Raises:
        ValueError: with a message for people (json.JSONDecodeError where there is a position).
    """
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(str(path), "is a folder, not a data file", do=_choices(path, ""))
    if not path.exists():
        if path.is_symlink():
            raise DataError(str(path), "a link that leads nowhere", do="mend it, or name the file itself")
        raise DataError(str(path), "no such file", do=_choices(path.parent, path.name))
    if not path.is_file():  # a pipe may never end, and a device has no end
        raise DataError(str(path), "is no ordinary file", do="write the rows into one")


def _choices(folder: Path, name: str) -> str:
    """Name the data files of a folder: the closest to `name`, or all if they are few."""
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r} either; the working folder is {str(Path.cwd())!r}"
    try:
        files = [item.name for item in folder.iterdir() if item.suffix.lower() in SUFFIXES]
        names = [file for file in files if not file.endswith(".schema.json")]
    except OSError:
        names = []
    hint = did_you_mean(name, names)
    if names and (len(names) <= 12 or hint.startswith("did you mean")):
        return hint
    return f"the working folder is {str(Path.cwd())!r}"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=_no_constant
)


def _decode(data: bytes, path: Path, line: int = 1, start: int = 0) -> str:
    """Decode UTF-8 that begins at `line` and byte `start` of the file."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        raise DataError(
            f"{path} line {at}",
            f"not UTF-8: byte 0x{data[error.start]:02x} at offset {start + error.start} of the file",
            do="save the file as UTF-8",
        ) from error


def _text(path: Path) -> str:
    data = path.read_bytes()
    mark = len(BOM) if data.startswith(BOM) else 0
    text = _decode(data[mark:], path, start=mark)
    if not text.strip():
        raise DataError(str(path), "the file is empty", do="give it rows")
    return text


def _object(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(where, "not a JSON object", got=value, do='a row reads {"input": "…", "output": "…"}')
    return value


def _broken(where: str, error: ValueError) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        at = f"{error.msg} at column {error.colno}"
        return DataError(where, f"broken JSON: {at[0].lower()}{at[1:]}")
    return DataError(where, f"broken JSON: {error}")


def _read_jsonl(path: Path) -> Numbered:
    empty = True
    start = 0
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            mark = len(BOM) if line == 1 and raw.startswith(BOM) else 0
            text = _decode(raw[mark:], path, line, start + mark).strip()
            start += len(raw)
            if not text:
                continue
            empty = False
            where = f"{path} line {line}"
            try:
                value = parse_json(text)
            except ValueError as error:
                raise _broken(where, error) from error
            yield where, _object(value, where)
    if empty:
        raise DataError(str(path), "the file is empty", do="give it rows")


def _read_json(path: Path) -> Numbered:
    """Walk a JSON list item by item, so that every item has its line."""
    text = _text(path)
    at = _skip(text, 0)
    if text[at] != "[":
        lines = len(_first_values(text)) > 1
        raise DataError(
            str(path),
            "not a JSON list of objects",
            got=text[at : at + 40],
            do='it looks like one object a line: name it .jsonl, or set format: "jsonl"' if lines else "",
        )
    line, counted = 1, 0
    at = _skip(text, at + 1)
    first = True
    while at >= len(text) or text[at] != "]":
        try:
            if not first:
                if at >= len(text) or text[at] != ",":
                    raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
                at = _skip(text, at + 1)
            line, counted = line + text.count("\n", counted, at), at
            value, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _broken(f"{path} line {error.lineno}", error) from error
        except (ValueError, RecursionError) as error:
            raise _broken(f"{path} line {line}", ValueError(str(error))) from error
        where = f"{path} line {line}"
        yield where, _object(value, where)
        at, first = _skip(text, end), False
    behind = _skip(text, at + 1)
    if behind < len(text):
        line = 1 + text.count("\n", 0, behind)
        raise DataError(f"{path} line {line}", "broken JSON: text behind the list", got=text[behind:])


def _first_values(text: str) -> list[object]:
    """Return the values of up to two lines, as far as each is JSON by itself."""
    try:
        return [parse_json(line) for line in text.split("\n", 2)[:2] if line.strip()]
    except ValueError:
        return []


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, each with its end."""
    start, empty = 0, True
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            mark = len(BOM) if line == 1 and raw.startswith(BOM) else 0
            text = _decode(raw[mark:], path, line, start + mark)
            start += len(raw)
            empty = empty and not text.strip()
            yield text
    if empty:
        raise DataError(str(path), "the file is empty", do="give it rows")


def _read_csv(path: Path, delimiter: str = ",") -> Numbered:
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] = []
    end = 0
    while True:
        where = f"{path} line {end + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"broken CSV: {_csv_problem(str(error))}"
            raise DataError(where, problem, do="check the quotes, or use .jsonl") from error
        end = reader.line_num
        if not cells:
            continue
        if not header:
            header = _header(cells, where)
            continue
        if len(cells) != len(header):
            raise DataError(
                where,
                f"{len(cells)} cells where the header has {len(header)}",
                got=cells,
                do="put a cell that holds the separator or a line break in double quotes",
            )
        yield where, dict(zip(header, cells, strict=True))


def _csv_problem(message: str) -> str:
    if "end of data" in message:
        return "a quote is left open"
    if "field limit" in message:
        return f"a quote is left open, or a cell has more than {csv.field_size_limit()} characters"
    if "new-line" in message:
        return "a carriage return outside quotes"
    return message


def _header(cells: list[str], where: str) -> list[str]:
    for name in cells:
        if cells.count(name) > 1:
            raise DataError(where, f"two columns have the name {name!r}", do="rename one of them")
    return cells


def _read_tsv(path: Path) -> Numbered:
    return _read_csv(path, "\t")


def _read_parquet(path: Path) -> Numbered:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(str(path), "pyarrow", "text") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _header(list(file.schema_arrow.names), str(path))
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", record
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        where = f"{path} row {number + 1}" if number else str(path)
        raise DataError(where, f"broken Parquet: {error}") from error


READERS: dict[str, Callable[[Path], Numbered]] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
}
