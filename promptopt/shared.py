"""A run that several processes share: its journal is in PostgreSQL, with its job and rows beside it.

All of them are alike. Each goes through the whole run, as a resumed run does: what the journal knows is taken
from there, and of what it does not know each buys a share (`store.postgres`). A searcher is deterministic, so
all stand before the same calls, and whoever is killed leaves nothing behind but calls that others take over.

A run that was started from Python is joined by the same program; a job file's is kept with its rows, too.
A worker runs the job that it finds there: whoever may write to the database decides what that is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .config import job_from_dict
from .data import Row, Rows
from .errors import ConfigError, JournalError
from .job import Job
from .journal import Journal
from .records import Example
from .setup import Setup, from_job
from .store import is_url

ORIGIN = "the study"


def publish(study: str, job: Job, rows: Rows) -> None:
    """Write down what another process needs to take part; what is there stays.

    Raises:
        ConfigError: the address is no URL of a PostgreSQL database.
        JournalError: the database cannot be used.
    """
    with opened_study(study) as journal:
        # As text: the order of slots, of input columns means something, and the journal's JSON sorts keys.
        journal.settle_meta("job", json.dumps(job.to_lock()))
        journal.settle_meta("data", json.dumps(rows_to_dict(rows)))


def announce(study: str) -> None:
    """Write down that what the run is made of is in a Python program, and cannot be read from here.

    Raises:
        ConfigError: the address is no URL of a PostgreSQL database.
        JournalError: the database cannot be used.
    """
    with opened_study(study) as journal:
        journal.settle_meta("python", True)


def join(study: str) -> Setup:
    """Return the run that is kept at an address, all from there.

    Raises:
        ConfigError: the address is no URL of a PostgreSQL database.
        JournalError: no run is there.
    """
    with opened_study(study) as journal:
        job, data = journal.get_meta("job"), journal.get_meta("data")
        program = journal.get_meta("python")
    if job is None and program:
        raise JournalError(
            study, "was started from Python", do="run the same program: optimize(..., study=URL) takes part"
        )
    if job is None or data is None:
        raise JournalError(study, "holds no study yet", do="begin it: promptopt run CONFIG --study URL")
    return from_job(job_from_dict(json.loads(job), "/", ORIGIN), rows_from_dict(json.loads(data)))


@contextmanager
def opened_study(study: str) -> Iterator[Journal]:
    """Open the journal of a study.

    Raises:
        ConfigError: the address is no URL of a PostgreSQL database.
        JournalError: the database cannot be used.
    """
    if not is_url(study):
        raise ConfigError(
            "study", "is no PostgreSQL database", got=study, do="write postgresql://HOST/DATABASE"
        )
    with Journal(study) as journal:
        yield journal


def rows_to_dict(rows: Rows) -> dict[str, Any]:
    """Return rows as plain JSON data."""
    listed = [{**row.example.to_dict(), "split": row.split} for row in rows]
    return {"fields": list(rows.fields), "rows": listed}


def rows_from_dict(data: Mapping[str, Any]) -> Rows:
    """Read what `rows_to_dict` wrote."""
    found = (Row(Example.from_dict(row), ORIGIN, row["split"]) for row in data["rows"])
    return Rows(tuple(found), tuple(data["fields"]))
