"""`promptopt validate`: read a job, its data and its plug-ins, and say what was understood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._options import Overrides, job_of


def validate(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG", help="The job file, or a folder with a promptopt.yaml.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a job file, for editors.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Check a job and its data without calling a model."""
    if schema:
        import json

        from ..config import json_schema

        print(json.dumps(json_schema(), indent=2))
        return

    from ..plan import make_plan
    from ..setup import from_job
    from ..visible import one_line, visible
    from .run import print_plan

    job = job_of(config or Path("promptopt.yaml"), overrides)
    setup = from_job(job)
    task = setup.task
    print_plan(job, make_plan(setup))
    print(f"{'columns':<9}{one_line(', '.join(task.fields))}")
    first = task.splits.search[0]
    answers = " or ".join(map(repr, first.answers)) or "none"
    print(f"{'answer':<9}{one_line(f'{answers} to row {first.id}')}, which is asked as")
    for message in task.seed_prompt.render(first):
        for line in visible(f"{message.role}: {message.content}").splitlines():
            print(f"  | {line}")
    print("ok")
