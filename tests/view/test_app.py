"""The server as a process: who may look, what the pages hold, and that nothing else can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hostile import ACTS, SCRIPT, make_hostile_run
from toys import make_setup
from viewing import Viewer, viewer
from worlds import make_judged_world

from promptopt.api import run_job
from promptopt.config import load_job
from promptopt.report.archive import Archive
from promptopt.run import execute
from promptopt.runfolder import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("view") / "runs"
    make_hostile_run(root / "one-001")
    execute(make_setup(seed=1, lock={"python": True, "name": "toy"}), RunFolder(root / "two-001"))
    execute(make_setup(seed=1, finalists=2, lock={"python": True}), RunFolder(root / "two-002"))
    (root / "latest").symlink_to("one-001")
    (root / "secret.txt").write_text("not to be seen")
    return root


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Viewer]:
    with viewer(runs) as found:
        yield found


def test_without_the_token_there_is_nothing_to_see(server: Viewer) -> None:
    token = server.base[1:]
    assert len(token) >= 32
    for path in (
        "/",
        "/runs",
        f"/{token[:-1]}/",
        f"/{token}x/",
        f"/{token[::-1]}/",
        "//",
        f"//{token}/",
        "/%00",
    ):
        reply = server.ask(path)
        assert (reply.status, "one-001" in reply.text) == (403, False), path
    assert server.get("").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "localhost:1"])
def test_under_another_name_there_is_nothing_to_see(server: Viewer, host: str) -> None:
    reply = server.get("", Host=host)
    assert reply.status in (400, 403)
    assert "one-001" not in reply.text
    assert server.get("", Host=server.host.replace("127.0.0.1", "localhost")).status == 200


def test_every_reply_closes_the_page_to_the_world(server: Viewer) -> None:
    for reply in (server.get(""), server.get("run/one-001"), server.get("nothing"), server.ask("/")):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy.split("style-src")[0]
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers
        assert not set(ACTS) & set(reply.text)


def test_the_list_names_all_runs_once(server: Viewer) -> None:
    text = server.get("").text
    for name in ("one-001", "two-001", "two-002"):
        assert text.count(f'value="{name}"') == 1
    assert "latest" not in text
    assert SCRIPT not in text


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../secret.txt",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "secret.txt",
        "latest",
        "one-001/../two-001",
        "",
    ],
)
def test_only_runs_of_the_list_can_be_asked_for(server: Viewer, name: str) -> None:
    for path in (f"run/{name}", f"run/{name}/report", f"run/{name}/cell?prompt=x"):
        reply = server.get(path)
        assert reply.status in (403, 404), path
        assert "not to be seen" not in reply.text


def first_cell(folder: RunFolder) -> tuple[str, str, str]:
    """Return prompt, row and reply of a hostile cell."""
    best = folder.result()
    assert best is not None
    with Archive(folder.journal) as archive:
        cell = next(c for c in archive.cells(best["best"]["id"], "test", "exact") if "script" in c.output)
    return best["best"]["id"], cell.example, cell.output


def test_a_cell_shows_the_very_messages_and_the_reply(server: Viewer, runs: Path) -> None:
    prompt, row, output = first_cell(RunFolder(runs / "one-001"))
    page = server.get(f"run/one-001/prompt/{prompt}?split=test")
    assert page.status == 200
    links = re.findall(r'href="([^"]*/cell\?[^"]*)"', page.text)
    assert len(links) == 25
    opened = server.ask(links[0].replace("&amp;", "&"))
    assert opened.status == 200
    assert "Call 1" in opened.text
    query = urlencode({"prompt": prompt, "row": row, "sample": 0})
    reply = server.get(f"run/one-001/cell?{query}")
    assert reply.status == 200
    assert "Write it in capitals." in reply.text
    assert "&lt;/script&gt;&lt;/style&gt;" in reply.text
    assert SCRIPT not in reply.text
    assert "temperature 0.0" in reply.text
    assert output.split()[0] in reply.text


def test_what_is_not_there_is_said_in_a_line(server: Viewer) -> None:
    for path in (
        "run/one-001/prompt/none",
        "run/one-001/cell",
        "run/one-001/cell?sample=x&row=1",
        "elsewhere",
    ):
        reply = server.get(path)
        assert reply.status == 404
        assert "there is nothing here" in reply.text


def test_two_runs_are_compared_and_what_cannot_be_is_said(server: Viewer) -> None:
    reply = server.get("compare?run=two-001&run=two-002")
    assert reply.status == 200
    assert "Rows where they differ" in reply.text
    other = server.get("compare?run=one-001&run=two-001")
    assert other.status == 409
    assert "have no scored row in common" in other.text
    assert server.get("compare?run=one-001").status == 400


def test_a_finished_run_is_not_stopped_and_a_foreign_page_stops_nothing(server: Viewer, runs: Path) -> None:
    reply = server.ask(f"{server.base}/run/one-001/stop", "POST", Origin=f"http://{server.host}")
    assert (reply.status, reply.headers["location"]) == (303, f"{server.base}/run/one-001")
    assert not (runs / "one-001" / "stop").exists()
    for origin in ("http://evil.example", "null", f"https://{server.host}"):
        assert server.ask(f"{server.base}/run/one-001/stop", "POST", Origin=origin).status == 403
    assert server.get("run/one-001/stop").status == 405


def test_a_name_of_odd_letters_can_be_opened(tmp_path: Path) -> None:
    name = 'a "b" <c> & d#?%'
    make_hostile_run(tmp_path / name)
    with viewer(tmp_path) as server:
        assert "&lt;c&gt;" in server.get("").text
        reply = server.get(f"run/{quote(name)}")
        assert reply.status == 200
        assert server.get(f"run/{quote(name)}/report").status == 200


def test_a_judged_cell_shows_what_the_judge_was_asked_and_said(tmp_path: Path) -> None:
    job = load_job(make_judged_world(tmp_path / "job"))
    study = run_job(job, parent=tmp_path / "runs")
    assert study.folder is not None
    folder = RunFolder(study.folder)
    with Archive(folder.journal) as archive:
        cell = archive.cells(study.best.id, "test", "judge")[0]
    with viewer(tmp_path / "runs") as server:
        text = server.get(f"run/{folder.path.name}/cell?prompt={study.best.id}&row={cell.example}").text
    assert "Call 1 of 2</h2>" in text
    assert "Call 2 of 2, to the judge</h2>" in text
    assert "OUTPUT TO BE GRADED" in text
