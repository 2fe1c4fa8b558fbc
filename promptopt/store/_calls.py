"""The calls of a SQLite journal: rows in the order in which they came, and an index that follows behind.

Keys are digests: each new one belongs to another page of an index, and once that is large, writing the page
with every commit costs more than all the rest. So rows are only appended. The newest are known in memory, and
enter the index many at once, sorted, when they are a set share of it: what a call costs does not grow with
their number (O'Neil et al. 1996, "The log-structured merge-tree"; two levels suffice here).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from .contract import CALL, Row

INDEX = "CREATE TABLE IF NOT EXISTS places (hash INTEGER, id INTEGER, PRIMARY KEY (hash, id)) WITHOUT ROWID"
FEWEST = 4096
"""Calls that are worth entering into the index."""
SHARE = 32
"""Calls in the index for each that may wait to enter it."""
LOOKUP = 500
"""Keys looked up by one query."""

_PUT = f"INSERT INTO calls (id, {', '.join(CALL)}) VALUES (?{', ?' * len(CALL)})"


class CallTable:
    """The table `calls`, which one connection at a time writes.

    `PRAGMA user_version` holds the id up to which calls are in the index.
    """

    def __init__(self, db: sqlite3.Connection, *, read_only: bool) -> None:
        """Take the connection, and read which calls are not in the index yet."""
        self._db, self._read_only = db, read_only
        self._fresh: dict[str, int] = {}
        self._indexed = self._last = int(db.execute("PRAGMA user_version").fetchone()[0])
        self._catch_up()

    def put(self, rows: Sequence[Row]) -> None:
        """Append calls. Look them up first: whether they are in the index already is not asked again."""
        new: list[Row] = []
        for row in rows:
            if row[0] not in self._fresh:
                self._last += 1
                self._fresh[row[0]] = self._last
                new.append((self._last, *row))
        self._db.executemany(_PUT, new)
        if len(self._fresh) > max(FEWEST, self._indexed // SHARE):
            self._index()

    def get(self, keys: Sequence[str], columns: Sequence[str]) -> list[Row]:
        """Return the columns of those that are there."""
        if self._read_only:
            self._catch_up()
        wanted, names = set(keys), ", ".join(columns)
        rows = self._rows(self._ids(keys), f"key, {names}")
        return [row[1:] for row in rows if row[0] in wanted]

    def drop(self, keys: Sequence[str]) -> None:
        """Delete calls; the index may still name them, as it may name others with the same hash."""
        wanted = set(keys)
        found = [(place,) for place, key in self._rows(self._ids(keys), "id, key") if key in wanted]
        self._db.executemany("DELETE FROM calls WHERE id = ?", found)
        for key in keys:
            self._fresh.pop(key, None)

    def _ids(self, keys: Iterable[str]) -> Iterator[int]:
        """Iterate over the ids of calls that may have these keys."""
        older: list[int] = []
        for key in keys:
            if (place := self._fresh.get(key)) is not None:
                yield place
            else:
                older.append(_hash(key))
        if self._indexed:
            for some in _parts(older):
                marks = ", ".join("?" * len(some))
                yield from (
                    place
                    for (place,) in self._db.execute(f"SELECT id FROM places WHERE hash IN ({marks})", some)
                )

    def _rows(self, ids: Iterator[int], columns: str) -> Iterator[Row]:
        for some in _parts(ids):
            marks = ", ".join("?" * len(some))
            yield from self._db.execute(f"SELECT {columns} FROM calls WHERE id IN ({marks})", some)

    def _index(self) -> None:
        entries = sorted((_hash(key), place) for key, place in self._fresh.items())
        self._db.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", entries)
        self._indexed = self._last
        self._db.execute(f"PRAGMA user_version = {self._indexed}")
        self._fresh.clear()

    def _catch_up(self) -> None:
        """Read which calls came after the last one known."""
        rows = self._db.execute("SELECT key, id FROM calls WHERE id > ? ORDER BY id DESC", (self._last,))
        found = dict(rows.fetchall())
        self._fresh.update(found)
        self._last = max([self._last, *islice(found.values(), 1)])


def _hash(key: str) -> int:
    """Return 63 bits of a digest, as SQLite keeps numbers."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def _parts(values: Iterable[int]) -> Iterator[list[int]]:
    source = iter(values)
    while part := list(islice(source, LOOKUP)):
        yield part
