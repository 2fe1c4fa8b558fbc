"""Mistakes in data: formats, encodings, values that no prompt can hold, paths that lead elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistakes import Mistake, check, rows

DATA = "data: rows.jsonl"


def from_file(name: str, content: str | bytes) -> dict[str, object]:
    """Take the rows from another file."""
    return {"edits": [(DATA, f"data: {name}")], "files": {name: content}}


def loop(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    (folder / "rows.jsonl").symlink_to("rows.jsonl")


def dangling(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    (folder / "rows.jsonl").symlink_to("gone.jsonl")


def pipe(folder: Path) -> None:
    import os

    (folder / "rows.jsonl").unlink()
    os.mkfifo(folder / "rows.jsonl")


BIG = "x" * 10_000_000

MISTAKES = [
    Mistake(
        "half a surrogate pair",
        "rows.jsonl line 1: 'input' holds half a surrogate pair",
        r"'\ud800'",
        files={"rows.jsonl": '{"input": "a\\ud800", "output": "A"}\n' + rows()},
    ),
    Mistake(
        "a field of ten megabytes",
        "rows.jsonl line 1: ",
        "1,000,000",
        files={"rows.jsonl": rows({"input": BIG, "output": "X"})},
    ),
    Mistake(
        "an answer of ten megabytes",
        "rows.jsonl line 1: ",
        "1,000,000",
        files={"rows.jsonl": rows({"input": "x", "output": BIG})},
    ),
    Mistake(
        "NaN",
        "rows.jsonl line 1: broken JSON: NaN is not JSON",
        "NaN",
        files={"rows.jsonl": '{"input": NaN, "output": "A"}\n' + rows()},
    ),
    Mistake(
        "infinity",
        "rows.jsonl line 1: broken JSON: -Infinity is not JSON",
        "Infinity",
        files={"rows.jsonl": '{"input": "a", "output": -Infinity}\n' + rows()},
    ),
    Mistake(
        "a key twice",
        "rows.jsonl line 1: broken JSON: the key 'input' stands there twice",
        "twice",
        files={"rows.jsonl": '{"input": "a", "input": "b", "output": "A"}\n' + rows()},
    ),
    Mistake(
        "a null for an answer",
        "rows.jsonl line 1: 'output' is null",
        "fill it in or drop the row",
        files={"rows.jsonl": rows({"input": "a", "output": None})},
    ),
    Mistake(
        "an object for an input",
        "rows.jsonl line 1: 'input' is an object, not a text",
        "leave it out",
        files={"rows.jsonl": rows({"input": {"a": 1}, "output": "A"})},
    ),
    Mistake(
        "an answer that is no option",
        "rows.jsonl line 1: the answer is not among the options",
        "did you mean 'yes'?",
        files={"rows.jsonl": rows({"input": "a", "output": "yess", "options": ["yes", "no"]})},
    ),
    Mistake(
        "options that are none",
        "rows.jsonl line 1: 'options' is not a list of texts",
        'write ["yes", "no"]',
        files={"rows.jsonl": rows({"input": "a", "output": "yes", "options": "yes, no"})},
    ),
    Mistake(
        "an id twice",
        "rows.jsonl line 2: the id '7' is taken by",
        "make the ids unique",
        files={
            "rows.jsonl": rows(
                {"id": "7", "input": "a", "output": "A"}, {"id": 7, "input": "b", "output": "B"}, more=0
            )
        },
    ),
    Mistake(
        "a line that is a list",
        "rows.jsonl line 1: not a JSON object",
        '{"input": "…", "output": "…"}',
        files={"rows.jsonl": '["a", "A"]\n' + rows()},
    ),
    Mistake(
        "nested a million deep",
        "rows.jsonl line 1: broken JSON",
        "nested too deeply",
        files={"rows.jsonl": '{"input": ' + "[" * 1_000_000 + "\n" + rows()},
    ),
    Mistake(
        "a number of a million digits",
        "rows.jsonl line 1: ",
        "1,000,000",
        files={"rows.jsonl": '{"input": ' + "9" * 1_000_001 + ', "output": "A"}\n' + rows()},
    ),
    Mistake(
        "two answer columns",
        "rows.jsonl: 'output' and 'label' may each be the answer",
        "set answer to one of them",
        files={"rows.jsonl": rows({"input": "a", "output": "A", "label": "A"})},
    ),
    Mistake(
        "UTF-16", "line 1: not UTF-8", "save the file as UTF-8", files={"rows.jsonl": rows().encode("utf-16")}
    ),
    Mistake(
        "a quote left open",
        "rows.csv line",
        "a quote is left open",
        **from_file("rows.csv", 'input,output\n"a,A\n' + "b,B\n" * 40),
    ),
    Mistake(
        "a cell too many",
        "rows.csv line 2: 3 cells where the header has 2",
        "double quotes",
        **from_file("rows.csv", "input,output\na,b,A\n"),
    ),
    Mistake(
        "a column twice",
        "rows.csv line 1: two columns have the name 'input'",
        "rename one of them",
        **from_file("rows.csv", "input,input,output\na,b,A\n"),
    ),
    Mistake(
        "a header alone", "rows.csv: no rows in it", "no rows", **from_file("rows.csv", "input,output\n")
    ),
    Mistake(
        "another format", "unknown data format", "choose from jsonl", **from_file("rows.xlsx", b"PK\x03\x04")
    ),
    Mistake(
        "a Parquet file that is none",
        "rows.parquet: broken Parquet",
        "Parquet",
        **from_file("rows.parquet", b"PAR1 no PAR1"),
    ),
    Mistake("a pickle", "unknown data format", "choose from jsonl", **from_file("rows.pkl", b"\x80\x04.")),
    Mistake(
        "a file that is not there",
        "no such file",
        "did you mean 'rows.jsonl'?",
        edits=[(DATA, "data: row.jsonl")],
    ),
    Mistake("a folder", "is a folder, not a data file", "rows.jsonl", edits=[(DATA, "data: .")]),
    Mistake(
        "a path out of the folder",
        "../../../../../../etc/passwd: unknown data format",
        "choose from jsonl",
        edits=[(DATA, "data: ../../../../../../etc/passwd")],
    ),
    Mistake("a link to itself", "rows.jsonl: a link that leads nowhere", "mend it", spoil=loop),
    Mistake("a link to nothing", "rows.jsonl: a link that leads nowhere", "mend it", spoil=dangling),
    Mistake(
        "a pipe that nobody writes", "rows.jsonl: is no ordinary file", "write the rows into one", spoil=pipe
    ),
    Mistake(
        "a device",
        "/dev/zero: is no ordinary file",
        "write the rows into one",
        edits=[(DATA, "data: /dev/zero")],
    ),
    Mistake(
        "a name with a zero byte",
        r"rows\x00.jsonl: no such file",
        "did you mean 'rows.jsonl'?",
        edits=[(DATA, 'data: "rows\\0.jsonl"')],
    ),
    Mistake(
        "more test rows than rows",
        "sizes: 1000 rows asked for",
        "ask for fewer, or add rows",
        edits=[(DATA, "data: {path: rows.jsonl, sizes: {test: 1000}}")],
    ),
    Mistake(
        "three rows", "too few rows to show any improvement", "add rows", files={"rows.jsonl": rows(more=3)}
    ),
    Mistake(
        "a column of the name of a slot",
        "instruction",
        "rename",
        files={"rows.jsonl": rows({"instruction": "a", "input": "a", "output": "A"}, more=0)},
    ),
    Mistake(
        "columns that differ",
        "no column 'more', which other rows have",
        "fill it in",
        files={"rows.jsonl": rows({"input": "a", "more": "b", "output": "A"})},
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_in_the_data_is_one_line(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check(mistake, tmp_path, capsys)
