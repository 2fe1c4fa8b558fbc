"""The public call that looks at a job on more machines before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .capacity import Outlook, Replicas, Wave, look_ahead, waves_of_file, waves_of_run
from .data import Stream
from .errors import ConfigError
from .forecast import dry_run
from .job import Job
from .prompt import Prompt
from .records import Usage
from .setup import columns_of, from_job

CELL_SECONDS = 150e-6
"""Seconds that promptopt itself takes for a cell of a long file (`python -m benchmarks.scale.bulk`)."""


def plan_capacity(
    job: Job,
    replicas: Replicas,
    *,
    data: str | Path | None = None,
    prompts: Sequence[Prompt] = (),
    reply_tokens: float | None = None,
    part: int | None = None,
) -> tuple[Outlook, list[Wave]]:
    """Return what a job takes on some replicas, and the waves of calls that it is made of; nothing is bought.

    Args:
        job: from `config.load_job`.
        replicas: servers of the target; other models are taken to be served alike.
        data: plan scoring this file, instead of the job's search.
        prompts: that are scored on it; none is the job's own.
        reply_tokens: of the target, if known better than from the rows' answers.
        part: rows of a part of the file.

    Raises:
        ConfigError: the search cannot be rehearsed.
    """
    setup = from_job(job)
    if data is not None:
        stream = Stream.open(Path(data), columns_of(job))
        waves = waves_of_file(setup, stream, prompts, reply_tokens, part)
        calls = sum(len(wave.calls) * wave.times for wave in waves)
        own = calls * CELL_SECONDS
    else:
        dry = dry_run(lambda: from_job(job))
        if isinstance(dry, str):
            raise ConfigError("promptopt plan", dry, do="plan another search, or a file with --data")
        waves, own = waves_of_run(dry, reply_tokens), dry.rehearsal.seconds
    price = setup.prices.get("target")
    usage = Usage()
    for wave in waves:
        for each in wave.calls:
            usage += Usage(each.prompt_tokens * wave.times, each.completion_tokens * wave.times)
    return look_ahead(waves, replicas, own, None if price is None else price.usd(usage)), waves
