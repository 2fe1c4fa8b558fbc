"""`promptopt compare`: prompts or runs side by side on the same rows, as a gate if need be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._options import Answers, Overrides, job_of
from .score import LOOKED_AT, Split

if TYPE_CHECKING:  # the help must not wait for it
    from ..proof.comparison import Comparison


def compare(
    prompts: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C...]", help="Prompt files (.json or text) or folders of runs; A is the baseline."
        ),
    ],
    job: Annotated[
        Path | None,
        typer.Option(
            help="Score them on this job's rows; runs proved on the same rows need none.", show_default=False
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which rows.")] = Split.test,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many of the job's.", show_default=False)
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Which one the others are measured against.", show_default="A")
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Compare each with each.")] = False,
    min_gain: Annotated[
        float | None,
        typer.Option(
            help="Exit with 1 unless the lower end of the last one's gain over the baseline is above this, "
            "in units of the reward.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of all intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    answers: Answers = None,
    overrides: Overrides = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
) -> None:
    """Compare prompts or runs on the same rows; with --min-gain, as a gate."""
    import json

    from ..api_compare import compare as compare_prompts
    from ..errors import ConfigError
    from ..progress import amounts, progress_for
    from ..proof.comparison import check_bar
    from ..visible import one_line

    if min_gain is not None:
        check_bar(min_gain)
    if job is None and overrides:
        raise ConfigError("--set", "changes a job", got=overrides[0], do="give one with --job")
    read = None if job is None else job_of(job, overrides)
    with progress_for(sys.stdout, "compare", quiet=quiet or as_json or read is None) as progress:
        result = compare_prompts(
            prompts,
            job=read,
            split=split.value,
            rows=rows,
            baseline=baseline,
            all_pairs=all_pairs,
            confidence=confidence,
            answers=answers,
            listen=progress,
        )
    gate = None if min_gain is None else result.gate(min_gain)
    if as_json:
        told = result.to_dict() | ({} if gate is None else {"gate": gate.to_dict()})
        print(json.dumps(told, indent=2))
    else:
        _print(result)
        if read is not None and not quiet:
            if split is Split.test:
                print(f"note: {LOOKED_AT}")
            print(f"spent: {amounts(result.spent)}")
        if gate is not None:
            print(one_line(gate.line))
    if gate is not None and not gate.passed:
        raise typer.Exit(1)


def _print(result: Comparison) -> None:
    from rich.text import Text

    from ..proof.stats import format_number, format_p
    from ..visible import one_line
    from ._table import console, say, table

    columns = {"mean": 5, "interval": 9, "n": 4, "failed": 6, "unparsed": 8}
    metered = any(contender.cost for contender in result.contenders)
    standings = table("prompt", columns | ({"prompt tokens": 13, "output tokens": 13} if metered else {}))
    for place, contender in enumerate(result.contenders):
        evaluation, cost = contender.evaluation, contender.cost
        tokens = ["-", "-"] if cost is None else [f"{cost.prompt_tokens:,.1f}", f"{cost.output_tokens:,.1f}"]
        standings.add_row(
            Text(one_line(contender.name) + ("" if place else " (baseline)")),
            format_number(evaluation.mean) if evaluation.n else "-",
            Text(str(contender.interval or "-")),
            str(evaluation.n),
            str(evaluation.failed),
            str(evaluation.unparsed),
            *(tokens if metered else []),
        )
    pairs = table("pair", {"gain": 5, "interval": 9, "n": 4, "p": 6, "p (Holm)": 8})
    pairs.columns[0].no_wrap = False  # which pair it is must not be cut off
    pairs.add_column("verdict", no_wrap=True, min_width=max(len(pair.words) for pair in result.pairs))
    for pair in result.pairs:
        pairs.add_row(
            Text(one_line(f"{pair.name} - {pair.baseline}")),
            "-" if pair.gain is None else format_number(pair.gain, sign=True),
            Text(str(pair.interval or "-")),
            str(pair.n),
            format_p(pair.p).removeprefix("p").removeprefix("="),
            format_p(pair.adjusted).removeprefix("p").removeprefix("="),
            pair.words,
        )
    print(f"{result.reward} on {result.split} rows, {100 * result.confidence:.4g}% intervals", flush=True)
    console().print(standings)
    print("\npaired differences, on the rows where both have a score", flush=True)
    console().print(pairs)
    for note in result.notes:
        say("note:", note, 6)
