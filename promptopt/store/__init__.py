"""Databases that a journal is kept in: a SQLite file, or PostgreSQL for processes that share a run."""

from __future__ import annotations

from pathlib import Path

from .bill import read_bill
from .contract import CALL, Store
from .migrations import VERSION
from .purse import Purse
from .sqlite import SqliteStore

SCHEMES = ("postgresql://", "postgres://")

__all__ = ["CALL", "SCHEMES", "VERSION", "Purse", "Store", "is_url", "open_store", "read_bill"]


def is_url(place: str | Path) -> bool:
    """Whether this names a PostgreSQL database, not a file."""
    return str(place).startswith(SCHEMES)


def open_store(place: str | Path, *, read_only: bool = False) -> Store:
    """Open a file (`:memory:` is none), or a PostgreSQL database by its URL.

    Raises:
        ConfigError: the URL is malformed or holds a password.
        JournalError: it cannot be opened.
        MissingExtra: it is a URL, and psycopg is not installed.
    """
    if not is_url(place):
        return SqliteStore(place, read_only=read_only)
    from .postgres import PostgresStore

    return PostgresStore(str(place))
