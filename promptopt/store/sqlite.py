"""A SQLite file (WAL), which one process at a time works on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import JournalError
from ._calls import INDEX, CallTable
from .contract import TABLES, Row
from .migrations import SQLITE, VERSION, steps
from .paging import numbered, read_pages

CACHE_KIB = 128 * 1024
CURE = "free space or mend the disk; `promptopt resume` goes on from what was committed"
CHECKPOINT = 4000
"""Pages of the write-ahead log that are written back together."""


P = ParamSpec("P")
T = TypeVar("T")


def _telling(act: Callable[Concatenate[SqliteStore, P], T]) -> Callable[Concatenate[SqliteStore, P], T]:
    """Turn what SQLite cannot do (a full disk, a damaged file) into one line that names the file."""

    @wraps(act)
    def told(store: SqliteStore, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return act(store, *args, **kwargs)
        except sqlite3.Error as error:
            raise JournalError(store.name, f"cannot be used: {error}", do=CURE) from error

    return told  # type: ignore[return-value]  # wraps forgets that `store` is positional


class SqliteStore:
    """One file; `:memory:` leaves nothing behind.

    Args:
        path: the file.
        read_only: open what is there without changing it.
    """

    order = "rowid"
    places = numbered(calls="id", prompts="rowid")
    orphaned = "1 = 1"
    repeated = "1 = 0"
    shared = False
    worker = ""

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        """Open or create the file.

        Raises:
            JournalError: it is no database, or to be read only and of an older version.
        """
        self.name = str(path)
        try:
            if read_only:
                uri = f"{Path(path).resolve().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
                if self._version() < VERSION:
                    self._db.close()
                    raise JournalError(
                        self.name, "written by an older version", got=self._found,
                        do="`promptopt resume` the run once, which brings it up to date",
                    )  # fmt: skip
                self._calls = CallTable(self._db, read_only=True)
                return
            self._db = sqlite3.connect(self.name, check_same_thread=False, isolation_level=None)
            if self._version() < VERSION:
                self._migrate()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # The index of calls had better be in memory.
            self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}")
            number = "INTEGER PRIMARY KEY"
            call = f"id {number}, key TEXT NOT NULL"
            tables = TABLES.format(
                call=call, keyed="WITHOUT ROWID", real="REAL", number=number, whose="", place=""
            )
            self._db.executescript(f"{tables}{INDEX};")
            self._calls = CallTable(self._db, read_only=False)
        except sqlite3.DatabaseError as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise JournalError(self.name, f"cannot be opened as a journal: {error}") from error

    def _version(self) -> int:
        """Return the version of the tables that are there; a file without any is of the present one."""
        columns = {name for _, name, *_ in self._db.execute("PRAGMA table_info(calls)")}
        self._found = 1 if columns and "id" not in columns else VERSION
        return self._found

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps(self._found, SQLITE):
                self._db.execute(statement)
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(VERSION),))
        except BaseException:
            self._db.execute("ROLLBACK")
            self._db.close()
            raise
        self._db.execute("COMMIT")

    @_telling
    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, and return its rows."""
        return self._db.execute(sql, values).fetchall()

    @_telling
    def write(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement for each of some rows."""
        self._db.executemany(sql, rows)

    @_telling
    def add(self, sql: str, values: Row) -> int:
        """Insert one row; return its id."""
        return self._db.execute(sql, values).lastrowid or 0

    @_telling
    def put_calls(self, rows: Sequence[Row]) -> None:
        """Append calls that are not there."""
        self._calls.put(rows)

    @_telling
    def get_calls(self, keys: Sequence[str], columns: Sequence[str]) -> list[Row]:
        """Return the columns of those that are there."""
        return self._calls.get(keys, columns)

    @_telling
    def drop_calls(self, keys: Sequence[str]) -> None:
        """Delete calls."""
        self._calls.drop(keys)

    def pages(self, table: str, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Iterate over all rows of a table, a page at a time."""
        return read_pages(self, table, columns)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Make one transaction of what is written inside."""
        self.begin()
        try:
            yield
        except BaseException:
            self.query("ROLLBACK")
            raise
        self.commit()

    @_telling
    def begin(self) -> None:
        """Begin a transaction."""
        self._db.execute("BEGIN")

    @_telling
    def commit(self) -> None:
        """End the transaction."""
        self._db.execute("COMMIT")

    def claim(self, keys: Sequence[str], *, alone: bool = False) -> Collection[str]:
        """Take on all: there is nobody else."""
        return keys

    def release(self, keys: Sequence[str]) -> None:
        """Do nothing."""

    def others(self) -> int:
        """Count none: the file is locked elsewhere."""
        return 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()
