"""Reading files: formats, line numbers, and one clear line for every file that is wrong."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import Write, failure, only

from promptopt.data import Columns, Row, read
from promptopt.errors import DataError, MissingExtra
from promptopt.records import Example, FrozenMap


def test_jsonl_with_every_role(write: Write) -> None:
    line = {
        "id": 7,
        "question": "2+2?",
        "output": ["4", "four"],
        "options": ["4", "5"],
        "group": "g",
        "split": "dev",
    }
    path = write("a.jsonl", json.dumps(line) + "\n")
    rows = read(path)
    expected = Example("7", FrozenMap(question="2+2?"), ("4", "four"), ("4", "5"), "g")
    assert rows.rows == (Row(expected, f"{path} line 1", "dev"),)
    assert rows.fields == ("question",)
    assert rows.examples == (expected,)


def test_jsonl_takes_bom_crlf_blank_lines_and_keeps_line_numbers(write: Write) -> None:
    path = write("a.jsonl", b'\xef\xbb\xbf{"input":"a","output":"b"}\r\n\r\n  \n{"input":"c","output":"d"}')
    assert [row.origin for row in read(path)] == [f"{path} line 1", f"{path} line 4"]


def test_line_separators_inside_a_json_text_do_not_split_the_line(write: Write) -> None:
    path = write("a.jsonl", '{"input":"a\u2028b\u0085c","output":"x"}\n')
    assert only(read(path)).inputs["input"] == "a\u2028b\u0085c"


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("7", "7"), ("1.10", "1.10"), ("1e5", "1e5"), ("true", "true"), ("false", "false"), ('""', ""),
     ("-0.0", "-0.0"), ("9" * 5000, "9" * 5000), ('"007"', "007")],
)  # fmt: skip
def test_json_scalars_keep_their_text(write: Write, written: str, read_as: str) -> None:
    path = write("a.jsonl", f'{{"input": {written}, "output": {written}}}')
    example = only(read(path))
    assert (example.inputs["input"], example.answers) == (read_as, (read_as,))


def test_json_list_has_line_numbers(write: Write) -> None:
    path = write(
        "a.json",
        '[\n {"input": "a",\n  "output": "b"},\n\n {"input": "c", "output": "d"}, {"input":"e","output":""}]',
    )
    rows = read(path)
    assert [row.origin.rpartition(" ")[2] for row in rows] == ["2", "5", "5"]
    assert [row.example.answer for row in rows] == ["b", "d", ""]


def test_csv_keeps_values_as_written(write: Write) -> None:
    path = write("a.csv", b"\xef\xbb\xbfinput,output\r\n007,NA\r\n1.10,\r\n null ,NaN\r\n")
    assert [(row.example.inputs["input"], row.example.answer) for row in read(path)] == [
        ("007", "NA"),
        ("1.10", ""),
        (" null ", "NaN"),
    ]


def test_csv_counts_lines_through_quoted_newlines_and_blank_lines(write: Write) -> None:
    path = write("a.csv", 'input,output\n"one\ntwo\r\nthree",x\n\nplain,y\n"say ""hi"", ok",z\n')
    rows = read(path)
    assert [row.origin.rpartition(" ")[2] for row in rows] == ["2", "6", "7"]
    assert [row.example.inputs["input"] for row in rows] == ["one\ntwo\r\nthree", "plain", 'say "hi", ok']


def test_csv_and_tsv_options_are_a_json_list_and_empty_roles_are_none(write: Write) -> None:
    lines = ["input\toutput\toptions\tgroup\tsplit", 'q\ta\t"[""a"", ""b""]"\t\t', "r\tb\t\tg\ttest"]
    path = write("a.tsv", "\n".join(lines))
    first, second = read(path)
    assert (first.example.options, first.example.group, first.split) == (("a", "b"), None, None)
    assert (second.example.options, second.example.group, second.split) == ((), "g", "test")


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    path = tmp_path / "a.parquet"
    table = pyarrow.table(
        {"input": ["007", "b"], "n": [7, 8], "output": [["x", "y"], ["z"]], "options": [["x", "w"], None]}
    )
    parquet.write_table(table, path)
    first, second = read(path)
    assert first.example.inputs == {"input": "007", "n": "7"}
    assert first.example.answers == ("x", "y")
    assert (second.example.options, second.origin) == ((), f"{path} row 2")
    path.write_bytes(b"PAR1 no")
    assert failure(path).startswith(f"{path}: broken Parquet")


def test_parquet_without_pyarrow_names_the_pip_command(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'pip install "promptopt\[text\]"'):
        read(write("a.parquet", "x"))


def test_format_overrules_the_suffix(write: Write) -> None:
    path = write("rows.txt", "input,output\na,b\n")
    assert only(read(path, format="csv")).answer == "b"
    assert "unknown data format; got '.txt'; choose from jsonl, json, csv" in failure(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"input": "a" "output": "b"}', "line 2: broken JSON: expecting ',' delimiter at column 15"),
        ('{"input": "a", "input": "b"}', "line 2: broken JSON: the key 'input' stands there twice"),
        ('{"input": NaN, "output": "b"}', "line 2: broken JSON: NaN is not JSON"),
        ("[" * 100_000, "line 2: broken JSON"),
        ('["a", "b"]', "line 2: not a JSON object; got ['a', 'b']"),
        ('{"input": null, "output": "b"}', "line 2: 'input' is null; fill it in"),
        ('{"input": {"a": 1}, "output": "b"}', "line 2: 'input' is an object, not a text; got {'a': '1'}"),
        ('{"input": ["a"], "output": "b"}', "line 2: 'input' is a list, not a text"),
        ('{"input": "\\ud83d", "output": "b"}', "line 2: 'input' holds half a surrogate pair"),
        ('{"input": "a", "output": null}', "line 2: 'output' is null"),
        ('{"input": "a", "output": []}', "line 2: 'output' is an empty list"),
        ('{"input": "a", "output": ["x", {"y": 1}]}', "line 2: 'output' is an object, not a text"),
        ('{"input": "a", "output": "x", "options": "x or y"}', "line 2: 'options' is not a list of texts"),
        ('{"input": "a", "output": "x", "options": "[x"}', "line 2: 'options' is not a JSON list"),
        ('{"input": "a", "output": "x", "options": [["x"]]}', "line 2: 'options' is a list, not a text"),
        (
            '{"input": "a", "output": "Yess", "options": ["Yes", "No"]}',
            "line 2: the answer is not among the options; got 'Yess'; did you mean 'Yes'?",
        ),
    ],
)  # fmt: skip
def test_bad_jsonl_lines(write: Write, line: str, problem: str) -> None:
    path = write("a.jsonl", f'{{"input": "fine", "output": "fine"}}\n{line}\n')
    assert f"{path} {problem}" in failure(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"input": "a", "output": "b"},\n {"input": }]', " line 2: broken JSON: expecting value at column"),
        ('[{"input": "a", "output": "b"}\n {"input": "c"}]', " line 2: broken JSON: expecting ',' or ']'"),
        ('[{"input": "a", "output": "b"},\n]', " line 2: broken JSON: expecting value"),
        ('[{"input": "a", "output": "b"}', " line 1: broken JSON: expecting ',' or ']'"),
        ('[{"input": "a", "output": "b"}]\nx', " line 2: broken JSON: text behind the list; got 'x'"),
        ('[\n3]', " line 2: not a JSON object; got '3'"),
        ('[\n{"a": 1, "a": 2}]', " line 2: broken JSON: the key 'a' stands there twice"),
        ("[\n" + "[" * 100_000, " line 2: broken JSON"),
        ("[]", ": no rows in it"),
        ('{"a": 1}', ": not a JSON list of objects; got '{\"a\": 1}'"),
        ('{"a": 1}\n{"a": 2}\n', "name it .jsonl, or set format"),
    ],
)  # fmt: skip
def test_bad_json_lists(write: Write, content: str, problem: str) -> None:
    message = failure(path := write("a.json", content))
    assert message.startswith(str(path))
    assert problem in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('input,output\n"a\nb",c\nd\n', " line 4: 1 cells where the header has 2; got ['d']"),
        ("input,output\na,b,c\n", " line 2: 3 cells where the header has 2"),
        ('input,output\na,b\n"open,c\nd,e\n', " line 3: broken CSV: a quote is left open; check"),
        ('input,output\n"a"b,c\n', " line 2: broken CSV"),
        ("input,output\n" + "a" * 200_000 + ",b\n", "a quote is left open, or a cell has more than"),
        ("input,output\na,b\nx\ry,b\n", " line 3: broken CSV: a carriage return outside quotes"),
        ("input,input,output\na,b,c\n", " line 1: two columns have the name 'input'"),
        ("input,output\n", ": no rows in it"),
    ],
)  # fmt: skip
def test_bad_csv(write: Write, content: str, problem: str) -> None:
    message = failure(path := write("a.csv", content))
    assert message.startswith(str(path))
    assert problem in message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.tsv"])
@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_files(write: Write, name: str, content: bytes) -> None:
    assert failure(write(name, content)).endswith(f"{name}: the file is empty; give it rows")
    assert failure([]) == "rows: no rows in it"


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_other_encodings_are_named_with_line_and_offset(write: Write, suffix: str, bom: bytes) -> None:
    path = write("a" + suffix, bom + b"input,output\ncaf\xe9,b\n")
    if suffix == ".jsonl":
        path = write("a.jsonl", bom + b'{"i": ""   }\n{"\xe9": 1}')
    offset = path.read_bytes().index(b"\xe9")
    columns = Columns(answer=None)
    assert failure(path, columns) == (
        f"{path} line 2: not UTF-8: byte 0xe9 at offset {offset} of the file; save the file as UTF-8"
    )


def test_missing_files_suggest_their_neighbours(write: Write, tmp_path: Path) -> None:
    write("train.jsonl", "x")
    write("notes.txt", "x")
    assert failure(tmp_path / "trian.jsonl").endswith("no such file; did you mean 'train.jsonl'?")
    assert failure(tmp_path / "zzz.csv").endswith("no such file; choose from train.jsonl")
    assert "is a folder, not a data file; choose from train.jsonl" in failure(tmp_path)
    assert "there is no folder" in failure(tmp_path / "nowhere" / "a.csv")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tables = st.lists(st.tuples(texts, texts), min_size=1, max_size=6)


@given(tables, st.sampled_from([",", "\t"]), st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_back_any_text(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], separator: str, end: str
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("question", "label"), *table])
    path = tmp_path_factory.getbasetemp() / ("any.csv" if separator == "," else "any.tsv")
    path.write_bytes(buffer.getvalue().encode())
    rows = read(path)
    assert [(row.example.inputs["question"], row.example.answer) for row in rows] == table


@given(tables, st.booleans(), st.sampled_from([None, 1]))
def test_json_gives_back_any_text(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], ascii: bool, indent: int | None
) -> None:
    records = [{"question": question, "label": label} for question, label in table]
    folder = tmp_path_factory.getbasetemp()
    lines = folder / "any.jsonl"
    lines.write_bytes("".join(json.dumps(r, ensure_ascii=ascii) + "\n" for r in records).encode())
    listed = folder / "any.json"
    listed.write_bytes(json.dumps(records, ensure_ascii=ascii, indent=indent).encode())
    for rows in (read(lines), read(listed), read(records)):
        assert [(row.example.inputs["question"], row.example.answer) for row in rows] == table


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".tsv"]))
def test_any_bytes_are_read_or_refused_with_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    path.write_bytes(data)
    try:
        told = str(read(path, Columns(answer=None)).rows[0].origin)
    except DataError as error:
        told = str(error)
    assert told.startswith(str(path))
    assert "\n" not in told
