"""What a journal needs of a database, and the tables that it keeps there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]

TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) {keyed};
CREATE TABLE IF NOT EXISTS calls (
    {call}, role TEXT NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds {real} NOT NULL, at {real} NOT NULL, checksum TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    id {number}, key TEXT NOT NULL, role TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, at {real} NOT NULL, lost INTEGER NOT NULL DEFAULT 0{whose}
);
CREATE TABLE IF NOT EXISTS prompts (
    id TEXT PRIMARY KEY, content TEXT NOT NULL, origin TEXT NOT NULL, parents TEXT NOT NULL,
    at {real} NOT NULL{place}
);
CREATE TABLE IF NOT EXISTS cells (
    prompt TEXT NOT NULL, example TEXT NOT NULL, sample INTEGER NOT NULL, reward TEXT NOT NULL,
    split TEXT NOT NULL, status TEXT NOT NULL, value {real}, feedback TEXT NOT NULL, parsed INTEGER NOT NULL,
    output TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (prompt, example, sample, reward)
) {keyed};
"""
"""The same tables everywhere; what databases write differently is filled in by each store."""


CALL = (
    "key", "role", "request", "outcome", "attempts", "prompt_tokens", "completion_tokens", "seconds", "at",
    "checksum",
)  # fmt: skip
"""The columns of `calls`."""


PAGE = 1000
"""Rows that are read at a time where there may be many."""


class Store(Protocol):
    """A database. Its SQL has `?` for values; what the journal writes may be written twice.

    Attributes:
        name: a file, or a URL without secrets, for messages.
        order: the column that numbers rows of `prompts` as they came.
        places: by table, the columns that put its rows in order, and that together no two rows share.
        orphaned: the SQL condition of an attempt whose process is gone.
        repeated: of an attempt that another process makes of a call that it has tried before.
        shared: whether other processes may work on it at the same time.
        worker: who this process is there; empty if it is nobody's but its own.
    """

    name: str
    order: str
    places: Mapping[str, Sequence[str]]
    orphaned: str
    repeated: str
    shared: bool
    worker: str

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement at once, and return its rows; it sees all that was written before."""
        ...

    def write(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement for each of some rows: by the next `commit`, outside of a batch at once."""
        ...

    def add(self, sql: str, values: Row) -> int:
        """Insert one row at once; return its id."""
        ...

    def put_calls(self, rows: Sequence[Row]) -> None:
        """Write calls that are not there, each a tuple of the columns `CALL`, as `write` does.

        Where processes share the database, the first that is written of a key stays.
        """
        ...

    def get_calls(self, keys: Sequence[str], columns: Sequence[str]) -> list[Row]:
        """Return the columns of those calls that are there, in any order."""
        ...

    def drop_calls(self, keys: Sequence[str]) -> None:
        """Delete calls, as `write` does."""
        ...

    def pages(self, table: str, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Iterate over all rows of a table, in the order of `places`, at most `PAGE` at a time."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """Write what is written inside at once, and undo it all if an exception passes; no batch is open."""
        ...

    def begin(self) -> None:
        """Begin a batch of writes."""
        ...

    def commit(self) -> None:
        """Commit the batch, and end it."""
        ...

    def claim(self, keys: Sequence[str], *, alone: bool = False) -> Collection[str]:
        """Take on some of these calls, so that no other process makes them: how many is the store's choice.

        A claim ends with `release`, with the call's outcome in the table, or with the process.

        Args:
            keys: calls without an outcome, the most urgent first.
            alone: take nothing while another process has claims of any kind.
        """
        ...

    def release(self, keys: Sequence[str]) -> None:
        """Give claims back, made or not."""
        ...

    def others(self) -> int:
        """Return how many other processes are alive that work on it."""
        ...

    def close(self) -> None:
        """Close it; what is in a batch is committed."""
        ...
