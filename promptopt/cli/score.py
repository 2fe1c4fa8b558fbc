"""`promptopt score`: what prompts of your own are worth on the job's rows."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, DataError
from ._options import Answers, Config, Overrides, job_of

LOOKED_AT = "test rows you have looked at no longer prove anything about prompts you choose by them"


class Split(StrEnum):
    """Which rows."""

    search = "search"
    select = "select"
    test = "test"


class CellFile(StrEnum):
    """What cells are written as."""

    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"


def score(
    config: Config,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="A text, a text file or a saved prompt.json; may be given again. Default: the job's own.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which rows.")] = Split.select,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many.", show_default=False)
    ] = None,
    answers: Answers = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Score on all rows of this file, however long (JSON lines, CSV, TSV, Parquet); needs --out.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --data: folder of the cells, a file for each part; it goes on where it was.",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="With --data: only the parts of this shard, such as 2/8. Shards may share --out; the budget "
            "is each one's own.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[CellFile, typer.Option(help="With --data: of the files.")] = CellFile.parquet,
    part: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --data: rows of a part. Default: about 8,000 cells.", show_default=False
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --data: share the work over this PostgreSQL database with every process that is given "
            "the same, or `promptopt worker --study URL`.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the table only.")] = False,
) -> None:
    """Score prompts of your own on the job's rows, or on a file of any length."""
    if data is not None or out is not None:
        from ._bulk import score_long_file

        score_long_file(
            job_of(config, overrides), [_read(text) for text in prompt or ()], data, out,
            shard=shard, format=format.value, part=part, study=study, quiet=quiet,
        )  # fmt: skip
        return
    if shard or part or study:
        raise ConfigError("promptopt score", "--shard, --part and --study go with --data", do="name a file")
    from rich.table import Table
    from rich.text import Text

    from ..api import score as score_prompts
    from ..cuts import judged_alone, look_for_cuts
    from ..progress import progress_for
    from ..proof.cutoff import Cutoff, cut_notes
    from ..proof.stats import format_number, mean_interval
    from ..visible import one_line
    from ._table import console, say

    job = job_of(config, overrides)
    given = [_read(text) for text in prompt or ()]
    with progress_for(sys.stdout, job.name, quiet=quiet) as progress:
        results = score_prompts(job, given, split=split.value, rows=rows, answers=answers, listen=progress)
    if split is Split.test and not quiet:
        print(f"note: {LOOKED_AT}")
    table = Table(
        box=None, pad_edge=False, title=f"{job.reward.name} on {split.value} rows", title_justify="left"
    )
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    for name, width in {"mean": 5, "interval": 9, "n": 4, "failed": 6, "unparsed": 8}.items():
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for scored, evaluation in results:
        values = list(evaluation.values.values())
        table.add_row(
            Text(one_line(scored.label)),
            format_number(evaluation.mean) if values else "-",
            str(mean_interval(values)).replace("[", r"\[") if values else "-",
            str(evaluation.n),
            str(evaluation.failed),
            str(evaluation.unparsed),
        )
    console().print(table)
    if not quiet:
        scored_cuts = judged_alone([(prompt, Cutoff.of(evaluation)) for prompt, evaluation in results])
        for note in cut_notes(look_for_cuts(scored_cuts, job.target.decoding.to_record(job.seed))):
            say("note:", note, 6)


def _read(text: str) -> str | Path:
    """Tell a file from a text."""
    from ..promptfile import exists

    path = Path(text)
    if "\n" in text or len(text) > 250 or not exists(path):
        if path.suffix in (".json", ".txt", ".yaml") and " " not in text:
            raise DataError(text, "no such prompt file")
        return text
    return path
