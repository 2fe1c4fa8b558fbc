"""The matrix names tests that there are, and none of those of faults is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import matrix
from tests.matrix_rows import CANNOT, ROWS

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[`(\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")


def names_in(file: Path) -> set[str]:
    """Return the tests of a file; a state machine's is assigned."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.lower().startswith("test")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_every_row_names_tests_that_there_are(row):
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in names_in(ROOT / file), test


def test_every_test_of_a_fault_is_in_a_row():
    named = {test for row in ROWS for test in row.tests}
    there = {
        f"{file.relative_to(ROOT)}::{name}"
        for file in (ROOT / "tests" / "faults").glob("test_*.py")
        for name in names_in(file)
    }
    assert there - named == set()


def test_cases_have_names_of_their_own_and_there_are_enough():
    cases = [(row.group, row.case) for row in ROWS]
    assert len(set(cases)) == len(cases) >= 80
    assert all(reason for reason in CANNOT.values())


def test_every_promise_links_to_a_test_that_there_is():
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    links = LINK.findall(page)
    assert len(links) >= 40
    for name, file in links:
        assert name in names_in(ROOT / file), name
    promises = page.split("\n- ")[1:]
    assert [promise for promise in promises if not LINK.search(promise)] == []


def test_the_matrix_tells_what_was_survived_and_what_was_not(monkeypatch, capsys):
    assert matrix.main(["--list", "--group", "money"]) == 0
    assert "money: the cap at 64 at once: tests/test_durability.py::" in capsys.readouterr().out
    tally = matrix.Tally(
        {"a": ["passed"], "b": ["passed", "failed"], "c": ["skipped"], "d": ["passed", "skipped"]},
        {"a": 1.0},
        {"b": "E assert"},
    )
    states = [tally.state([name]) for name in ("a", "b", "c", "d", "e")]
    assert states == ["survived", "NOT SURVIVED", "not tried", "survived", "not tried"]
    assert str(matrix.line("g", "case", ["b"], tally)) == "NOT SURVIVED     0.0 s  g: case (E assert)"
    assert matrix.line("g", "case", ["c", "e"], tally).why == "takes minutes: --slow"
