"""Texts of models and data reach the screen as text: no escape sequence of theirs moves the cursor."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds import JOB, MODELS, make_world

from promptopt.cli.main import main

HOSTILE = "\x1b[2J\x1b]0;owned\x07Write it in capitals.\x1b[8m\r\x9b31m\u202e"
RAISES = "def target(text):\n    raise RuntimeError('fell\\x1b[2J over')\n"


@pytest.mark.parametrize(
    "command", [["run", ".", "-q"], ["run", "."], ["ls"], ["validate", "."]], ids=" ".join
)
def test_no_escape_sequence_of_a_proposer_or_a_row_reaches_the_screen(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_world(tmp_path, JOB)
    told = MODELS.replace('"Write it in capitals."', ascii(HOSTILE))
    (tmp_path / "models.py").write_text(told, encoding="utf-8")
    rows = (tmp_path / "rows.jsonl").read_text().replace('"wordaa"', r'"wordaa\u001b[2J\u009b"')
    (tmp_path / "rows.jsonl").write_text(rows)
    monkeypatch.chdir(tmp_path)
    if command[0] == "ls":
        main(["run", ".", "-q"])
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "capitals" in captured.out + (tmp_path / "promptopt.yaml").read_text()
    seen = captured.out + captured.err
    assert [c for c in seen if not (c.isprintable() or c == "\n")] == []


def test_no_escape_sequence_of_an_error_reaches_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_world(tmp_path, JOB)
    (tmp_path / "models.py").write_text(MODELS + RAISES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["run", ".", "-q"]) == 3
    captured = capsys.readouterr()
    assert r"fell\x1b[2J over" in captured.err
    assert "\x1b" not in captured.out + captured.err
