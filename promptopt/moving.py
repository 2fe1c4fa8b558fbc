"""Take a run from its folder into a PostgreSQL database, for several processes to go on with it, or back.

A journal is the same everywhere, so a run moves by copying what it consists of. The folder stays, with the
job in it, which says where the run is kept.
"""

from __future__ import annotations

import json
from typing import Any

from .config import job_from_dict
from .errors import ConfigError, JournalError
from .journal import Journal
from .run import bring_home
from .runfolder import RunFolder
from .setup import read_rows
from .shared import opened_study, publish
from .store import is_url
from .strict_yaml import load as load_yaml

TABLES = ("calls", "attempts", "prompts", "cells")


def move(source: str, target: str) -> dict[str, int]:
    """Move a run, and return how many rows of each kind it has.

    Args:
        source: the run's folder, or the URL of the study that it is kept in.
        target: the other kind of place. A study must be empty; a folder must be new, or the run's own.

    Raises:
        ConfigError: not one folder and one URL, or the run was started from Python.
        JournalError: processes are at work on it, or the target holds something else.
    """
    match is_url(source), is_url(target):
        case False, True:
            return _to_study(RunFolder.existing(source), target)
        case True, False:
            return _to_folder(source, RunFolder(target))
        case _:
            raise ConfigError(
                "promptopt move", "a run moves from a folder to a database or back", got=f"{source} {target}",
                do="name one folder and one postgresql://HOST/DATABASE",
            )  # fmt: skip


def _to_study(folder: RunFolder, study: str) -> dict[str, int]:
    lock = _lock(folder)
    if folder.study is not None:
        raise JournalError(str(folder.path), "is kept in a database already", got=folder.study)
    if not folder.journal.exists():
        raise JournalError(
            str(folder.path), "has no journal yet", do="start it there: promptopt run --study URL"
        )
    job = job_from_dict(lock, "/", str(folder.lock_file))
    with folder.claimed(), Journal(folder.journal) as here, opened_study(study) as there:
        if there.get_meta("fingerprint") is not None or there.get_meta("job") is not None:
            raise JournalError(
                study, "holds a run or a scoring job", do="name another study: add ?study=NAME to the URL"
            )
        counts = _copied(here, there)
        publish(study, job.model_copy(update={"study": study}), read_rows(job))
        folder.write_start({**lock, "study": study})
    return counts


def _to_folder(study: str, folder: RunFolder) -> dict[str, int]:
    with opened_study(study) as there:
        job = there.get_meta("job")
        if job is None:
            raise JournalError(study, "holds no run")
        if others := there.others():
            raise JournalError(
                study, f"{others} processes are at work on it", do="stop them, or wait for them"
            )
        with folder.claimed():
            if folder.lock_file.exists() and folder.study != study:
                raise JournalError(
                    str(folder.path),
                    "holds another run",
                    do="name a new folder, or the one that it came from",
                )
            bring_home(there, folder.journal)
            with Journal(folder.journal) as here:
                counts = _checked(there, here)
            folder.write_start({key: value for key, value in json.loads(job).items() if key != "study"})
        there.clear()
    return counts


def _lock(folder: RunFolder) -> dict[str, Any]:
    lock = load_yaml(folder.lock_file).value if folder.lock_file.exists() else None
    if not isinstance(lock, dict) or "python" in lock:
        raise ConfigError(
            str(folder.path),
            "was started from Python, and no worker could go on with it",
            do="write a job file",
        )
    return lock


def _copied(here: Journal, there: Journal) -> dict[str, int]:
    here.copy_to(there)
    return _checked(here, there)


def _checked(source: Journal, copy: Journal) -> dict[str, int]:
    """Return how many rows there are, of each kind as many in both.

    Raises:
        JournalError: they are not.
    """
    counts = {table: source.count(table) for table in TABLES}
    for table, count in counts.items():
        if (found := copy.count(table)) != count:
            raise JournalError(
                copy.path, f"has {found} {table}, {count} were to come", do="look for who writes there"
            )
    return counts
