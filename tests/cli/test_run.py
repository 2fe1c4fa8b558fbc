from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from worlds import JOB, make_judged_world, make_world

from promptopt.cli.main import main

Capture = pytest.CaptureFixture[str]
VERDICT = re.compile(
    r"baseline \d\.\d\d \[.*\] -> best 1\.00 \[.*\] on \d+ held-out rows; paired \+1\.00 \[.*\], p<\.001"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_ends_in_its_verdict_and_leaves_a_folder(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("rows     ")
    assert "ceiling  2,000 calls" in lines
    assert "  Write it in capitals." in lines
    assert VERDICT.fullmatch(lines[-1]), lines[-1]
    folder = tmp_path / "runs" / "capitals-001"
    assert (tmp_path / "runs" / "latest").resolve() == folder
    expected = {"config.lock.yaml", "env.json", "journal.sqlite", "candidates.jsonl", "best", "result.json"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "result.json").read_text())["line"] == lines[-1]
    assert "runs/capitals-001/best/prompt.json" in captured.out


def test_quiet_prints_the_verdict_alone_and_a_finished_run_is_resumed_for_free(
    tmp_path: Path, capsys: Capture
) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job", "-q", "--folder", "here"]) == 0
    first = capsys.readouterr().out
    assert VERDICT.fullmatch(first.strip())
    assert main(["resume", "here", "-q"]) == 0
    assert capsys.readouterr().out == first


def test_a_dry_run_calls_nothing_and_leaves_nothing(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job", JOB.replace("models.py:target", "models.py:interrupted"))
    assert main(["run", "job", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "ceiling  2,000 calls" in out
    assert "power    with 24 test rows a gain under 30 points cannot be seen; you need about 310 rows" in out
    assert not (tmp_path / "runs").exists()


def test_the_closing_lines_say_why_the_gap_and_the_power(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = (
        "why:    highest mean on 12 select rows",
        "gap:    on the rows it was",
        "power:  with 24 test rows",
    )
    for start in starts:
        assert any(line.startswith(start) for line in lines), start


def test_a_job_without_a_test_split_ends_in_an_estimate(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job", "--set", "data.sizes.test=0"]) == 0
    out = capsys.readouterr().out
    assert "24 search, 36 select, no test rows" in out
    assert "note     no test split: the gain will be estimated on reused rows" in out
    assert out.splitlines()[-1].endswith("estimated on reused rows; not a held-out proof: likely better")
    assert main(["ls"]) == 0
    assert "keep your prompt" in capsys.readouterr().out


def test_few_rows_lose_their_test_split_and_very_few_are_refused(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "few", rows=12)
    assert main(["run", "few", "--dry-run"]) == 0
    assert "5 search, 7 select, no test rows" in capsys.readouterr().out
    make_world(tmp_path / "tiny", rows=8)
    assert main(["run", "tiny"]) == 2
    assert capsys.readouterr().err == (
        "select split: too few rows to show any improvement, and there is no test split; got '5 independent "
        "rows'; add rows: 6 independent rows at least, about 77 to see a gain of 10 points\n"
    )


def test_the_command_line_changes_the_job(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job")
    argv = [
        "run",
        "job",
        "--dry-run",
        "--seed",
        "7",
        "--set",
        "budget.calls=999",
        "--set",
        "search=seed_only",
    ]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "ceiling  999 calls" in out
    assert "search   seed_only" in out


def test_when_nothing_is_better_the_last_line_says_so(tmp_path: Path, capsys: Capture) -> None:
    make_world(
        tmp_path / "job", JOB.replace("{name: ape, num_prompts_per_subsample: 3, rounds: 0}", "seed_only")
    )
    assert main(["run", "job"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("no reliable improvement; keep your prompt")


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    file = make_world(tmp_path / "job", JOB.replace("models.py:proposer", "models.py:interrupted"))
    assert main(["run", str(file)]) == 130
    captured = capsys.readouterr()
    assert captured.err == "interrupted\n"
    said = captured.out.splitlines()[-1]
    assert said == "24 calls are kept; go on with: promptopt resume runs/capitals-001"


def test_a_run_interrupted_before_its_first_answer_leaves_no_folder(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job", JOB.replace("models.py:target", "models.py:interrupted"))
    assert main(["run", "job"]) == 130
    assert list((tmp_path / "runs").iterdir()) == []
    assert main(["run", "job", "--folder", "mine"]) == 130
    assert (tmp_path / "mine" / "config.lock.yaml").exists()


def test_answers_of_another_run_cost_nothing_again(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job"]) == 0
    assert main(["run", "job", "--seed", "0", "--reuse", "runs/capitals-001"]) == 0
    assert "spent:  0 calls" in capsys.readouterr().out


def test_a_model_that_always_fails_stops_the_run(tmp_path: Path, capsys: Capture) -> None:
    make_world(tmp_path / "job", JOB.replace("models.py:target", "models.py:broken"))
    assert main(["run", "job"]) == 3
    err = capsys.readouterr().err
    assert "of the seed prompt failed" in err
    assert err.count("\n") == 1


def test_resume_of_what_is_no_run_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert main(["resume", str(tmp_path)]) == 2
    assert "is not a run's folder" in capsys.readouterr().err


def test_several_searchers_end_in_one_leaderboard_and_are_resumed_for_free(
    tmp_path: Path, capsys: Capture
) -> None:
    make_world(tmp_path / "job")
    argv = ["run", "job", "--search", "seed_only,paraphrases", "--folder", "here"]
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("search   seed_only, paraphrases, prompts written by python/") for line in lines
    )
    compete = "2 searchers, one after the other, as if each were alone with 1,000 calls"
    assert f"compete  {compete}; no answer is bought twice" in lines
    assert "paraphrases, search: searching" in lines
    head = next(place for place, line in enumerate(lines) if line.startswith("leaderboard: "))
    assert lines[head + 1].split() == [
        "searcher", "test", "gain", "p", "cells", "calls", "tokens", "seconds", "prompt",
    ]  # fmt: skip
    first, second = (line.rstrip() for line in lines[head + 2 : head + 4])
    assert first.split()[:3] == ["*", "paraphrases", "1.00"]
    assert first.endswith("Write it in capitals.")
    assert second.split()[0] == "seed_only"
    assert second.endswith("(yours)")
    assert VERDICT.fullmatch(lines[-1]), lines[-1]
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    assert [entry["searcher"] for entry in result["leaderboard"]] == ["paraphrases", "seed_only"]
    calls = result["spent"]["target"]["calls"]
    assert main(["resume", "here"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[-1] == lines[-1]
    assert json.loads((tmp_path / "here" / "result.json").read_text())["spent"]["target"]["calls"] == calls


def test_a_budget_that_cannot_pay_all_searchers_says_how_much_it_takes(
    tmp_path: Path, capsys: Capture
) -> None:
    make_world(tmp_path / "job")
    assert main(["run", "job", "--search", "seed_only,paraphrases", "--set", "budget.calls=100"]) == 2
    err = capsys.readouterr().err
    assert "the final comparison for each of 2 searchers; got 100; give it 192 or more" in err
    assert main(["run", "job", "--search", "seed_only,paraphraze"]) == 2
    assert "unknown searcher 'paraphraze'; did you mean 'paraphrases'?" in capsys.readouterr().err


def test_what_the_searcher_says_of_its_search_is_in_the_closing_lines(
    tmp_path: Path, capsys: Capture
) -> None:
    search = (
        "search:\n  name: template\n  trials: 12\n  sampler: grid\n"
        '  text: "{{role}}\\n{{task}}\\nInput: {{input}}\\nOutput:"\n'
        '  slots:\n    role: ["", You are a clerk., You are a cat.]\n'
        "    task: [Repeat it., Write it in capitals., Sing it., Say it.]\n"
    )
    make_world(
        tmp_path / "job",
        JOB.replace("search: {name: ape, num_prompts_per_subsample: 3, rounds: 0}\n", search),
    )
    assert main(["run", "job"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.startswith("found: "))
    assert first.startswith("found:  template: over 12 prompts task explains ")
    notes = json.loads((tmp_path / "runs" / "latest" / "result.json").read_text())["search_notes"]
    assert "found:  " + notes[0]["text"] == first
    assert notes[0]["data"]["axes"][0]["name"] == "task"


def test_a_judged_job_says_who_judges_what_it_cost_and_whether_it_can_be_talked_into_scores(
    tmp_path: Path, capsys: Capture
) -> None:
    make_judged_world(tmp_path / "job", "gullible")
    assert main(["run", "job", "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "judged by judge (python/" in planned
    assert "calls    63 for your prompt, at most 240" in planned  # 24 rows twice, and 15 for canaries
    assert "outputs this short are taken to repeat; equal ones are judged once" in planned
    assert main(["run", "job"]) == 0
    lines = capsys.readouterr().out.splitlines()
    alarm = "judge check: the scores rest on a judge that can be talked into them"
    assert sum(line.startswith(f"note: {alarm}") for line in lines) == 1
    assert sum(line.startswith(f"note:   {alarm}") for line in lines) == 1
    (spent,) = [line for line in lines if line.startswith("spent:")]
    assert " (the judge: " in spent
    assert main(["report", "runs/latest", "--format", "junit"]) == 0


def test_the_target_as_its_own_judge_and_a_judge_without_work_are_told_of(
    tmp_path: Path, capsys: Capture
) -> None:
    make_judged_world(tmp_path / "job")
    argv = ["run", "job", "--dry-run", "--set"]
    assert main([*argv, f"target=python/{tmp_path / 'job' / 'models.py'}:judge"]) == 0
    assert "the target judges itself: models tend to favour what they wrote" in capsys.readouterr().out
    assert main([*argv, "reward=exact_match"]) == 0
    assert "the reward exact_match asks no judge" in capsys.readouterr().out
