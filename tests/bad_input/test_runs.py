"""Mistakes with runs: resumed with another job or other rows, by another version, out of no folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from mistakes import snapshot
from worlds import JOB, make_world

from promptopt.cli.main import main
from promptopt.store import VERSION

RUN = Path("runs/capitals-001")
RESUME = ("resume", str(RUN), "-q")


def edit(file: str, old: str, new: str) -> Callable[[], object]:
    """Return what replaces a text of a file."""

    def change() -> None:
        text = Path(file).read_text(encoding="utf-8")
        assert old in text
        Path(file).write_text(text.replace(old, new), encoding="utf-8")

    return change


def version(number: int) -> None:
    """Let another version have written the journal."""
    with sqlite3.connect(RUN / "journal.sqlite") as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(number),))
    db.close()


def first_version() -> None:
    """Leave tables of the first version that have lost columns, so that they cannot be brought up to date."""
    (RUN / "journal.sqlite").unlink()
    with sqlite3.connect(RUN / "journal.sqlite") as db:
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
        db.execute("INSERT INTO meta VALUES ('schema_version', '1')")
        db.execute("CREATE TABLE calls (key TEXT PRIMARY KEY, role TEXT, request TEXT, outcome TEXT)")
    db.close()


def other_rows() -> None:
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    rows[0]["output"] = "changed"
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


LOCK = str(RUN / "config.lock.yaml")
JOURNAL = str(RUN / "journal.sqlite")
CASES: list[tuple[str, Callable[[], object], tuple[str, ...], str, str]] = [
    ("other rows", other_rows, RESUME, "was made with another job or other rows", "`--reuse` takes over"),
    (
        "another job",
        edit(LOCK, "Write the word.", "Write it."),
        RESUME,
        "was made with another job or other rows",
        "start a new run",
    ),
    (
        "another seed",
        edit(LOCK, "seed: 0", "seed: 1"),
        RESUME,
        "was made with another job or other rows",
        "start a new run",
    ),
    (
        "another job in the same folder",
        edit("promptopt.yaml", "Write the word.", "Write it."),
        ("run", "promptopt.yaml", "-q", "--folder", str(RUN)),
        "was made with another job or other rows",
        "start a new run",
    ),
    (
        "another model",
        edit("models.py", "return word.upper()", "return 2 * word.upper()"),
        RESUME,
        "was made with another model",
        "start a new run",
    ),
    (
        "a newer version",
        lambda: version(VERSION + 1),
        RESUME,
        f"{JOURNAL}: written by another version",
        f"got {VERSION + 1}",
    ),
    (
        "a first version with columns missing",
        first_version,
        RESUME,
        f"{JOURNAL}: cannot be opened as a journal",
        "no such column",
    ),
    (
        "a journal that is none",
        lambda: Path(JOURNAL).write_bytes(b"no database at all " * 200),
        RESUME,
        "cannot be opened as a journal",
        JOURNAL,
    ),
    (
        "a journal cut in half",
        lambda: Path(JOURNAL).write_bytes(Path(JOURNAL).read_bytes()[: Path(JOURNAL).stat().st_size // 2]),
        RESUME,
        JOURNAL,
        "journal",
    ),
    (
        "a lock with a key of a newer version",
        lambda: Path(LOCK).write_text(Path(LOCK).read_text() + "courage: 3\n"),
        RESUME,
        "unknown key 'courage'",
        "config.lock.yaml: ",
    ),
    (
        "a lock that is cut",
        lambda: Path(LOCK).write_text('name: "ca'),
        RESUME,
        "config.lock.yaml line 1: not valid YAML",
        "quote",
    ),
    ("rows that are gone", lambda: Path("rows.jsonl").unlink(), RESUME, "no such file", "rows.jsonl"),
    (
        "a folder that is no run",
        lambda: None,
        ("resume", "runs", "-q"),
        "runs: is not a run's folder",
        "promptopt ls",
    ),
    (
        "a folder that is not there",
        lambda: None,
        ("resume", "runs/capitals-009"),
        "is not a run's folder",
        "promptopt ls",
    ),
    ("a file for a folder", lambda: None, ("resume", "rows.jsonl"), "is not a run's folder", "promptopt ls"),
    (
        "a file in the run's place",
        lambda: None,
        ("run", "promptopt.yaml", "-q", "--folder", "rows.jsonl"),
        "rows.jsonl: cannot be written: File exists",
        "mend this",
    ),
    (
        "a run to reuse that is not there",
        lambda: None,
        ("run", "promptopt.yaml", "-q", "--reuse", "runs/gone"),
        "runs/gone: is not a run's folder",
        "promptopt ls",
    ),
    (
        "a result that is cut",
        lambda: Path(RUN / "result.json").write_text('{"line": '),
        ("compare", str(RUN), "runs/latest"),
        "result.json: cannot be read",
        "promptopt resume",
    ),
    (
        "an answer file in a folder that is not there",
        lambda: None,
        ("score", "promptopt.yaml", "-q", "--answers", "gone/a.sqlite"),
        "its folder does not exist",
        "make it",
    ),
    (
        "a run's journal as an answer file",
        lambda: None,
        ("score", "promptopt.yaml", "-q", "--answers", JOURNAL),
        "is the journal of a run",
        "a file of its own",
    ),
    (
        "a study that is no database",
        lambda: None,
        ("run", "promptopt.yaml", "-q", "--study", "mysql://127.0.0.1/x"),
        "study",
        "postgresql://",
    ),
]


def kept(folder: Path) -> dict[str, bytes | None]:
    """Return what is in the folder, without what SQLite and a claim leave beside a file."""
    return {k: v for k, v in snapshot(folder).items() if not k.endswith((".lock", "-shm", "-wal"))}


@pytest.mark.parametrize(
    ("name", "spoil", "command", "problem", "cure"), CASES, ids=[case[0] for case in CASES]
)
def test_a_mistake_with_a_run_is_one_line_and_loses_nothing(
    name: str,
    spoil: Callable[[], object],
    command: tuple[str, ...],
    problem: str,
    cure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "promptopt.yaml", "-q"]) == 0
    spoil()
    before = kept(tmp_path)
    capsys.readouterr()
    code = main(list(command))
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert problem in captured.err
    assert cure in captured.err
    assert captured.out.count("\n") <= ("are kept; " in captured.out)
    assert code == 2, captured.err
    assert kept(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "..", "a/../../b", "evil\\..\\..", "\x1b[31mred"]
)
def test_a_runs_name_never_leads_out_of_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "inside"
    make_world(inside, JOB.replace("name: capitals", f"name: {json.dumps(name)}"))
    monkeypatch.chdir(inside)
    code = main(["run", "promptopt.yaml", "-q"])
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    if code == 0:
        (run,) = (path for path in (inside / "runs").iterdir() if not path.is_symlink())
        assert run.resolve().parent == (inside / "runs").resolve()
    else:
        assert code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_link_in_the_place_of_the_runs_folder_is_followed_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_world(tmp_path / "job")
    (tmp_path / "disk").mkdir()
    (tmp_path / "job" / "runs").symlink_to(tmp_path / "disk", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "job")
    assert main(["run", "promptopt.yaml", "-q"]) == 0
    assert (tmp_path / "disk" / "capitals-001" / "result.json").exists()
    assert (tmp_path / "job" / "runs").is_symlink()
