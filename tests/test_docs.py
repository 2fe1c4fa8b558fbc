"""What the pages in docs/ show can be done: commands are run or parsed, jobs are read, Python is run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.searchers.__main__ import parser as parse_searchers
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.setup import from_job
from promptopt.strict_yaml import load

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BENCHMARKS = {"benchmarks.searchers": parse_searchers}
"""By module: what reads its command line."""


def blocks(kind: str) -> list[object]:
    """Return the blocks of a kind, named by their page and line."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block[1] == kind:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(block[2], id=f"{page.name}:{line}"))
    return found


@pytest.fixture(autouse=True)
def _demo(tmp_path, monkeypatch, capsys):
    """Every page may use the folder that `promptopt init demo --demo` makes."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "demo", "--demo"]) == 0
    capsys.readouterr()


def test_every_block_is_of_a_kind_that_is_tried():
    kinds = {
        kind for page in DOCS.glob("*.md") for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))
    }
    assert kinds <= {"bash", "python", "yaml"}
    assert blocks("bash")


@pytest.mark.parametrize("text", blocks("bash"))
def test_commands_do_what_the_page_says(text, capsys):
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "-m"]:
            BENCHMARKS[words[2]]().parse_args(words[3:])
        elif words == ["promptopt", "init", "demo", "--demo"]:
            assert Path("demo").is_dir()
        elif words:
            assert words[0] == "promptopt", line
            assert main(words[1:]) == 0, line
            assert "ceiling" in capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("yaml"))
def test_parts_of_a_job_fit_into_one(text):
    job = load(Path("demo/promptopt.yaml")).value
    part = Path("demo/part.yaml")
    part.write_text(text, encoding="utf-8")
    assert load(part).value.keys() <= {
        "prompt",
        "optimize",
        "search",
        "budget",
        "reward",
        "target",
        "proposer",
    }
    kept = {key: value for key, value in job.items() if key not in load(part).value}
    whole = Path("demo/whole.yaml")
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in kept.items()]
    whole.write_text("".join(lines) + text, encoding="utf-8")
    from_job(load_job(whole))


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text, capsys):
    exec(compile(text, "docs", "exec"), {})
    assert capsys.readouterr().out.strip()
