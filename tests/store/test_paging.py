"""Copying a journal page by page: all of it or nothing, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from postgres import server

from promptopt.errors import JournalError
from promptopt.journal import COLUMNS, Call, Journal
from promptopt.records import Usage
from promptopt.store.contract import PAGE

ROWS = 2 * PAGE + 1
"""Two full pages and a rest."""


def fill(journal: Journal, many: int, size: int = 10) -> None:
    text = "x" * size
    with journal.batch():
        for number in range(many):
            call = Call({"type": "completion", "text": f"{text}{number}"}, 1, Usage(1, 1), 0.0)
            journal.put_call(f"k{number * 7919 % many}", "target", "{}", call)
    with journal.batch():
        for number in range(many):
            journal.put_prompt(f"p{number * 7919 % many}", {"instruction": f"{text}{number}"})
    cells = [(f"p{n}", str(n % 5), 0, "r", "ok", 1.0, text, 1, text, "") for n in range(many)]
    journal.put_cells("search", cells)
    journal.write_off("k", "target", many, Usage(3, 4))


def content(journal: Journal) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: [row for page in journal._store.pages(table, columns) for row in page]
        for table, columns in COLUMNS.items()
    }


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    pytest.importorskip("psycopg")
    with server() as url:
        yield url


@pytest.mark.parametrize("many", [0, 1, PAGE, ROWS])
def test_pages_are_all_rows_once_in_order(many):
    journal = Journal()
    fill(journal, many)
    for table, columns in COLUMNS.items():
        pages = list(journal._store.pages(table, columns))
        assert all(0 < len(page) <= PAGE for page in pages)
        assert sum(map(len, pages)) == (journal._store.query(f"SELECT count(*) FROM {table}")[0][0])
    prompts = [row[0] for page in journal._store.pages("prompts", ("id",)) for row in page]
    assert prompts == [f"p{number * 7919 % many}" for number in range(many)]
    journal.close()


def test_what_is_longer_than_a_page_comes_over_and_home(tmp_path, database):
    here, there, home = (
        Journal(tmp_path / "here"), Journal(f"{database}?study=pages"), Journal(tmp_path / "home"),
    )  # fmt: skip
    fill(here, ROWS)
    here.copy_to(there)
    there.copy_to(home)
    expected = content(here)
    assert {table: len(rows) for table, rows in expected.items() if table != "meta"} == dict.fromkeys(
        ("calls", "attempts", "prompts", "cells"), ROWS
    )
    for journal in (there, home):
        found = content(journal)
        assert {table: sorted(map(repr, rows)) for table, rows in found.items()} == {
            table: sorted(map(repr, rows)) for table, rows in expected.items()
        }
        assert found["prompts"] == expected["prompts"]  # in the order in which they came
    assert home.get_calls([f"k{n}" for n in range(ROWS)]) == here.get_calls([f"k{n}" for n in range(ROWS)])
    for journal in (here, there, home):
        journal.close()


@pytest.mark.parametrize("there", ["file", "database"])
def test_a_copy_that_is_interrupted_leaves_nothing(tmp_path, request, there):
    target = tmp_path / "there"
    if there == "database":
        target = request.getfixturevalue("database") + "?study=cut"
    here = Journal(tmp_path / "here")
    fill(here, ROWS)
    other = Journal(target)
    pages, seen = here._store.pages, []

    def cut(table, columns):
        for page in pages(table, columns):
            seen.append(table)
            if seen.count("cells") == 2:
                raise KeyboardInterrupt
            yield page

    here._store.pages = cut  # the user's Ctrl-C, at the second page of cells
    with pytest.raises(KeyboardInterrupt):
        here.copy_to(other)
    other.close()
    other = Journal(target)
    assert [other.count(table) for table in ("calls", "attempts", "prompts", "cells")] == [0] * 4
    del here._store.pages
    here.copy_to(other)
    assert [other.count(table) for table in ("calls", "attempts", "prompts", "cells")] == [ROWS] * 4
    other.close()
    here.close()


def test_a_connection_that_is_lost_in_the_middle_leaves_nothing(tmp_path, database):
    here, other = Journal(tmp_path / "here"), Journal(f"{database}?study=lost")
    watcher = Journal(f"{database}?study=lost")
    fill(here, ROWS)
    pages = here._store.pages

    def cut(table, columns):
        for page in pages(table, columns):
            yield page
            watcher._store.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ?",
                (other._store.worker,),
            )

    here._store.pages = cut
    with pytest.raises(JournalError, match="is lost"):
        here.copy_to(other)
    assert [watcher.count(table) for table in ("calls", "attempts", "prompts", "cells")] == [0] * 4
    for journal in (here, other, watcher):
        journal.close()


def peak(source: Journal, target: Journal) -> int:
    tracemalloc.start()
    source.copy_to(target)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_ten_times_the_rows_take_no_more_memory(tmp_path, database):
    peaks = {}
    for many in (PAGE, 10 * PAGE):
        here, there = Journal(tmp_path / f"here{many}"), Journal(f"{database}?study=size{many}")
        home = Journal(tmp_path / f"home{many}")
        fill(here, many, size=2000)
        peaks[many] = peak(here, there), peak(there, home)
        for journal in (here, there, home):
            journal.close()
    for small, large in zip(*peaks.values(), strict=True):
        assert large < 2 * small
        assert large < 10 * PAGE * 2000 / 2  # the table of calls alone is twice as large
