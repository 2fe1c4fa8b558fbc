from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from promptopt import __version__
from promptopt.cli import init, listing
from promptopt.cli.main import main
from promptopt.errors import AuthError, BudgetExhausted, ConfigError, ContractError, PromptOptError

Capture = pytest.CaptureFixture[str]


def test_help_lists_every_verb_and_exit_code(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in ("init", "run", "resume", "score", "ls", "validate", "doctor", "plugins", "130 interrupted"):
        assert verb in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["init", "run", "resume", "score", "ls", "validate", "doctor", "plugins"])
def test_every_verb_explains_itself(verb: str, capsys: Capture) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Usage: promptopt {verb}" in capsys.readouterr().out


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"promptopt {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rum", "x.yaml"], "No such command 'rum'. Did you mean 'run'"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "x.yaml", "--sed", "3"], "No such option: --sed (Possible options: "),
        (["run", "x.yaml", "--seed", "many"], "Invalid value for '--seed'"),
        (["run", "x.yaml", "y.yaml"], "Got unexpected extra argument"),
        (["score", "x.yaml", "--split", "dev"], "Invalid value for '--split'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(argv: list[str], said: str, capsys: Capture) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("promptopt: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("here", "is\nwrong"), 2),
        (AuthError("there", "refused"), 3),
        (BudgetExhausted("budget", "spent"), 4),
        (ContractError("plug-in", "odd"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_on_purpose_is_one_line_and_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(init, "files", fail)
    assert main(["init"]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.strip() == (
        " ".join(str(error).split()) if isinstance(error, PromptOptError) else "interrupted"
    )


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(init, "files", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        main(["init"])
    assert "which is a bug; please report it" in capsys.readouterr().err


def test_a_terminal_without_unicode_does_not_stop_a_verb(tmp_path: Path) -> None:
    code = "import sys; from promptopt.cli.main import main; sys.exit(main(['ls', sys.argv[1]]))"
    run = tmp_path / "größe…"
    run.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        capture_output=True,
        timeout=60,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert b"no runs in" in done.stdout


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    code = "import sys; from promptopt.cli.main import main; sys.exit(main(['validate', '--schema']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert said == b""


def test_plugins_are_listed_with_what_they_are(capsys: Capture) -> None:
    listing.plugins()
    out = capsys.readouterr().out
    assert "cannot be used" not in out
    for kind, name in (("searcher", "ape"), ("reward", "exact_match"), ("model", "hf"), ("selector", "full")):
        (line,) = [line for line in out.splitlines() if line.split()[:2] == [kind, name]]
        assert len(line.split()) > 4


def test_a_fault_of_clearing_up_is_told_behind_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from promptopt.errors import noted_on

    def fail(*_: object, **__: object) -> None:
        first = ConfigError("budget", "is spent")
        with noted_on(first):
            raise OSError("the disk is full")
        raise first

    monkeypatch.setattr("promptopt.cli.main.app", fail)
    assert main(["ls"]) == 2
    assert capsys.readouterr().err == "budget: is spent; then, clearing up: the disk is full\n"
