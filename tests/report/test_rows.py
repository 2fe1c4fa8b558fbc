from __future__ import annotations

import math

from promptopt.records import Example, FrozenMap
from promptopt.report.archive import CellRow
from promptopt.report.rows import answers, row_results, shared_groups, slices
from promptopt.report.summary import Answer


def cell(row: str, value: float | None, sample: int = 0) -> CellRow:
    failed = value is None
    return CellRow(
        row, sample, "failed" if failed else "ok", f"reply {sample}", math.nan if value is None else value,
        "because", True, "timeout: late" if failed else "",
    )  # fmt: skip


def test_samples_of_a_row_are_one_answer_with_their_mean() -> None:
    found = answers([cell("a", None, 0), cell("a", 1.0, 1), cell("a", 0.0, 2), cell("b", None)])
    assert found["a"] == Answer("reply 1", 0.5, "because", "", 3)
    assert found["b"].value is None
    assert found["b"].reason == "timeout: late"


def test_rows_are_told_apart_by_what_became_of_them() -> None:
    def said(**values: float | None) -> dict[str, Answer]:
        return {name: Answer("x", value) for name, value in values.items()}

    before = said(up=0.0, down=1.0, bad=0.0, good=1.0, half=0.5, gone=None, lonely=1.0)
    after = said(up=1.0, down=0.2, bad=0.0, good=1.0, half=0.5, gone=1.0)
    found = row_results(before, after, {}, "test")
    assert {row.id: row.change for row in found} == {
        "up": "fixed",
        "down": "broke",
        "bad": "wrong",
        "half": "wrong",
        "gone": "missing",
        "lonely": "missing",
        "good": "right",
    }
    assert [row.change for row in found] == [
        "fixed", "broke", "wrong", "wrong", "missing", "missing", "right",
    ]  # fmt: skip


def test_slices_are_of_columns_with_few_values_and_of_lengths() -> None:
    rows, before, after = {}, {}, {}
    for i in range(30):
        name = str(i)
        row = Example(name, FrozenMap(text="x" * (5 + i), kind="ab"[i % 2], same="s"), (str(i),))
        rows[name] = ("test", row)
        before[name] = Answer("", float(i % 2))
        after[name] = Answer("", 1.0)
    found = slices(row_results(before, after, rows, "test"))
    assert {one.column for one in found} == {"kind", "length of the input"}
    by_kind = {one.value: one for one in found if one.column == "kind"}
    assert (by_kind["a"].n, by_kind["a"].before, by_kind["a"].after, by_kind["a"].difference) == (15, 0, 1, 1)
    assert by_kind["b"].difference == 0
    assert by_kind["a"].interval.low > 0 > by_kind["b"].interval.low
    lengths = [one for one in found if one.column.startswith("length")]
    assert [one.n for one in lengths] == [11, 10, 9]
    assert lengths[0].value == "up to 17 characters"
    assert lengths[-1].value.startswith("over")


def test_rows_without_texts_have_no_slices() -> None:
    assert slices(row_results({"a": Answer("", 1.0)}, {"a": Answer("", 1.0)}, {}, "test")) == ()


def test_groups_count_where_rows_share_one() -> None:
    assert shared_groups(["a", "b", None]) is None
    assert shared_groups(["a", "a", None]) == ["a", "a", None]
