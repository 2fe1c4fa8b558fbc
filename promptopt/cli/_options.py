"""Arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # the help must not wait for it
    from ..job import Job

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The job file, or a folder with a promptopt.yaml.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Another seed than the job's.", show_default=False)]
Answers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Keep every answer in this file: what was interrupted goes on from there.",
        show_default=False,
    ),
]  # fmt: skip
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change the job: --set target.model=hf/gpt2; may be given again.",
        show_default=False,
    ),
]  # fmt: skip


def job_of(
    config: Path,
    overrides: Sequence[str] | None,
    seed: int | None = None,
    search: str | None = None,
    study: str | None = None,
) -> Job:
    """Read a job file with what the command line changes in it."""
    from ..config import load_job

    changes = [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])]
    if search is not None:
        names = [name.strip() for name in search.split(",")]
        changes.append(f"search={names[0]}" if len(names) == 1 else f"search=[{', '.join(names)}]")
    if study is not None:
        changes.append(f"study={study}")
    return load_job(config, changes)
