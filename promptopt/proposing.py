"""Ask a generator that a run has trained for new prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import plugins
from .api import score
from .config import job_from_dict
from .errors import ConfigError, DataError
from .job import Job
from .records import Example, FrozenMap
from .runfolder import RunFolder
from .setup import from_job
from .strict_yaml import load as load_yaml

CARD = "generator.json"
"""What marks a generator's folder."""


def propose(
    where: str | Path,
    job: Job | None = None,
    rows: Sequence[Mapping[str, str]] = (),
    *,
    n: int = 5,
    seed: int = 0,
) -> list[list[str]]:
    """Return different prompts that a trained generator writes, as they were drawn.

    Args:
        where: a run of the searcher `rl`, or its generator's folder.
        job: the task to write for: its rows are shown, its prompt rewritten. Default: the run's own.
        rows: inputs to write for, of a conditional generator; a list of prompts comes back for each. Other
            generators write one list.
        n: draws for each; repeated and unusable ones are left out.
        seed: of the draws.

    Raises:
        BadInput: there is no generator, or nothing to ask it about.
        ModelError: the generator, or the target of a prompt to rewrite, cannot be used.
    """
    folder = find_generator(Path(where))
    setup = from_job(_job_of(Path(where)) if job is None else job)
    searcher = plugins.load("searchers", "rl")
    form = searcher.form_of(folder)
    inputs = [_row(number, row, setup.task.fields) for number, row in enumerate(rows, 1)]
    if (form == "conditional") != bool(inputs):
        raise ConfigError(
            "propose",
            "this generator writes for one input at a time"
            if not inputs
            else "this generator reads no input",
            do="name one with --row FIELD=VALUE" if not inputs else "leave --row out",
        )
    prior = 0.0
    if form == "rewrite":
        ((_, evaluation),) = score(job or _job_of(Path(where)), split="search")
        prior = evaluation.mean
    written: list[list[str]] = searcher.propose(
        folder, setup.task.for_searcher(), inputs, n, seed=seed, score=prior
    )
    return written


def find_generator(where: Path) -> Path:
    """Return the folder of the generator that a run has trained.

    Raises:
        DataError: there is none, or the run has trained several.
    """
    if not where.is_dir():
        raise DataError(str(where), "is no folder", do="name a run of the searcher rl, such as runs/latest")
    if (where / CARD).is_file():
        return where
    found = sorted(path.parent for path in where.glob(f"work/**/{CARD}"))
    if len(found) != 1:
        raise DataError(
            str(where),
            "holds no trained generator" if not found else f"has trained {len(found)} generators",
            got=[str(path) for path in found] or None,
            do="name a run of the searcher rl" if not found else "name one of these folders",
        )
    return found[0]


def _job_of(where: Path) -> Job:
    run = RunFolder(where.resolve())
    lock = load_yaml(run.lock_file).value if run.lock_file.is_file() else None
    if not isinstance(lock, dict) or "python" in lock:
        raise ConfigError(str(where), "does not say what the task is", do="name a job file with --config")
    return job_from_dict(lock, "/", str(run.lock_file))


def _row(number: int, row: Mapping[str, str], fields: Sequence[str]) -> Example:
    if set(row) != set(fields):
        raise ConfigError(
            "propose.row", "these are not the task's fields", got=dict(row), do=f"give {', '.join(fields)}"
        )
    return Example(f"row {number}", FrozenMap({name: row[name] for name in fields}))
