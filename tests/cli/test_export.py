from __future__ import annotations

from pathlib import Path

import pytest

from promptopt.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("Say {{first word}}:\n", encoding="utf-8")


def test_one_file_is_printed_or_written(capsys: Capture) -> None:
    assert main(["export", "p.txt", "--format", "text"]) == 0
    assert capsys.readouterr().out == "Say {{first word}}:\n"
    assert main(["export", "p.txt", "-f", "jinja", "--out", "out/p.jinja"]) == 0
    said = capsys.readouterr()
    assert said.out == "wrote out/p.jinja\n"
    assert said.err == "note: columns go by other names there: 'first word' is first_word\n"
    assert Path("out/p.jinja").read_bytes() == b"Say {{ first_word }}:"


def test_several_files_need_a_folder(capsys: Capture) -> None:
    assert main(["export", "p.txt", "--format", "dspy"]) == 2
    assert "dspy writes program.py, program.json; name a folder with --out" in capsys.readouterr().err
    assert main(["export", "p.txt", "--format", "dspy", "--out", "prog"]) == 0
    assert sorted(path.name for path in Path("prog").iterdir()) == ["program.json", "program.py"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere", "-f", "text"], "nowhere: no such run or prompt"),
        (["p.txt", "-f", "tex"], "no such plug-in; did you mean 'text'?"),
        (["p.txt", "-f", "peft", "--set", "base"], "--set base: not key=value"),
        (["p.txt", "-f", "peft", "--set", "base=x"], "has no trained weights"),
        (["p.txt", "-f", "text", "--out", "p.txt"], "p.txt: is there already; use --force to overwrite it"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], said: str, capsys: Capture) -> None:
    assert main(["export", *argv]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
