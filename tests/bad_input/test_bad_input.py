"""The mistakes people make first: each ends in one clear line that names the cure, and exit code 2."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds import JOB, make_world

from promptopt.cli.main import main


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "promptopt.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def append(folder: Path, raw: bytes) -> None:
    with (folder / "rows.jsonl").open("ab") as file:
        file.write(raw)


def write_rows(folder: Path, raw: bytes) -> None:
    (folder / "rows.jsonl").write_bytes(raw)


def rows(*given: dict[str, str]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in given)


def closed_port() -> int:
    """Return a port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def unknown_key(folder: Path) -> None:
    edit(folder, "target: ", "targt: ")


def missing_column(folder: Path) -> None:
    edit(folder, "data: rows.jsonl", "data: {path: rows.jsonl, answer: outptu}")


def broken_line(folder: Path) -> None:
    append(folder, b'{"input": "a", "output": \n')


def empty_file(folder: Path) -> None:
    write_rows(folder, b"")


def unset_key(folder: Path) -> None:
    edit(folder, "python/models.py:target", "openai/gpt-4o-mini")


def unknown_model(folder: Path) -> None:
    edit(folder, "python/models.py:target", "embedded/smal")


def unknown_folder(folder: Path) -> None:
    edit(folder, "python/models.py:target", "hf/./no-such-folder")


def unknown_slot(folder: Path) -> None:
    edit(folder, "prompt: Write the word.", 'prompt: "Write {{inptu}} now."')


def duplicates(folder: Path) -> None:
    row = {"input": "same", "output": "SAME"}
    write_rows(folder, rows({**row, "split": "train"}, {**row, "split": "test"}))


def small_budget(folder: Path) -> None:
    edit(folder, "calls: 2000", "calls: 20")


def malformed_url(folder: Path) -> None:
    edit(folder, "python/models.py:target", "{model: openai/m, base_url: 'localhost:8000'}")


def dead_url(folder: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    edit(folder, "python/models.py:target", f"{{model: openai/m, base_url: '{url}'}}")


def other_encoding(folder: Path) -> None:
    append(folder, '{"input": "café", "output": "CAFÉ"}\n'.encode("latin-1"))


def unknown_reward(folder: Path) -> None:
    edit(folder, "name: exact_match, ignore_case: false", "name: exact_mach")


CASES: list[tuple[Callable[[Path], None], str, str]] = [
    (unknown_key, "promptopt.yaml line 4: unknown key 'targt'", "did you mean 'target'?"),
    (missing_column, "no column 'outptu'", "did you mean 'output'?"),
    (broken_line, "rows.jsonl line 61: ", "line 61"),
    (empty_file, "rows.jsonl: ", "is empty"),
    (unset_key, "OPENAI_API_KEY is not set", "put the key"),
    (unknown_model, "embedded/smal", "small"),
    (unknown_folder, "no-such-folder", "folder"),
    (unknown_slot, "no column for {{inptu}}", "did you mean 'input'?"),
    (duplicates, "line 2", "allow_duplicates"),
    (small_budget, "budget.calls: ", "or more"),
    (malformed_url, "base_url", "http"),
    (dead_url, "nothing answers there", "check base_url"),
    (other_encoding, "rows.jsonl line 61: ", "UTF-8"),
    (unknown_reward, "promptopt.yaml line 6: unknown reward 'exact_mach'", "did you mean 'exact_match'?"),
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("spoil", "problem", "cure"), CASES, ids=[spoil.__name__ for spoil, _, _ in CASES])
def test_a_mistake_ends_in_one_line_and_exit_code_2(
    world: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    problem: str,
    cure: str,
) -> None:
    spoil(world)
    code = main(["run", "promptopt.yaml", "-q"])
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert problem in captured.err
    assert cure in captured.err
    assert captured.out == ""
    assert code == 2
    assert list(world.glob("runs/*")) == []


def test_the_job_without_a_mistake_runs(world: Path) -> None:
    assert main(["run", "promptopt.yaml", "-q"]) == 0
    assert "python/models.py:target" in JOB


def test_a_job_file_in_another_encoding_is_named_too(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "promptopt.yaml").write_bytes(JOB.encode() + "description: café\n".encode("latin-1"))
    assert main(["run", "promptopt.yaml"]) == 2
    assert capsys.readouterr().err == "promptopt.yaml line 9: not UTF-8; got b'\\xe9'; save it as UTF-8\n"


def test_no_traceback_reaches_the_shell(world: Path) -> None:
    unknown_key(world)
    done = subprocess.run(
        [sys.executable, "-m", "promptopt.cli", "run", "promptopt.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "promptopt.yaml line 4: unknown key 'targt'; did you mean 'target'?\n"
