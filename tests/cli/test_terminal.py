"""What a terminal of 80 columns shows, with colours and without; what a pipe gets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import on_terminal, without_escapes
from worlds import JOB, MODELS, make_world

COLOUR = re.compile(r"\x1b\[[0-9;]*[0-9]m")
RACE = JOB.replace(
    "search: {name: ape, num_prompts_per_subsample: 3, rounds: 0}",
    "search: [{name: ape, num_prompts_per_subsample: 3, rounds: 0}, {name: paraphrases, n: 3}]",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, and what the first one showed on a terminal in colour in `first.txt`."""
    here = tmp_path_factory.mktemp("terminal")
    make_world(here / "job", RACE)
    hostile = MODELS.replace("Write it in capitals.", "Write it in capitals. \\x1b[31m\\u202e red")
    (here / "job" / "models.py").write_text(hostile, encoding="utf-8")
    (here / "first.txt").write_text(on_terminal("run", "job", cwd=here), encoding="utf-8")
    on_terminal("run", "job", "--seed", "1", cwd=here)
    return here


def fits(text: str, columns: int = 80) -> None:
    """Check that no line is too long but for one word, which nothing can break (a path, say)."""
    lines = without_escapes(text).split("\n")
    assert [line for line in lines if len(line) > columns and len(line.split()) > 1] == []


def last_part(text: str) -> str:
    """Return what stays when the panel is taken away."""
    return text.rpartition("\x1b[?25h")[2]


def test_the_summary_of_a_run_fits_and_ends_in_its_verdict(world: Path) -> None:
    text = (world / "first.txt").read_text(encoding="utf-8")
    end = last_part(text)
    fits(end)
    told = without_escapes(end)
    for start in ("leaderboard: ", "best prompt (", "why:    ", "saved:  runs/", "report: runs/", "spent:  "):
        assert any(line.startswith(start) for line in told.splitlines()), start
    verdict = " ".join(told[told.rindex("baseline 0.") :].split())
    assert re.fullmatch(r"baseline 0\.00 \[.*\] -> best 1\.00 \[.*\] on 24 held-out rows; paired .*", verdict)
    assert "\\x1b[31m\\u202e red" in told
    assert "\x1b[31m" not in text
    assert "\u202e" not in text


def test_the_plan_goes_on_under_its_text(world: Path) -> None:
    plan = (world / "first.txt").read_text(encoding="utf-8").partition("\x1b[?25l")[0]
    fits(plan)
    lines = without_escapes(plan).splitlines()
    power = next(place for place, line in enumerate(lines) if line.startswith("power    "))
    assert lines[power + 1].startswith("         ")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "words", [("ls",), ("compare", "runs/capitals-001", "runs/capitals-002"), ("plugins",)]
)
def test_tables_fit(world: Path, columns: int, words: tuple[str, ...]) -> None:
    text = on_terminal(*words, cwd=world, columns=columns)
    fits(text, columns)
    if columns >= 80 and words[0] == "ls":
        assert "capitals-001" in text
        assert "p<.001" in text
    if columns >= 80 and words[0] == "compare":
        assert "the same prompt" in text or "no reliable difference" in text


def test_without_colour_there_is_none(world: Path) -> None:
    for words in (("ls",), ("resume", "runs/capitals-001")):
        text = on_terminal(*words, cwd=world, NO_COLOR="1")
        assert [c for c in COLOUR.findall(text) if not re.fullmatch(r"\x1b\[(0|1|2|3|22|23)m", c)] == []


def test_a_dumb_terminal_gets_plain_lines(world: Path) -> None:
    text = on_terminal("resume", "runs/capitals-001", cwd=world, TERM="dumb")
    assert "\x1b" not in text
    assert "baseline: scoring your prompt" in text


def test_a_pipe_gets_plain_whole_lines(world: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "promptopt.cli", "resume", "runs/capitals-001"],
        cwd=world, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("baseline 0.00 ")
    assert "held-out rows; paired" in lines[-1]
    assert not any(line.startswith("         ") for line in lines)
