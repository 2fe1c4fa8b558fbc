"""`promptopt report`: what a run came to, as a page or as data."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How a report is written."""

    html = "html"
    md = "md"
    json = "json"
    junit = "junit"
    csv = "csv"


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run's folder, such as runs/latest; finished or not.")
    ],
    format: Annotated[
        Format, typer.Option(help="A page, Markdown, or data: JSON, JUnit XML, CSV.")
    ] = Format.html,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write here, or to standard output (-). Default: report.html in the run's folder.",
            show_default=False,
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write a run's report: verdict, prompts, every row, cost."""
    from ..errors import ConfigError, DataError
    from ..report.reading import read_run
    from ..report.write import render
    from ..runfolder import RunFolder, write_whole

    if open_it and (format is not Format.html or str(out) == "-"):
        raise ConfigError("--open", "opens a page in a file", do="leave out --format and --out -")
    place = RunFolder.existing(run)
    text = render(read_run(place.path), format.value)
    if out is None and format is Format.html:
        out = place.report_file
    if out is None or str(out) == "-":
        sys.stdout.write(text)
        return
    try:
        write_whole(out, text)
    except OSError as error:
        raise DataError(str(out), f"cannot be written: {error.strerror}", do="name another file") from error
    print(out)
    if open_it:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
