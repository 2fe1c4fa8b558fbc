"""`promptopt worker`: lend a hand to a run that is kept in a database."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def worker(
    study: Annotated[
        str,
        typer.Option(
            "--study", metavar="URL",
            help="PostgreSQL database of the run, as `promptopt run --study` was given it. A worker that is "
            "silent for 15 seconds (&lease=SECONDS) counts as dead, and others make its calls.",
        ),
    ],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")] = False,
) -> None:  # fmt: skip
    """Take part in a run or a scoring job that several processes share, up to its end."""
    from ..api import work
    from ..api_bulk import join_scoring
    from ..interrupt import drained
    from ..progress import progress_for
    from ._bulk import print_scoring

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with progress_for(sys.stdout, "worker", quiet=quiet) as progress, drained(say):
        if (scoring := join_scoring(study, progress)) is not None:
            print_scoring(scoring)
            return
        found = work(study, listen=progress)
    print(found.verdict.line)
