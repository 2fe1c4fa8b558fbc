"""`promptopt propose`: new prompts from a generator that a run has trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._options import Overrides, job_of


def propose(
    generator: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A run of the searcher rl, or its generator's folder.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The job file of the task to write for. Default: the run's own.", show_default=False
        ),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="The input to write for (conditional generators): once for each of its fields.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Draws; repeated and unusable ones are left out.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    overrides: Overrides = None,
) -> None:
    """Let a trained generator write prompts, one a line."""
    from ..errors import ConfigError, ModelError
    from ..proposing import propose as write
    from ..visible import one_line

    values: dict[str, str] = {}
    for given in row or ():
        name, equals, value = given.partition("=")
        if not equals or name in values:
            raise ConfigError(
                "propose.row", "not a field of its own with a value", got=given, do="write --row FIELD=VALUE"
            )
        values[name] = value
    if overrides and config is None:
        raise ConfigError("propose", "--set changes a job file, and none is named", do="add --config FILE")
    job = None if config is None else job_of(config, overrides)
    lists = write(generator, job, [values] if values else [], n=n, seed=seed)
    texts = [text for texts in lists for text in texts]
    if not texts:
        raise ModelError(
            "propose", f"none of {n} draws can be used", do="draw more with -n, or train for longer"
        )
    for text in texts:
        print(one_line(text))
