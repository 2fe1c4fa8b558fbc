from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from worlds import make_world

from promptopt.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("report")
    make_world(here / "job")
    assert main(["run", str(here / "job"), "-q", "--folder", str(here / "run")]) == 0
    return here


@pytest.fixture(autouse=True)
def _here(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(world)
    capsys.readouterr()


def test_a_finished_run_has_left_its_report(world: Path) -> None:
    assert "Use the new prompt." in (world / "run" / "report.html").read_text(encoding="utf-8")


def test_the_page_is_written_where_it_is_wanted(world: Path, capsys: Capture) -> None:
    (world / "run" / "report.html").unlink()
    assert main(["report", "run"]) == 0
    assert capsys.readouterr().out.strip().endswith("run/report.html")
    assert (world / "run" / "report.html").exists()
    assert main(["report", "run", "--out", "elsewhere/page.html"]) == 0
    assert (world / "elsewhere" / "page.html").read_text().startswith("<!doctype html>")
    assert main(["report", "run", "--out", "-"]) == 0
    assert capsys.readouterr().out.endswith("</html>")


def test_data_goes_to_standard_output(capsys: Capture) -> None:
    assert main(["report", "run", "--format", "md"]) == 0
    assert capsys.readouterr().out.startswith("# Use the new prompt.")
    assert main(["report", "run", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["reliable"] is True
    assert main(["report", "run", "--format", "junit"]) == 0
    assert fromstring(capsys.readouterr().out).tag == "testsuites"
    assert main(["report", "run", "--format", "csv"]) == 0
    assert len(list(csv.reader(capsys.readouterr().out.splitlines()))) == 25


def test_the_command_in_the_report_runs_it_again_for_nothing(world: Path, capsys: Capture) -> None:
    assert main(["report", "run", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    words = data["command"].split()
    assert words[0] == "promptopt"
    assert main([*words[1:], "-q", "--folder", "again"]) == 0
    assert capsys.readouterr().out.strip() == data["line"]
    assert (
        sum(
            part["calls"]
            for part in json.loads((world / "again" / "result.json").read_text())["spent"].values()
        )
        == 0
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nowhere"], "is not a run's folder"),
        (["report", "run", "--format", "pdf"], "pdf"),
        (["report", "run", "--format", "md", "--open"], "--open: opens a page in a file"),
        (["report", "run", "--out", "/proc/none/x.html"], "cannot be written"),
        (["view", "nowhere"], "no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], said: str, capsys: Capture) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
