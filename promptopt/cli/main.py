"""The command line: its verbs, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ..errors import PromptOptError
from ..telemetry import switch_off
from ..visible import one_line
from . import (
    compare,
    doctor,
    export,
    init,
    listing,
    move,
    plan,
    propose,
    report,
    run,
    score,
    validate,
    view,
    worker,
)

INTERRUPTED = 130

app = typer.Typer(
    name="promptopt",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 failed (a gate too), 2 bad input, 3 endpoint or key, 4 budget ended "
    "before the verdict, 130 interrupted.",
)
app.command("init")(init.init)
app.command("run")(run.run)
app.command("resume")(run.resume)
app.command("worker")(worker.worker)
app.command("score")(score.score)
app.command("plan")(plan.plan)
app.command("move")(move.move)
app.command("propose")(propose.propose)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("view")(view.view)
app.command("ls")(listing.ls)
app.command("validate")(validate.validate)
app.command("doctor")(doctor.doctor)
app.command("plugins")(listing.plugins)


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"promptopt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the prompt that makes a language model do your task best, and prove it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Errors that promptopt raises on purpose end in one line. Anything else is a bug of ours, so its
    traceback stays.
    """
    switch_off()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a letter gets an escape for it; it must not stop a run.
            stream.reconfigure(errors="backslashreplace")
    try:
        given = list(sys.argv[1:] if argv is None else argv)
        code = app(args=given or ["--help"], prog_name="promptopt", standalone_mode=False)
    except PromptOptError as error:
        return _fail("; ".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code)
    except TyperException as error:
        return _fail(_usage(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except Exception:
        _fail("promptopt: unexpected error, which is a bug; please report it with what follows", 1)
        raise
    # typer turns the interrupt of a running verb into this code, without a word.
    return _fail("interrupted", INTERRUPTED) if code == INTERRUPTED else int(code or 0)


def _usage(error: TyperException) -> str:
    """Return what was wrong with the arguments, in one line that ends in the cure."""
    message = error.format_message().rstrip(".")
    return f"promptopt: {message}; see `promptopt --help` or `promptopt VERB --help`"


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print(one_line(message), file=sys.stderr)
    return code
