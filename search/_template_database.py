"""The database that an Optuna study is written to: SQLite or PostgreSQL, by its URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from promptopt.errors import ConfigError, MissingExtra

if TYPE_CHECKING:  # optuna is loaded when a search begins
    from optuna.storages import RDBStorage

OPENINGS = 5
POSTGRES = re.compile(r"^postgres(ql)?://")
PASSWORD = re.compile(r"://[^/@]*:[^/@]+@")


def check_url(url: str) -> None:
    """Raise ConfigError for an address that holds a password, which would reach the run's folder."""
    if PASSWORD.search(url):
        raise ConfigError(
            "search.storage", "holds a password",
            do="take it out and set it in the environment (PGPASSWORD) or in ~/.pgpass",
        )  # fmt: skip


@contextmanager
def opened_storage(url: str) -> Iterator[RDBStorage]:
    """Open a database that Optuna keeps studies in.

    Raises:
        ConfigError: it cannot be opened.
        MissingExtra: its driver is not installed.
    """
    storage = _storage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _storage(url: str) -> RDBStorage:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    check_url(url)
    full = POSTGRES.sub("postgresql+psycopg://", url)
    for attempt in range(OPENINGS):
        try:
            return optuna.storages.RDBStorage(full)
        except ImportError as error:
            if "postgresql" in full:
                raise MissingExtra("search.storage", "psycopg", "postgres") from error
            raise ConfigError("search.storage", f"has no driver: {error}", got=url) from error
        except (SQLAlchemyError, ValueError, RuntimeError) as error:
            problem = " ".join(str(error).split())[:200]
            # Of several workers that make the tables of a new database at once, one succeeds at first.
            if attempt + 1 < OPENINGS and "already exists" in problem:
                continue
            raise ConfigError(
                "search.storage", f"cannot be opened: {problem}", do="write it like sqlite:///study.db"
            ) from error
    raise AssertionError("the last opening returns or raises")


@contextmanager
def alone_in(storage: RDBStorage, name: str) -> Iterator[None]:
    """Keep other workers of the run from writing the same study; a file has one writer anyway."""
    from sqlalchemy import text

    if storage.engine.dialect.name != "postgresql":
        yield
        return
    with storage.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext(:name))"), {"name": name})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": name})
