from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.plan import make_plan
from promptopt.setup import from_job

Capture = pytest.CaptureFixture[str]


def test_init_writes_a_job_with_every_line_explained(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["init", str(folder)]) == 0
    text = (folder / "promptopt.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=promptopt.schema.json\n")
    assert "properties" in json.loads((folder / "promptopt.schema.json").read_text(encoding="utf-8"))
    assert "next: fill in" in capsys.readouterr().out
    assert load_job(folder).target.model == "embedded/small"


def test_what_is_commented_out_in_the_job_is_right_too(tmp_path: Path) -> None:
    main(["init", str(tmp_path)])
    text = (tmp_path / "promptopt.yaml").read_text(encoding="utf-8")
    opened = re.sub(r"^( *)# ([a-z_]+: )", r"\1\2", text, flags=re.MULTILINE)
    opened = opened.replace("embedded/small", "openai/gpt-4o-mini")
    (tmp_path / "open.yaml").write_text(opened, encoding="utf-8")
    job = load_job(tmp_path / "open.yaml")
    assert job.proposer is not None
    assert job.target.options == {"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "MY_API_KEY"}
    assert (job.budget.usd, job.data.sizes.test, job.data.options) == (2, 300, "options")


def test_the_demo_is_ready_to_run(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path), "--demo"]) == 0
    setup = from_job(load_job(tmp_path))
    plan = make_plan(setup)
    assert plan.rows == (100, 60, 70)
    assert plan.budget.calls is not None
    notice = (tmp_path / "NOTICE.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in notice
    assert "github.com/orhonovich/instruction-induction" in notice
    assert all(
        len(row.answer) == 1 and row.inputs["input"][1] == row.answer for row in setup.task.splits.search
    )


def reviews(folder: Path, header: str = "text,label") -> Path:
    lines = [f'"a film, number {i}",{"good" if i % 2 else "bad"}' for i in range(60)]
    file = folder / "my reviews.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def test_a_job_is_filled_in_for_rows_of_ones_own(tmp_path: Path, capsys: Capture) -> None:
    data = reviews(tmp_path)
    assert main(["init", str(tmp_path / "job"), "--data", str(data)]) == 0
    assert "next: promptopt run" in capsys.readouterr().out
    setup = from_job(load_job(tmp_path / "job"))
    assert setup.task.fields == ("text",)
    row = setup.task.splits.search[0]
    assert row.answer in ("good", "bad")
    (message,) = setup.task.seed_prompt.render(row)
    assert message.content == f"Answer in a few words.\n\nInput: {row.inputs['text']}\nOutput:"
    assert (setup.decoding.max_tokens, setup.decoding.reasoning_tokens) == (16, 256)


def test_the_answer_and_the_prompt_can_be_named(tmp_path: Path, capsys: Capture) -> None:
    data = reviews(tmp_path, "text,is it #1?")
    assert main(["init", str(tmp_path), "--data", str(data)]) == 2
    assert "no answer column" in (err := capsys.readouterr().err)
    assert err.endswith("name it with --answer\n")
    argv = ["init", str(tmp_path), "--data", str(data), "--answer", "is it #1?"]
    assert main([*argv, "--prompt", "  Rate: {{text}} #1\n: a"]) == 0
    setup = from_job(load_job(tmp_path))
    row = setup.task.splits.search[0]
    assert setup.task.seed_prompt.render(row)[0].content == f"  Rate: {row.inputs['text']} #1\n: a"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--prompt", "x"], "--answer and --prompt are about rows of yours"),
        (["--demo", "--data", "x.csv"], "--demo brings its own rows"),
        (["--data", "gone.csv"], "gone.csv"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, capsys: Capture, argv: list[str], said: str
) -> None:
    assert main(["init", str(tmp_path), *argv]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "promptopt.yaml").exists()


def test_files_that_are_there_are_kept_unless_forced(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "promptopt.yaml"
    file.write_text("mine", encoding="utf-8")
    assert main(["init", str(tmp_path), "--demo"]) == 2
    assert capsys.readouterr().err == f"{file}: is there already; use --force to overwrite it\n"
    assert file.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "rows.jsonl").exists()
    assert main(["init", str(tmp_path), "--demo", "--force"]) == 0
    assert file.read_text(encoding="utf-8") != "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written" in capsys.readouterr().err
