from __future__ import annotations

from pathlib import Path

from benchmarks.report import make_run
from promptopt.report.reading import read_run
from promptopt.report.write import write_report
from promptopt.runfolder import RunFolder


def test_the_run_that_is_measured_has_every_prompt_on_every_search_row(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    make_run(folder, 6, 40)
    found = read_run(folder.path)
    assert len(found.candidates) == 6
    assert {candidate.scores["search"].n for candidate in found.candidates} == {40}
    assert len(found.rows) == 40
    assert {one.column for one in found.slices} >= {"topic"}
    assert write_report(folder.path).stat().st_size > 50_000
