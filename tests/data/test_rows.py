"""Reading rows: formats, roles of columns, ids, and one clear line for everything that is wrong."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import failure

from promptopt.data import Columns, Row, Rows, read
from promptopt.errors import DataError, MissingExtra
from promptopt.records import Example, FrozenMap

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def only(rows: Rows) -> Example:
    (row,) = rows
    return row.example


# --- formats ---------------------------------------------------------------------------------------


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


# --- Python ----------------------------------------------------------------------------------------


def test_dicts_and_their_numbers() -> None:
    rows = read([{"input": 7, "x": 1.5, "flag": True, "output": ("a", "b")}])
    assert only(rows).inputs == {"input": "7", "x": "1.5", "flag": "true"}
    assert only(rows).answers == ("a", "b")
    assert rows.rows[0].origin == "rows[0]"


def test_rows_from_python_can_be_named() -> None:
    assert read([{"input": "a", "output": "b"}], name="test").rows[0].origin == "test[0]"
    assert failure([{"input": "a", "output": None}], name="test").startswith("test[0]: 'output' is null")
    assert read([Example("a", FrozenMap(q="1"))], name="test").rows[0].origin == "test[0]"


def test_a_generator_of_dicts_is_a_source() -> None:
    assert len(read({"input": str(n), "output": "x"} for n in range(3))) == 3


def test_examples_pass_as_they_are() -> None:
    examples = [Example("a", FrozenMap(q="1"), ("x",)), Example("b", FrozenMap(q="2"))]
    rows = read(examples)
    assert list(rows.examples) == examples
    assert rows.fields == ("q",)
    assert read(rows) is rows


def test_bad_examples() -> None:
    good = Example("a", FrozenMap(q="1"))
    assert "the id 'a' is taken by rows[0]" in failure([good, good])
    assert "other input fields" in failure([good, Example("b", FrozenMap(r="1"))])
    assert "slot of the template" in failure([Example("b", FrozenMap(output="1"))])
    assert "half a surrogate" in failure([Example("b", FrozenMap(q="\ud800"))])
    assert "not int" in failure([Example("b", FrozenMap({"q": 1}))])  # type: ignore[dict-item]
    assert "rows[1]: not a dict" in failure([{"input": "a", "output": "b"}, good])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_python_values_that_are_none_or_not_finite(value: object) -> None:
    assert "rows[0]: 'input' is" in failure([{"input": value, "output": "x"}])


# --- roles -----------------------------------------------------------------------------------------


def test_inputs_can_be_chosen_and_renamed() -> None:
    data = [{"q": "1", "output": "leak", "label": "x", "noise": {"a": 1}}]
    assert only(read(data, Columns(inputs=("q",), answer="label"))).inputs == {"q": "1"}
    renamed = read(data, Columns(inputs={"question": "q", "draft": "output"}, answer="label"))
    assert renamed.fields == ("question", "draft")
    assert only(renamed).inputs == {"question": "1", "draft": "leak"}
    assert read(data, Columns(inputs="q", answer="label")).fields == ("q",)


def test_a_default_role_can_be_claimed_as_input_or_switched_off() -> None:
    data = [{"q": "1", "id": "x9", "group": "g", "label": "x"}]
    example = only(read(data, Columns(inputs=("q", "group"))))
    assert (example.id, example.group, example.inputs["group"]) == ("x9", None, "g")
    example = only(read(data, Columns(id=None, group=None)))
    assert set(example.inputs) == {"q", "id", "group"}
    assert example.group is None


@pytest.mark.parametrize("name", ["output", "answer", "label", "target"])
def test_the_answer_is_found_under_its_usual_names(name: str) -> None:
    assert only(read([{"q": "1", name: "x"}])).answer == "x"


def test_rows_without_answers_only_on_request() -> None:
    assert only(read([{"q": "1"}], Columns(answer=None))).answers == ()
    assert "no answer column (looked for output, answer, label, target); got ['q']" in failure([{"q": "1"}])


def test_several_answer_columns() -> None:
    data: list[dict[str, object]] = [
        {"q": "1", "main": "x", "also": "y", "third": ["z", "w"]},
        {"q": "2", "main": "x", "also": "", "third": None},
    ]
    first, second = read(data, Columns(answer=("main", "also", "third"))).examples
    assert (first.answers, second.answers) == (("x", "y", "z", "w"), ("x",))
    assert set(first.inputs) == {"q"}
    assert "rows[1]: 'third' is null" in failure(data, Columns(answer=("third", "main"), inputs=("q",)))
    assert "no column 'mian'" in failure(data, Columns(answer=("main", "mian")))
    assert "would tell the answer" in failure(data, Columns(inputs=("q", "also"), answer=("main", "also")))


def test_two_candidates_for_the_answer_are_not_guessed_at() -> None:
    data = [{"q": "1", "answer": "x", "label": "0"}]
    assert "'answer' and 'label' may each be the answer; set answer" in failure(data)
    assert only(read(data, Columns(answer="answer", inputs=("q",)))).answer == "x"


def test_missing_columns_are_named_with_a_suggestion(write: Write) -> None:
    path = write("a.csv", "Question,answer\na,b\n")
    assert failure(path, Columns(inputs=("question",))) == (
        f"{path}: no column 'question'; did you mean 'Question'?"
    )
    assert "no column 'lable'" in failure([{"q": "1", "label": "x"}], Columns(answer="lable"))
    assert "no column 'grp'" in failure([{"q": "1", "label": "x"}], Columns(group="grp"))


def test_a_column_that_some_rows_lack(write: Write) -> None:
    path = write("a.jsonl", '{"input":"a","output":"b"}\n{"input":"c","note":"n","output":"d"}\n')
    assert f"{path} line 1: no column 'note', which other rows have" in failure(path)
    assert len(read(path, Columns(inputs=("input",)))) == 2
    path = write("b.jsonl", '{"input":"a","output":"b"}\n{"input":"c","outptu":"d"}\n')
    assert f"{path} line 2: no column 'output'; did you mean 'outptu'?" in failure(
        path, Columns(inputs=("input",))
    )


@pytest.mark.parametrize("name", ["instruction", "demonstrations", "output"])
def test_reserved_names_must_be_renamed(name: str) -> None:
    data = [{name: "a", "label": "b"}]
    message = failure(data, Columns(answer="label"))
    assert f"input field {name!r} is a slot of the template itself; rename it with inputs:" in message
    assert only(read(data, Columns(inputs={"text": name}, answer="label"))).inputs == {"text": "a"}


@pytest.mark.parametrize("name", ["", " a", "a{b", "a\nb"])
def test_names_that_no_slot_can_hold(name: str) -> None:
    assert "cannot be written as {{name}}" in failure([{name: "a", "label": "b"}])


def test_the_answer_is_not_an_input() -> None:
    message = failure([{"q": "a", "label": "b"}], Columns(inputs=("q", "label"), answer="label"))
    assert "the prompt would tell the answer" in message
    assert "no input column" in failure([{"label": "b"}])


# --- one clear line for what is wrong --------------------------------------------------------------


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


# --- ids -------------------------------------------------------------------------------------------


def test_ids_must_be_there_and_unique(write: Write) -> None:
    path = write("a.csv", "id,input,output\n1,a,b\n2,c,d\n1,e,f\n")
    assert failure(path) == f"{path} line 4: the id '1' is taken by {path} line 2; make the ids unique"
    path = write("b.csv", "id,input,output\n1,a,b\n ,c,d\n")
    assert f"{path} line 3: the id 'id' is empty" in failure(path)
    assert len(read(path, Columns(inputs=("input",), id=None))) == 2


def test_ids_without_a_column_survive_reordering() -> None:
    data: list[dict[str, object]] = [{"input": str(n), "output": str(n % 2)} for n in range(20)]
    forward = {row.example.inputs["input"]: row.example.id for row in read(data)}
    backward = {row.example.inputs["input"]: row.example.id for row in read(data[::-1])}
    assert forward == backward
    assert len(set(forward.values())) == 20


def test_equal_rows_get_numbered_ids() -> None:
    first, second, third = (row.example.id for row in read([{"input": "a", "output": "b"}] * 3))
    assert (second, third) == (f"{first}#2", f"{first}#3")


def test_joined_sources_share_fields_and_keep_ids_unique() -> None:
    one = read([{"id": "1", "input": "a", "output": "x"}]).assign("search")
    two = read([{"id": "1", "input": "b", "output": "x"}]).assign("test")
    both = one + two
    assert [(row.example.id, row.split) for row in both] == [("1", "search"), ("1#2", "test")]
    assert repr(both) == "Rows(2 from 'rows[0]', fields=['input'])"
    with pytest.raises(DataError, match="other input fields"):
        one + read([{"id": "1", "question": "b", "output": "x"}])


# --- round trips -----------------------------------------------------------------------------------

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
