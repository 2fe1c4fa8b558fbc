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
