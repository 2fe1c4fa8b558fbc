"""`promptopt move`: take a run from its folder into PostgreSQL, or back."""

from __future__ import annotations

from typing import Annotated

import typer


def move(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The run's folder, or the URL of the study that keeps it.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO", help="postgresql://HOST/DATABASE[?study=NAME], or the folder it came from."
        ),
    ],
) -> None:
    """Move a run between its folder and a PostgreSQL database; `resume` and `worker` go on with it there."""
    from ..moving import move as move_run
    from ..progress import count

    counts = move_run(source, target)
    print(
        "moved " + ", ".join(f"{count(number)} {table}" for table, number in counts.items()) + f" to {target}"
    )
