from __future__ import annotations

import json
from pathlib import Path

from worlds import JOB, make_world

from promptopt.api import run_job
from promptopt.config import load_job
from promptopt.report.columns import extra_columns
from promptopt.report.reading import read_run
from promptopt.runfolder import RunFolder
from promptopt.strict_yaml import load


def add_topics(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [json.dumps({**row, "topic": ("birds", "fish")[i % 2], "n": i}) for i, row in enumerate(rows)]
    file.write_text("\n".join(lines) + "\n")


def test_a_column_that_is_no_input_is_sliced_by_while_the_file_is_what_it_was(tmp_path: Path) -> None:
    config = make_world(
        tmp_path / "job", JOB.replace("data: rows.jsonl", "data: {path: rows.jsonl, inputs: [input]}")
    )
    rows = tmp_path / "job" / "rows.jsonl"
    add_topics(rows)
    run_job(load_job(config), folder=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    found = read_run(folder.path)
    topics = [one for one in found.slices if one.column == "topic"]
    assert {one.value for one in topics} == {"birds", "fish"}
    assert sum(one.n for one in topics) == 24
    lock = load(folder.lock_file).value
    assert set(extra_columns(lock, folder.rows())) == {"topic", "n"}
    assert "topic" in folder.report_file.read_text()

    rows.write_text(rows.read_text().replace("worda", "WORDA", 1))
    assert extra_columns(lock, folder.rows()) == {}
    rows.unlink()
    assert extra_columns(lock, folder.rows()) == {}
    assert [one for one in read_run(folder.path).slices if one.column == "topic"] == []


def test_a_run_from_python_has_no_file() -> None:
    assert extra_columns({"python": True}, {}) == {}
