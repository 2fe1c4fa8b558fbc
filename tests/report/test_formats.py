"""Markdown, JSON, JUnit and CSV: complete, and safe to look at, whatever a run holds."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from hostile import ACTS, SCRIPT, make_hostile_run
from toys import reasoning

from promptopt.contracts.model import Decoding
from promptopt.programs import SelfConsistency
from promptopt.report.data import render_json
from promptopt.report.junit import render_junit
from promptopt.report.markdown import fenced, plain, render_markdown
from promptopt.report.reading import read_run
from promptopt.report.summary import Summary
from promptopt.report.tables import guard, render_csv
from promptopt.report.write import render
from promptopt.run import execute
from promptopt.runfolder import RunFolder


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return read_run(make_hostile_run(tmp_path_factory.mktemp("formats") / "run")[0].path)


@pytest.mark.parametrize("format", ["html", "md", "json", "junit", "csv"])
def test_nothing_in_any_format_acts_on_a_screen(summary: Summary, format: str) -> None:
    text = render(summary, format)  # type: ignore[arg-type]
    assert not set(ACTS) & set(text)
    assert "\\x1b" in text.replace("\\u001b", "\\x1b")


def test_csv_has_every_row_and_no_formula(summary: Summary) -> None:
    lines = list(csv.reader(io.StringIO(render_csv(summary), newline="")))
    head, body = lines[0], lines[1:]
    assert head[:6] == ["id", "split", "change", "input: input", "input: kind", "expected"]
    assert len(body) == len(summary.rows)
    assert not [cell for line in body for cell in line if cell.lstrip().startswith(("=", "+", "-", "@"))]
    kinds = {line[4] for line in body}
    assert "'=CMD()|'/c calc'!A0" in kinds
    scores = {line[6] for line in body}
    assert scores <= {"0", "1", ""}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("  =1", "'  =1"),
        ("\t=1", "'\t=1"), ("＝1", "'＝1"), ("\r=1", "\\x0d=1"), ("plain", "plain"), ("a=1", "a=1"), ("", ""),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_quoted(text: str, shown: str) -> None:
    assert guard(text) == shown


def test_json_holds_the_result_and_all_that_was_worked_out(summary: Summary) -> None:
    text = render_json(summary)
    assert text.isascii()
    data = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert data["line"] == summary.verdict.line if summary.verdict else False
    assert data["headline"] == "Use the new prompt."
    assert len(data["rows"]) == len(summary.rows)
    assert data["rows"][0]["best"]["output"] == (
        summary.rows[0].after.output if summary.rows[0].after else ""
    )
    assert [prompt["id"] for prompt in data["prompts"]] == [c.prompt.id for c in summary.candidates]
    assert data["curves"][0]["best_so_far"]
    assert data["slices"]
    assert sum(data["counts"].values()) == len(data["rows"])


def test_junit_fails_where_something_got_worse(summary: Summary) -> None:
    root = fromstring(render_junit(summary))
    verdict, rows = root
    names = {case.get("name"): case.find("failure") for case in verdict}
    assert names["reliable improvement"] is None
    assert names["every cell has a score"] is not None
    assert names["no search row leaks into the prompt"] is not None  # its hostile text stands in rows, too
    assert verdict.get("failures") == "2"
    counts = summary.counts
    assert rows.get("tests") == str(len(summary.rows))
    assert rows.get("failures") == str(counts["broke"])
    assert rows.get("errors") == str(counts["missing"])


def test_markdown_keeps_texts_texts(summary: Summary) -> None:
    text = render_markdown(summary)
    assert text.startswith("# Use the new prompt.")
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert SCRIPT in text
    assert not re.search(r"(?<!\\)<", outside)
    for line in outside.splitlines():
        if line.startswith("|"):
            assert not re.search(r"(?<!\\)`", line)
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        "## The new prompt", "## Your prompt", "## From search to test", "## Row by row", "## Slices",
        "## Cost",
    ]  # fmt: skip


def test_markdown_words_and_fences_cannot_be_broken_out_of() -> None:
    assert plain("a|b `c` <d>\n# e") == r"a\|b \`c\` \<d\> \# e"
    assert list(fenced("x\n```\ny")) == ["````text", "x", "```", "y", "````"]


def test_the_light_formats_load_no_template_engine() -> None:
    code = (
        "import promptopt.report.write, promptopt.report.reading, sys\n"
        "print([name for name in ('jinja2', 'starlette', 'uvicorn', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_report_that_cannot_be_written_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "report.html" / "in the way").mkdir(parents=True)
    folder, study = make_hostile_run(tmp_path / "run")
    assert study.verdict.reliable
    assert folder.result() is not None


def test_replies_that_are_cut_are_told_in_every_format_and_fail_a_check(tmp_path: Path) -> None:
    program = SelfConsistency(n=1, trigger="Let's think step by step.")
    texts = {}
    for room in (16, 256):
        folder = RunFolder(tmp_path / str(room))
        execute(reasoning(program, Decoding(16, reasoning_tokens=room)), folder)
        found = read_run(folder.path)
        texts[room] = {
            "html": render(found, "html"),
            "md": render(found, "md"),
            "junit": render(found, "junit"),
        }
        (yours, *_) = json.loads(render(found, "json"))["guards"]["cut"]
        assert (yours["cut"], yours["harmful"]) == ((25, True) if room == 16 else (0, False))
    note = "target.decoding.reasoning_tokens: seems to end replies before they have answered; got 25 of 25"
    assert plain(note) in texts[16]["md"]
    assert texts[16]["html"].count(note) == 2  # under the verdict and among the checks
    assert note in texts[16]["junit"]
    assert "answers cut by the token limit: 0 of 25" in texts[256]["html"]
    assert not [text for text in texts[256].values() if "seems to end" in text]
