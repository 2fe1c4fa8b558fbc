"""The live page in Chromium: a running job's curve moves, its cells open, its stop button ends it cleanly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, open_page
from hostile import SCRIPT, make_hostile_run
from viewing import Viewer, viewer
from worlds import make_world

from promptopt.history import read_history
from promptopt.journal import Journal
from promptopt.report.archive import Archive
from promptopt.runfolder import RunFolder

SLOW = '''\
import time


def target(text):
    """Do as told, and take its time."""
    time.sleep(0.01)
    word = text.rsplit("Input: ", 1)[1].split("\\n", 1)[0]
    return word.upper() if "capitals" in text.split("Input: ", 1)[0] else word


def proposer(text, seed):
    return f"Write it in {['capitals', 'letters', '</script>'][seed % 3]} {seed}."
'''
JOB = """\
name: slow
data: rows.jsonl
prompt: Write the word.
target: {model: "python/models.py:target", price: {input: 1, output: 1}}
proposer: {model: "python/models.py:proposer", price: {input: 1, output: 1}}
reward: {name: exact_match, ignore_case: false}
search: {name: paraphrases, n: 400}
budget: {calls: 60000}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[RunFolder, Viewer, subprocess.Popen[str]]]:
    """A job that takes minutes, and a viewer over its runs."""
    make_world(tmp_path / "job", JOB)
    (tmp_path / "job" / "models.py").write_text(SLOW, encoding="utf-8")
    make_hostile_run(tmp_path / "runs" / "done-001")
    folder = RunFolder(tmp_path / "runs" / "slow-001")
    process = subprocess.Popen(
        [sys.executable, "-m", "promptopt.cli", "run", "job", "--folder", str(folder.path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with viewer(tmp_path / "runs") as server:
            yield folder, server, process
    finally:
        process.kill()
        process.communicate()


def test_a_running_job_moves_opens_and_stops(
    job: tuple[RunFolder, Viewer, subprocess.Popen[str]], browser: Any
) -> None:
    folder, server, process = job
    watched = open_page(browser)
    page = watched.page
    page.goto(server.address)
    assert page.locator("text=done-001").is_visible()
    page.wait_for_selector(".chip.good:has-text('running')")
    page.click("text=slow-001")
    page.wait_for_selector("#curve svg path.line")
    before = page.locator("#curve svg").inner_html()
    page.wait_for_function("old => document.querySelector('#curve svg').innerHTML !== old", arg=before)

    page.locator("td a").first.click()
    page.wait_for_url("**/prompt**")
    page.locator("td a").first.click()
    page.wait_for_url("**/cell**")
    assert page.locator(".message").count() == 2
    assert "Write" in page.locator(".message").first.inner_text()

    page.goto(f"{server.address}run/slow-001")
    page.click("button.stop")
    page.wait_for_selector("[data-state=interrupted]")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "calls are kept; go on with: promptopt resume" in out
    assert not page.locator("#stop").is_visible()
    assert folder.state == "interrupted"
    journal = Journal(folder.journal, read_only=True)
    kept = journal.count("calls")
    assert journal.count("attempts") == 0  # what was under way came back and is kept
    journal.close()
    assert kept > 60
    assert read_history(folder.history_file)[-1].stage == "search"

    assert watched.said == []
    assert watched.outside(f"http://{server.host}/") == []


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_pages_are_quiet_and_nothing_sticks_out(tmp_path: Path, browser: Any, width: int) -> None:
    folder, study = make_hostile_run(tmp_path / "runs" / "one-001")
    make_hostile_run(tmp_path / "runs" / "two-001", seed=0)
    with Archive(folder.journal) as archive:
        row = next(c.example for c in archive.cells(study.best.id, "test", "exact") if c.status == "ok")
    with viewer(tmp_path / "runs") as server:
        watched = open_page(browser, width=width)
        page = watched.page
        for path in (
            "",
            "run/one-001",
            "run/one-001/report",
            f"run/one-001/prompt/{study.best.id}",
            f"run/one-001/cell?prompt={study.best.id}&row={row.replace(' ', '+')}",
            "compare?run=one-001&run=two-001",
        ):
            page.goto(f"{server.address}{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.title() != "owned"
            assert page.evaluate("[...document.scripts].filter(s => !s.src.endsWith('/view.js')).length") == 0
            assert page.evaluate("document.querySelectorAll('img').length") == 0
        page.goto(f"{server.address}run/one-001/prompt/{study.best.id}")
        assert SCRIPT in page.locator("main").text_content()
        assert watched.said == []
        assert watched.outside(f"http://{server.host}/") == []
