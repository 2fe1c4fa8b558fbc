from __future__ import annotations

import json
from pathlib import Path

import pytest
from worlds import JOB, make_world

from promptopt.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    (tmp_path / "base.txt").write_text("Write the word.\n", encoding="utf-8")
    (tmp_path / "new.txt").write_text("Now in capitals.\n", encoding="utf-8")


def test_prompts_are_compared_in_tables_that_end_in_the_verdict(capsys: Capture) -> None:
    assert main(["compare", "base.txt", "new.txt", "--job", "."]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert "exact_match on test rows, 95% intervals" in lines
    assert "base.txt (baseline) 0.00 [.00,.14] 24 0 0" in lines
    assert "new.txt 1.00 [.86,1.00] 24 0 0" in lines
    assert "new.txt - base.txt +1.00 [.84,1.00] 24 <.001 <.001 better" in lines
    assert any("no longer prove anything" in line for line in lines)
    assert lines[-1] == "spent: 48 calls, 0 tokens"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--min-gain", ".8"], 0, "gate passed: new.txt gains +1.00 [.84,1.00] over base.txt"),
        (["--min-gain", ".9"], 1, "is not above the bar +0.90"),
        (["--min-gain", ".8", "--confidence", ".999"], 1, "is not above the bar +0.80"),
        (["--min-gain", ".0", "--baseline", "new"], 1, "base.txt gains -1.00"),
        (["--min-gain", "-.02", "--all-pairs", "--rows", "12"], 0, "gate passed"),
    ],
)
def test_the_gate_ends_the_output_and_decides_the_exit_code(
    capsys: Capture, options: list[str], code: int, said: str
) -> None:
    assert main(["compare", "base.txt", "new.txt", "--job", ".", "-q", *options]) == code
    captured = capsys.readouterr()
    assert said in captured.out.splitlines()[-1]
    assert captured.err == ""


def test_json_is_all_that_is_printed(capsys: Capture) -> None:
    argv = [
        "compare",
        "base.txt",
        "new.txt",
        "--job",
        ".",
        "--split",
        "select",
        "--json",
        "--min-gain",
        ".99",
    ]
    assert main(argv) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["split"], told["baseline"], told["gate"]["passed"]) == ("select", "base.txt", False)
    (pair,) = told["pairs"]
    assert (pair["name"], pair["gain"], pair["verdict"]) == ("new.txt", 1.0, "better")
    assert pair["p"] == pair["p_holm"] < 0.001


def test_runs_are_compared_without_a_call(capsys: Capture, tmp_path: Path) -> None:
    assert main(["run", ".", "-q"]) == 0
    assert main(["run", ".", "-q", "--set", "search=seed_only"]) == 0
    (tmp_path / "models.py").unlink()  # nobody could answer now
    capsys.readouterr()
    assert main(["compare", "runs/capitals-002", "runs/latest/../capitals-001", "--min-gain", "0.5"]) == 0
    assert "24 <.001 <.001 better" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["base.txt"], "compare: needs at least two prompts or runs"),
        (["base.txt", "new.txt"], "base.txt: is a prompt, which has no scores of its own"),
        (["base.txt", "nwe.txt", "--job", "."], "nwe.txt: no such prompt file or run folder"),
        (["base.txt", "new.txt", "--job", ".", "--baseline", "mine"], "baseline: 'mine' is none of them"),
        (["base.txt", "new.txt", "--job", ".", "--confidence", "95"], "confidence: must lie between 0 and 1"),
        (["base.txt", "new.txt", "--job", ".", "--min-gain", "nan"], "min_gain: must be a number"),
        (["base.txt", "new.txt", "--set", "seed=1"], "--set: changes a job"),
        (["base.txt", "new.txt", "--job", "elsewhere.yaml"], "elsewhere.yaml"),
        (["base.txt", "new.txt", "--job", ".", "--split", "dev"], "'dev'"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_buys_nothing(
    tmp_path: Path, capsys: Capture, argv: list[str], said: str
) -> None:
    with (tmp_path / "models.py").open("a", encoding="utf-8") as models:
        models.write("\n\ntarget = interrupted  # whoever asks it anything ends with another exit code\n")
    assert main(["compare", *argv]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_run_that_weighs_cost_says_so_in_its_plan_and_shows_its_front(
    tmp_path: Path, capsys: Capture
) -> None:
    job = JOB.replace("python/models.py:target", "embedded/small").replace(
        "{name: ape,", "{name: paraphrases}\n#"
    )
    job += "objective: {name: pareto, cost: output_tokens, prefer: cheap}\n"
    make_world(tmp_path / "job", job, rows=20)
    assert main(["run", "job"]) == 0
    out = capsys.readouterr().out
    assert "weigh    reward against output tokens, the cheapest within the noise of the best wins" in out
    assert "front:  reward on the select rows against output tokens of an answer; * is the winner" in out
    assert [line for line in out.splitlines() if line.startswith("* ")]
    assert "$ per" not in out


def test_a_target_without_token_counts_has_no_front_to_show(capsys: Capture) -> None:
    assert main(["run", ".", "--set", "objective=pareto"]) == 0
    assert "front:  none; the target counts no tokens" in capsys.readouterr().out
