from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile import make_hostile_run
from toys import TryAll, fake, make_setup, target_reply

from promptopt.contracts.model import Failure
from promptopt.errors import BadInput
from promptopt.programs import Single
from promptopt.report.reading import read_run
from promptopt.report.write import write_report
from promptopt.run import execute
from promptopt.runfolder import RunFolder


def test_a_summary_says_what_the_study_says(tmp_path: Path) -> None:
    folder, study = make_hostile_run(tmp_path / "run")
    found = read_run(folder.path)
    assert found.verdict == study.verdict
    assert (found.best, found.seed_prompt) == (study.best, study.seed_prompt)
    assert found.state == "done"
    for candidate in study.candidates:
        shown = found.candidate(candidate.prompt.id)
        assert shown is not None
        for split in ("search", "select", "test"):
            evaluation = candidate.of(split)
            assert (split in shown.scores) == (evaluation is not None)
            if evaluation is not None:
                score = shown.scores[split]
                assert (score.n, score.failed) == (evaluation.n, evaluation.failed)
                assert score.mean == pytest.approx(evaluation.mean)
                assert score.prompt_tokens is not None
    assert {calls.role: calls.spent for calls in found.calls} == dict(study.spent)
    failed = sum(e.failed for c in study.candidates for s in ("search", "select", "test") if (e := c.of(s)))
    assert sum(found.failed_cells.values()) == failed > 0
    target = next(calls for calls in found.calls if calls.role == "target")
    assert sum(target.failures.values()) >= failed
    assert set(target.failures) == {"rejected"}
    winner = found.candidate(study.best.id)
    assert winner is not None
    assert winner.scores["test"].interval == study.verdict.best_interval
    counts = found.counts
    assert sum(counts.values()) == len(found.rows) == 25
    assert counts["fixed"] - counts["broke"] == round((study.verdict.difference or 0) * study.verdict.n)
    assert all(row.row is not None for row in found.rows)


def test_an_interrupted_run_is_read_as_far_as_it_went(tmp_path: Path) -> None:
    asked = []

    def until_it_breaks(request: object) -> object:
        asked.append(request)
        if len(asked) > 70:
            raise KeyboardInterrupt
        return target_reply(request)  # type: ignore[arg-type]

    folder = RunFolder(tmp_path / "run")
    models = {**make_setup().models, "target": fake(until_it_breaks, "target")}
    with pytest.raises(KeyboardInterrupt):
        execute(make_setup(models=models), folder)
    found = read_run(folder.path)
    assert (found.state, found.verdict, found.result) == ("interrupted", None, {})
    assert found.seed_prompt is not None
    assert found.seed_prompt.instruction == "Do something."
    assert found.proof_split == "search"
    assert "interrupted" in write_report(folder.path).read_text()
    assert {split for split, _ in folder.rows().values()} == {"search", "select"}  # the seal holds


def test_the_searchers_of_a_race_have_a_curve_each(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(entrants={"one": TryAll(2), "two": TryAll(5)}), folder)
    found = read_run(folder.path)
    assert [curve.searcher for curve in found.curves] == ["one", "two"]
    assert all(curve.steps for curve in found.curves)
    assert {entry.searcher for entry in found.leaderboard} == {"one", "two"}
    for curve in found.curves:
        bounds = [step.bound for step in curve.steps]
        assert bounds == sorted(bounds)
        assert curve.end.calls >= curve.steps[-1].spent.calls


def test_a_run_without_rows_and_history_is_still_told(tmp_path: Path) -> None:
    folder, study = make_hostile_run(tmp_path / "run")
    folder.rows_file.unlink()
    folder.history_file.unlink()
    found = read_run(folder.path)
    assert found.verdict == study.verdict
    assert found.curves == ()
    assert all(row.row is None for row in found.rows)
    assert "Row by row" in write_report(folder.path).read_text()


def test_where_there_is_no_run_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a run's folder"):
        read_run(tmp_path)


def test_failures_of_a_whole_prompt_leave_no_score(tmp_path: Path) -> None:
    def fall(request: object) -> object:
        told = request.messages[-1].content  # type: ignore[attr-defined]
        return Failure("timeout", "late") if "capitals" in told else target_reply(request)  # type: ignore[arg-type]

    folder = RunFolder(tmp_path / "run")
    models = {**make_setup().models, "target": fake(fall, "target")}
    execute(make_setup(models=models), folder)
    found = read_run(folder.path)
    dead = [c for c in found.candidates if "capitals" in c.prompt.instruction]
    assert dead
    assert dead[0].scores["search"].mean is None
    assert json.loads((folder.path / "result.json").read_text())["best"]["program"] == Single().to_dict()
