"""`promptopt export`: a winner, in the format of another tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    given: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PROMPT", help="A run's folder (its winner), such as runs/latest, or a prompt's file."
        ),
    ],
    format: Annotated[
        str, typer.Option("--format", "-f", help="What to write; `promptopt plugins` lists the formats.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file, or the folder where the format writes several. Default: print it.",
            show_default=False,
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the format; may be given again.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Export a prompt for another tool; what is loaded there are the messages that were scored."""
    from ..errors import ConfigError
    from ..exporting import export as write
    from ..exporting import places
    from ..strict_yaml import scalar

    given_options = {}
    for one in options or ():
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {one}", "not key=value", do="write it like --set base=gpt2")
        given_options[key.strip()] = scalar(value.strip())
    made = write(given, format, out, force=force, **given_options)
    if out is not None:
        print(f"wrote {', '.join(map(str, places(made.files, out)))}")
    elif len(made.files) == 1:
        sys.stdout.flush()
        sys.stdout.buffer.write(next(iter(made.files.values())))
        sys.stdout.buffer.flush()
    else:
        raise ConfigError("export", f"{format} writes {', '.join(made.files)}", do="name a folder with --out")
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
