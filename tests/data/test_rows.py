"""Reading rows: roles of columns, ids, rows from Python, and one clear line for everything that is wrong."""

from __future__ import annotations

import pytest
from reading import Write, failure, only

from promptopt.data import Columns, read
from promptopt.errors import DataError
from promptopt.records import Example, FrozenMap


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
