"""Splits: declared or drawn by seed, disjoint, independent of row order, and a test split that stays shut."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.data import Rows, read
from promptopt.errors import ConfigError, DataError, SealedSplit
from promptopt.records import Example
from promptopt.splits import CAPS, Sizes, Splits, make_splits, sizes_for


def numbered(n: int, split: str | None = None, start: int = 0, groups: int = 0) -> Rows:
    """Return n rows with inputs `question 0` …, in `groups` groups if any."""
    rows = read(
        [
            {
                "id": f"r{i}",
                "input": f"question {i}",
                "output": str(i % 3),
                "group": f"g{i % groups}" if groups else None,
            }
            for i in range(start, start + n)
        ]
    )
    return rows.assign(split) if split else rows


def shuffled(rows: Rows, seed: int) -> Rows:
    return Rows(tuple(random.Random(seed).sample(rows.rows, len(rows))), rows.fields)


def ids(examples: Sequence[Example]) -> list[str]:
    return [example.id for example in examples]


def all_ids(splits: Splits) -> tuple[list[str], list[str], list[str]]:
    return ids(splits.search), ids(splits.select), ids(splits.open_test("comparison"))


def failure(rows: Rows, sizes: Sizes | None = None, *, allow_duplicates: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        make_splits(rows, seed=0, sizes=sizes or Sizes(), allow_duplicates=allow_duplicates)
    return str(caught.value)


# --- a seeded partition ----------------------------------------------------------------------------


def test_default_shares() -> None:
    splits = make_splits(numbered(100), seed=0)
    assert (len(splits.search), len(splits.select), splits.n_test, splits.unused) == (40, 20, 40, 0)
    assert splits.fields == ("input",)


def test_caps_hold_where_no_size_is_given() -> None:
    splits = make_splits(numbered(4000), seed=0)
    assert (len(splits.search), len(splits.select), splits.n_test) == (
        CAPS["search"],
        CAPS["select"],
        CAPS["test"],
    )
    assert splits.unused == 4000 - sum(CAPS.values())
    assert len(make_splits(numbered(4000), seed=0, sizes=Sizes(search=1500)).search) == 1500


@given(
    n=st.integers(3, 60),
    seed=st.integers(0, 5),
    groups=st.sampled_from([0, 3, 4, 7, 20]),
    order=st.integers(),
)
def test_partition_is_disjoint_complete_and_independent_of_row_order(
    n: int, seed: int, groups: int, order: int
) -> None:
    rows = numbered(n, groups=min(groups, n))
    first, second = make_splits(rows, seed=seed), make_splits(shuffled(rows, order), seed=seed)
    assert first.fingerprint == second.fingerprint
    search, select, test = all_ids(first)
    assert (search, select, test) == all_ids(second)
    assert search
    assert select
    assert test
    assert sorted(search + select + test) == sorted(row.example.id for row in rows)


@given(n=st.integers(12, 60), seed=st.integers(0, 5), groups=st.integers(3, 12), sized=st.booleans())
def test_groups_are_kept_together(n: int, seed: int, groups: int, sized: bool) -> None:
    splits = make_splits(
        numbered(n, groups=groups), seed=seed, sizes=Sizes(select=1, test=2) if sized else Sizes()
    )
    test = splits.open_test("comparison")
    found = [{example.group for example in part} for part in (splits.search, splits.select, test)]
    assert sum(map(len, found)) == len(set.union(*found))
    assert not sized or (len(splits.select), len(test)) == (1, 2)


def test_groups_share_out_close_to_the_default() -> None:
    splits = make_splits(numbered(120, groups=24), seed=3)
    assert (len(splits.search), len(splits.select), splits.n_test) == (45, 25, 50)


def test_one_big_group_leaves_a_unit_for_every_split() -> None:
    rows = read([{"input": f"q{i}", "output": "x", "group": "big" if i > 1 else f"g{i}"} for i in range(50)])
    for seed in range(6):
        splits = make_splits(rows, seed=seed)
        assert sorted((len(splits.search), len(splits.select), splits.n_test)) == [1, 1, 48]


def test_seeds_differ_and_the_order_inside_a_split_is_seeded() -> None:
    first, second = (make_splits(numbered(100), seed=seed) for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert set(ids(first.search)) != set(ids(second.search))
    assert ids(first.search) != sorted(ids(first.search))


def test_new_rows_move_few_of_the_old_ones() -> None:
    before, after = (all_ids(make_splits(numbered(n), seed=0)) for n in (200, 204))
    moved = sum(len(set(old) - set(new)) for old, new in zip(before, after, strict=True))
    assert moved <= 8


def test_a_smaller_size_is_a_prefix_of_a_larger() -> None:
    small, large = (
        make_splits(numbered(90), seed=0, sizes=Sizes(search=n, select=9, test=20)) for n in (10, 50)
    )
    assert large.search[:10] == small.search
    assert all_ids(small)[1:] == all_ids(large)[1:]


def test_equal_inputs_in_one_file_stay_in_one_split() -> None:
    texts = [text for i in range(30) for text in (f"question {i}", f"  Question\t{i} ")]
    rows = read([{"input": text, "output": "x"} for text in texts])
    splits = make_splits(rows, seed=0)
    parts = (splits.search, splits.select, splits.open_test("comparison"))
    folded = [{" ".join(example.inputs["input"].lower().split()) for example in part} for part in parts]
    assert [len(part) for part in parts] == [2 * len(texts) for texts in folded]
    assert sum(map(len, folded)) == 30


@given(
    n=st.integers(6, 40),
    search=st.integers(1, 40),
    select=st.none() | st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_sizes_are_met_exactly_or_refused(n: int, search: int, select: int | None, seed: int) -> None:
    sizes = Sizes(search=search, select=select, test=3)
    if search + (select or 1) + 3 > n:
        assert f"there are {n}" in failure(numbered(n), sizes)
        return
    splits = make_splits(numbered(n), seed=seed, sizes=sizes)
    assert (len(splits.search), splits.n_test) == (search, 3)
    assert len(splits.select) == (select or len(splits.select)) > 0
    assert len(splits.search) + len(splits.select) + splits.n_test + splits.unused == n


def test_too_few_rows() -> None:
    assert failure(numbered(2)) == (
        "sizes: 0 rows asked for, and test and select and search need one each; there are 2; "
        "ask for fewer, or add rows"
    )
    assert "3 rows, tied by group or by the same input, leave 1 to divide" in failure(
        read([{"input": "a", "output": "x"}] * 3)
    )
    assert "sizes.select: must be at least 1; got 0" in failure(numbered(9), Sizes(select=0))
    assert "sizes.search: asks for 8 rows; keeping groups and equal inputs together leaves" in failure(
        numbered(12, groups=3), Sizes(search=8, select=1, test=1)
    )


# --- without a test split --------------------------------------------------------------------------


def test_a_test_size_of_zero_gives_its_share_to_select() -> None:
    splits = make_splits(numbered(100), seed=0, sizes=Sizes(test=0))
    assert (len(splits.search), len(splits.select), splits.n_test, splits.unused) == (40, 60, 0, 0)
    with pytest.raises(DataError, match="test split: holds no rows"):
        splits.open_test("a peek")
    assert "sizes.search: must be at least 1; got 0" in failure(numbered(9), Sizes(search=0))
    assert "sizes.test: must be at least 1; got -1" in failure(numbered(9), Sizes(test=-1))


def test_declared_splits_do_without_test_rows_too() -> None:
    search, select, test = numbered(9, "train"), numbered(5, "dev", 20), numbered(4, "test", 30)
    for rows in (search + select, search + select + test):
        splits = make_splits(rows, seed=0, sizes=Sizes(test=0))
        assert (len(splits.search), len(splits.select), splits.n_test) == (9, 5, 0)
        assert splits.unused == len(rows) - 14
    drawn = make_splits(search + test, seed=0, sizes=Sizes(test=0))
    assert len(drawn.search) + len(drawn.select) == 9


def test_a_test_split_that_could_prove_nothing_is_not_made() -> None:
    assert sizes_for(numbered(13), Sizes()) == Sizes(test=0)
    assert sizes_for(numbered(14), Sizes()) == Sizes()
    assert sizes_for(numbered(60, groups=13), Sizes(search=9)) == Sizes(search=9, test=0)
    assert sizes_for(numbered(13), Sizes(test=3)) == Sizes(test=3)
    assert sizes_for(numbered(9, "train") + numbered(2, "test", 20), Sizes()) == Sizes()


def test_rows_of_one_group_are_one_unit() -> None:
    splits = make_splits(numbered(60, groups=20), seed=0)
    opened = splits.open_test("count")
    assert splits.test_units == len({row.group for row in opened}) < splits.n_test
    assert make_splits(numbered(60), seed=0).test_units == 24


# --- declared splits -------------------------------------------------------------------------------


def test_three_sources() -> None:
    rows = numbered(5, "train") + numbered(4, "validation", 10) + numbered(3, "TEST ", 20)
    splits = make_splits(rows, seed=0)
    search, select, test = all_ids(splits)
    assert sorted(search) == ["r0", "r1", "r2", "r3", "r4"]
    assert sorted(select) == ["r10", "r11", "r12", "r13"]
    assert sorted(test) == ["r20", "r21", "r22"]


@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_missing_split_is_drawn_from_its_neighbour(name: str) -> None:
    splits = make_splits(numbered(30, name) + numbered(7, "test", 50), seed=0)
    assert (len(splits.search), len(splits.select), splits.n_test) == (20, 10, 7)
    again = make_splits(numbered(7, "test", 50) + numbered(30, name), seed=0)
    assert again.fingerprint == splits.fingerprint
    sized = make_splits(numbered(30, name) + numbered(7, "test", 50), seed=0, sizes=Sizes(select=4, test=2))
    assert (len(sized.search), len(sized.select), sized.n_test, sized.unused) == (26, 4, 2, 5)


@pytest.mark.parametrize("name", ["dev", "validation", "valid", "val", "select"])
def test_names_of_the_select_split(name: str) -> None:
    rows = numbered(3, "search") + numbered(2, name, 10) + numbered(2, "test", 20)
    assert sorted(ids(make_splits(rows, seed=0).select)) == ["r10", "r11"]


def test_bad_declarations() -> None:
    test = numbered(2, "test", 20)
    assert failure(numbered(2, "tset") + test) == "rows[0]: unknown split 'tset'; did you mean 'test'?"
    assert "rows[0]: has no split, but rows[0] has; give every row a split or none" in failure(
        numbered(2) + test
    )
    assert "no search rows among the declared splits; got ['test']" in failure(test)
    assert "no test rows among the declared splits; got ['dev', 'train']; declare some" in failure(
        numbered(2, "train") + numbered(2, "dev", 9)
    )
    assert failure(numbered(9, "train") + test, Sizes(test=3)) == (
        "sizes.test: 3 rows asked for; there are 2; ask for fewer, or add rows"
    )


def test_duplicates_across_declared_splits() -> None:
    train = numbered(5, "train")
    test = read(
        [
            {"input": "fresh", "output": "x"},
            {"input": " QUESTION  3", "output": "y"},
            {"input": "Question 4", "output": "y"},
        ]
    ).assign("test")
    assert failure(train + test) == (
        "rows[3]: the same input is in search here and in test at rows[1] (2 such rows); "
        "got {'input': 'question 3'}; remove one, or set allow_duplicates"
    )
    splits = make_splits(train + test, seed=0, allow_duplicates=True)
    assert (len(splits.search) + len(splits.select), splits.n_test) == (5, 3)


def test_a_group_in_two_declared_splits() -> None:
    rows = numbered(6, "train", groups=3) + numbered(2, "test", 20, groups=1)
    message = "group 'g0' is in"
    assert message in failure(rows)
    assert message in failure(rows, allow_duplicates=True)


# --- the seal --------------------------------------------------------------------------------------


def test_the_test_split_opens_once() -> None:
    splits = make_splits(numbered(30), seed=0)
    assert len(splits.open_test("final comparison")) == splits.n_test == 12
    with pytest.raises(SealedSplit, match=r"opened already for 'final comparison'; got 'a peek'"):
        splits.open_test("a peek")


@pytest.mark.parametrize("opened", [False, True])
def test_nothing_else_shows_test_rows(opened: bool) -> None:
    splits = make_splits(numbered(30), seed=0)
    hidden = ids(make_splits(numbered(30), seed=0).open_test("check"))
    if opened:
        splits.open_test("final comparison")
    assert not any(name in repr(splits) or name in str(splits) for name in hidden)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(SealedSplit, match="cannot be copied"):
            duplicate(splits)
    with pytest.raises(TypeError):
        vars(splits)
    with pytest.raises(TypeError):
        iter(splits)  # type: ignore[call-overload]


def test_rows_come_out_by_the_name_of_their_split() -> None:
    splits = make_splits(numbered(30), seed=0)
    assert splits.of("search", "a look") == splits.search
    assert splits.of("select", "a look") == splits.select
    assert len(splits.of("test", "a look")) == splits.n_test
    with pytest.raises(SealedSplit, match="for 'a look'"):
        splits.of("test", "another")
    with pytest.raises(ConfigError, match="choose from search, select, test"):
        splits.of("dev", "a look")


def test_marks_tell_rows_apart_by_content_not_by_id() -> None:
    splits = make_splits(numbered(30), seed=0)
    marks = splits.marks
    assert [marks[row.id][0] for row in splits.select] == ["select"] * len(splits.select)
    assert sum(mark[0] == "test" for mark in marks.values()) == splits.n_test
    assert len({mark[1] for mark in marks.values()}) == 30
    test = splits.open_test("check")
    assert not any(text in mark[1] for row in test for text in row.inputs.values() for mark in marks.values())
    renamed = [{"id": f"x{row.id}", **row.inputs, "output": row.answer} for row in test]
    fresh = make_splits(read(renamed), seed=1).marks
    assert {fresh[f"x{row.id}"][1] for row in test} == {marks[row.id][1] for row in test}


def test_the_fingerprint_holds_ids_and_contents() -> None:
    def fingerprint(**change: object) -> str:
        data: list[dict[str, object]] = [
            {"id": str(i), "input": f"q{i}", "output": "x", "group": f"g{i}"} for i in range(9)
        ]
        return make_splits(read([{**data[0], **change}, *data[1:]]), seed=0).fingerprint

    changes: list[dict[str, object]] = [
        {},
        {"id": "a"},
        {"input": "changed"},
        {"output": "y"},
        {"options": ["x"]},
        {"group": "h"},
    ]
    assert len({fingerprint(**change) for change in changes}) == len(changes)
    assert fingerprint() == fingerprint()
