"""A run moves between its folder and a database: everything comes along, nothing is bought again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loopback import LoopbackServer
from postgres import server
from toys import chance, read_input

from promptopt.api import resume, run_job, work
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.errors import ConfigError, JournalError
from promptopt.journal import COLUMNS, Journal
from promptopt.moving import move
from promptopt.runfolder import RunFolder

pytest.importorskip("psycopg")


class Cut(Exception):
    """The run is interrupted."""


def reply(messages, body):
    text = messages[-1]["content"]
    if body["max_tokens"] > 64:
        return f"Write in capitals, form {body.get('seed', 0) % 7}."
    word = read_input(text)
    return word.upper() if chance(text) < 0.1 + 0.5 * ("capitals" in text) else word


@pytest.fixture(scope="module")
def database():
    with server() as url:
        yield url


def make_job(tmp_path: Path, target: str) -> Path:
    rows = tmp_path / "rows.jsonl"
    lines = (json.dumps({"id": str(i), "input": f"w{i}", "output": f"W{i}"}) + "\n" for i in range(60))
    rows.write_text("".join(lines))
    job = {
        "name": "moved",
        "data": {"path": str(rows), "sizes": {"search": 20, "select": 15, "test": 25}},
        "prompt": "Do it.\n\nInput: {{input}}\nOutput:",
        "target": {"model": "openai/loopback", "base_url": target, "concurrency": 4, "n_parameter": False},
        "reward": {"name": "exact_match", "ignore_case": False},
        "search": {"name": "ape", "num_prompts_per_subsample": 4},
        "seed": 3,
    }
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(job))
    return path


def content(journal: Journal) -> dict[str, list[tuple[object, ...]]]:
    """Return all that a journal consists of; who counts as lost is decided anew by whoever opens it."""
    own = ("schema_version", "job", "data")
    found = {}
    for table, columns in COLUMNS.items():
        names = ", ".join(name for name in columns if name != "lost")
        order = journal._store.order if table == "prompts" else names
        rows = journal._store.query(f"SELECT {names} FROM {table} ORDER BY {order}")
        found[table] = [row for row in rows if table != "meta" or row[0] not in own]
    found["prompts"] = list(found["prompts"])
    return found


def interrupted(job: Path, folder: Path, after: int) -> None:
    """Run until so many answers have come."""
    seen = 0

    def listen(event: object) -> None:
        nonlocal seen
        seen += type(event).__name__ == "Tick"
        if seen > after:
            raise Cut

    with pytest.raises(Cut):
        run_job(load_job(job), folder=folder, listen=listen)


def test_a_run_goes_to_a_database_and_back_and_is_what_it_was(tmp_path, database):
    with LoopbackServer(reply) as target:
        job, folder = make_job(tmp_path, target.url), tmp_path / "run"
        whole = run_job(load_job(job), folder=tmp_path / "whole")
        needed = target.calls
        target.seen.clear()
        interrupted(job, folder, after=3)
        bought = target.calls
        assert 0 < bought < needed
        before = Journal(folder / "journal.sqlite")
        expected = content(before)
        before.close()
        assert all(expected[table] for table in ("meta", "calls"))

        study = f"{database}?study=moved"
        counts = move(str(folder), study)
        assert counts["calls"] == len(expected["calls"])
        assert RunFolder(folder).study == study
        there = Journal(study)
        assert content(there) == expected
        there.close()
        with pytest.raises(JournalError, match="is kept in a database already"):
            move(str(folder), f"{database}?study=other")

        assert move(study, str(folder)) == counts
        assert RunFolder(folder).study is None
        here = Journal(folder / "journal.sqlite")
        assert content(here) == expected
        here.close()
        left = Journal(study)
        assert [left.count(table) for table in counts] == [0] * len(counts)
        left.close()

        move(str(folder), study)
        found = work(study)  # a worker finishes it there
        assert found.verdict.line == whole.verdict.line
        assert move(study, str(folder))["calls"] == needed
        assert resume(folder).verdict.line == whole.verdict.line
        assert target.calls <= needed + 4  # at most what was under way when it was interrupted
        assert len({json.dumps(seen.body, sort_keys=True) for seen in target.seen}) == needed


def test_the_command_says_what_was_moved(tmp_path, database, capsys):
    with LoopbackServer(reply) as target:
        run_job(load_job(make_job(tmp_path, target.url)), folder=tmp_path / "run")
        calls = target.calls
    assert main(["move", str(tmp_path / "run"), f"{database}?study=said"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"moved {calls} calls, ")
    assert out.strip().endswith(f"to {database}?study=said")
    assert main(["move", f"{database}?study=said", str(tmp_path / "elsewhere")]) == 0
    assert "base_url" in (tmp_path / "elsewhere" / "config.lock.yaml").read_text()
    assert main(["move", f"{database}?study=said", str(tmp_path / "third")]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target"), [("a", "b"), ("postgresql://127.0.0.1/a", "postgresql://127.0.0.1/b")]
)
def test_only_from_one_kind_of_place_to_the_other(source, target):
    with pytest.raises(ConfigError, match="from a folder to a database or back"):
        move(source, target)


def test_nothing_is_overwritten(tmp_path, database):
    with LoopbackServer(reply) as target:
        job = load_job(make_job(tmp_path, target.url))
        for name in ("one", "two"):
            run_job(job, folder=tmp_path / name)
    study = f"{database}?study=full"
    move(str(tmp_path / "one"), study)
    with pytest.raises(JournalError, match="holds a run or a scoring job; name another study"):
        move(str(tmp_path / "two"), study)
    with pytest.raises(JournalError, match="holds another run; name a new folder"):
        move(study, str(tmp_path / "two"))
    at_work = Journal(study)
    with pytest.raises(JournalError, match="1 processes are at work on it"):
        move(study, str(tmp_path / "one"))
    at_work.close()
    move(study, str(tmp_path / "one"))


def test_a_run_from_python_stays_where_it_is(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claimed():
        folder.write_start({"python": True})
    Journal(folder.journal).close()
    with pytest.raises(ConfigError, match="was started from Python"):
        move(str(folder.path), "postgresql://127.0.0.1/x")
