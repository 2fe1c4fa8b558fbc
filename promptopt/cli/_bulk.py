"""What `score --data` and `worker` print of a scoring job."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:  # the help must not wait for these
    from ..api_bulk import Scoring
    from ..cellfiles import CellFormat
    from ..job import Job


def score_long_file(
    job: Job,
    prompts: Sequence[str | Path],
    data: Path | None,
    out: Path | None,
    *,
    shard: str | None,
    format: CellFormat,
    part: int | None,
    study: str | None,
    quiet: bool,
) -> None:
    """Score prompts on a file, and print what its cells add up to."""
    from ..api_bulk import score_file
    from ..bulk import Shard
    from ..progress import progress_for

    if data is None or out is None:
        raise ConfigError("promptopt score", "--data and --out go together", do="name the file and a folder")
    mine = Shard() if shard is None else Shard.parse(shard)
    with progress_for(sys.stdout, job.name, quiet=quiet) as progress:
        found = score_file(
            job, data, out, prompts, shard=mine, format=format, part=part, study=study, listen=progress
        )
    print_scoring(found)


def print_scoring(found: Scoring) -> None:
    """Print a table of prompts, and where their cells are."""
    from ..progress import count, usd_text
    from ..proof.stats import format_number
    from ..visible import one_line
    from ._table import console, say, table

    totals = found.totals
    shown = table("prompt", {"mean": 5, "interval": 14, "rows": 6, "failed": 6, "unparsed": 8})
    for prompt in found.prompts:
        tally = totals.tallies.get(prompt.id)
        if tally is None:
            continue
        low, high = tally.interval()
        shown.add_row(
            one_line(prompt.label),
            format_number(tally.mean) if tally.rows else "-",
            rf"\[{format_number(low)}, {format_number(high)}]" if tally.rows > 1 else "-",
            count(tally.rows),
            count(tally.failed),
            count(tally.unparsed),
        )
    console().print(shown)
    for note in found.notes:
        say("note:", note, 6)
    spent = f"{count(totals.calls)} calls, {count(totals.usage.tokens)} tokens"
    if totals.usd:
        spent += f", {usd_text(totals.usd)}"
    if totals.judge_check is not None and totals.judge_check.note:
        print(f"note: {one_line(totals.judge_check.note)}")
    print(f"{found.reward} on {count(totals.rows)} rows, {spent}; cells in {found.folder}")
