"""The only truth of a run: SQLite (WAL) with every model call, every prompt and every cell.

The journal knows nothing of models, prompts' meaning or budgets: it keeps what it is given, under keys.
A call's outcome is committed before anybody uses it. Attempts are written down before they are sent,
so that after a kill those without an answer can be counted as possibly billed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import JournalError
from .records import Cell, Score, Usage, canonical_json

SCHEMA_VERSION = 1
MAX_UNCOMMITTED_SECONDS = 0.5
CACHE_KIB = 128 * 1024
LOOKUP = 500
"""Keys looked up by one query."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, role TEXT NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, at REAL NOT NULL, checksum TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, role TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, at REAL NOT NULL, lost INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS prompts (
    id TEXT PRIMARY KEY, content TEXT NOT NULL, origin TEXT NOT NULL, parents TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS cells (
    prompt TEXT NOT NULL, example TEXT NOT NULL, sample INTEGER NOT NULL, reward TEXT NOT NULL,
    split TEXT NOT NULL, status TEXT NOT NULL, value REAL, feedback TEXT NOT NULL, parsed INTEGER NOT NULL,
    output TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (prompt, example, sample, reward)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A journaled model call: the outcome as plain data, and what it took."""

    outcome: dict[str, Any]
    attempts: int
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt that was under way when its process died; it may have been billed up to `bound`."""

    role: str
    bound: Usage


class Journal:
    """One SQLite file; safe to use from several threads of one process.

    Args:
        path: the file, or `:memory:` for a run that leaves nothing behind.
        read_only: open an existing journal without changing it.
    """

    def __init__(self, path: str | Path = ":memory:", *, read_only: bool = False) -> None:
        """Open or create the journal."""
        self.path = str(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._begun = 0.0
        self._unwritten: list[tuple[Any, ...]] = []
        self._under_way: dict[str, list[int | None]] = {}
        try:
            if read_only:
                uri = f"{Path(path).resolve().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            else:
                self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                # Keys are hashes: every insert lands elsewhere in their index, which had better be in memory.
                self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
                self._db.executescript(SCHEMA)
            version = self.get_meta("schema_version")
        except sqlite3.DatabaseError as error:
            raise JournalError(self.path, f"cannot be opened as a journal: {error}") from error
        if version is None and not read_only:
            self.set_meta("schema_version", SCHEMA_VERSION)
        elif version != SCHEMA_VERSION:
            raise JournalError(
                self.path,
                "written by another version",
                got=version,
                do="use that version, or start a new run",
            )

    def close(self) -> None:
        """Close the file; what was recorded is committed already."""
        with self._lock:
            self._db.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Commit what is recorded inside at the end (also when an exception passes), or every half second."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN")
                self._begun = time.monotonic()
            elif time.monotonic() - self._begun > MAX_UNCOMMITTED_SECONDS:
                self.commit()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._flush()
                    self._db.execute("COMMIT")

    def commit(self) -> None:
        """Commit now what another thread's batch would hold back."""
        with self._lock:
            if self._depth:
                self._flush()
                self._db.execute("COMMIT")
                self._db.execute("BEGIN")
                self._begun = time.monotonic()

    def _flush(self) -> None:
        """Write the calls of the batch that are still in memory."""
        rows, self._unwritten = self._unwritten, []
        if rows:
            self._db.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._strike_off(row[0] for row in rows)

    def _strike_off(self, keys: Iterable[str]) -> None:
        """Delete the attempts of these calls that are under way."""
        numbers = [(number,) for key in keys for number in self._under_way.pop(key, ())]
        if numbers:
            self._db.executemany("DELETE FROM attempts WHERE id = ?", numbers)

    def get_meta(self, key: str) -> Any:
        """Return a value of the run's own notes, or None."""
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Set a value of the run's own notes (JSON)."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, canonical_json(value)))

    def get_call(self, key: str) -> Call | None:
        """Return the call with this key; None when it is not there or its checksum is wrong."""
        return self.get_calls([key]).get(key)

    def get_calls(self, keys: Iterable[str]) -> dict[str, Call]:
        """Return the calls with these keys, without those that are missing or whose checksum is wrong."""
        wanted = list(keys)
        found: dict[str, Call] = {}
        with self._lock:
            self._flush()
            for start in range(0, len(wanted), LOOKUP):
                some = wanted[start : start + LOOKUP]
                rows = self._db.execute(
                    "SELECT key, outcome, attempts, prompt_tokens, completion_tokens, seconds, checksum"
                    f" FROM calls WHERE key IN ({', '.join('?' * len(some))})",
                    some,
                )
                for key, outcome, attempts, prompt_tokens, completion_tokens, seconds, checksum in rows:
                    if checksum == _checksum(key, outcome):
                        usage = Usage(prompt_tokens, completion_tokens)
                        found[key] = Call(json.loads(outcome), attempts, usage, seconds)
        return found

    def put_call(self, key: str, role: str, request: str, call: Call) -> None:
        """Record a call's outcome and strike its attempts off the list of those under way.

        Args:
            key: names it.
            role: who was asked.
            request: what was asked, as canonical JSON.
            call: what came of it.
        """
        outcome = canonical_json(call.outcome)
        usage, checksum = call.usage, _checksum(key, outcome)
        row = (
            key, role, request, outcome, call.attempts, usage.prompt_tokens, usage.completion_tokens,
            call.seconds, time.time(), checksum,
        )  # fmt: skip
        with self.batch():
            self._unwritten.append(row)

    def put_attempt(self, key: str, role: str, bound: Usage) -> None:
        """Record that an attempt is about to be sent."""
        with self._lock:
            added = self._db.execute(
                "INSERT INTO attempts (key, role, prompt_tokens, completion_tokens, at)"
                " VALUES (?, ?, ?, ?, ?)",
                (key, role, bound.prompt_tokens, bound.completion_tokens, time.time()),
            )
            self._under_way.setdefault(key, []).append(added.lastrowid)

    def lose_attempts(self) -> list[LostAttempt]:
        """Mark attempts that never got an answer as lost; return all lost ones of the run."""
        with self._lock:
            self._under_way.clear()
            self._db.execute("UPDATE attempts SET lost = 1 WHERE lost = 0")
            rows = self._db.execute(
                "SELECT role, prompt_tokens, completion_tokens FROM attempts ORDER BY id"
            ).fetchall()
        return [LostAttempt(role, Usage(prompt, completion)) for role, prompt, completion in rows]

    def forget_failures(self) -> int:
        """Delete failed calls, so that they are tried again; return how many."""
        failed = "json_extract(outcome, '$.type') = 'failure'"
        with self.batch():
            self._flush()
            rows = self._db.execute(
                f"SELECT key, role, attempts, prompt_tokens, completion_tokens FROM calls WHERE {failed}"
            ).fetchall()
            for key, role, attempts, prompt_tokens, completion_tokens in rows:
                self.write_off(key, role, attempts, Usage(prompt_tokens, completion_tokens))
            self._db.execute(f"DELETE FROM calls WHERE {failed}")
            self._db.execute("DELETE FROM cells WHERE status = 'failed'")
        return len(rows)

    def bill(self) -> dict[str, Call]:
        """Return what all calls took by role, lost attempts included, each call once; outcomes are empty."""
        with self._lock:
            self._flush()
            rows = self._db.execute(
                "SELECT role, SUM(attempts), SUM(prompt_tokens), SUM(completion_tokens), SUM(seconds) FROM ("
                "SELECT role, attempts, prompt_tokens, completion_tokens, seconds FROM calls UNION ALL "
                "SELECT role, 1, prompt_tokens, completion_tokens, 0 FROM attempts WHERE lost = 1"
                ") GROUP BY role ORDER BY role"
            ).fetchall()
        return {row[0]: Call({}, row[1], Usage(row[2], row[3]), row[4]) for row in rows}

    def write_off(self, key: str, role: str, attempts: int, spent: Usage) -> None:
        """Keep on the bill what attempts without a lasting outcome cost together."""
        with self.batch():
            self._strike_off([key])
            for index in range(attempts):
                share = spent if index == 0 else Usage()
                self._db.execute(
                    "INSERT INTO attempts (key, role, prompt_tokens, completion_tokens, at, lost)"
                    " VALUES (?, ?, ?, ?, ?, 1)",
                    (key, role, share.prompt_tokens, share.completion_tokens, time.time()),
                )

    def put_prompt(self, identifier: str, content: dict[str, Any]) -> None:
        """Record a candidate; one that is known already keeps its first lineage."""
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO prompts VALUES (?, ?, ?, ?, ?)",
                (
                    identifier,
                    canonical_json(content),
                    content.get("origin", ""),
                    canonical_json(content.get("parents", [])),
                    time.time(),
                ),
            )

    def put_cells(self, split: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Record cells, each a tuple of the columns named below, `split` first."""
        with self.batch():
            self._db.executemany(
                "INSERT OR REPLACE INTO cells (split, prompt, example, sample, reward, status, value,"
                " feedback, parsed, output, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(split, *row) for row in rows],
            )

    def cells(self, prompt: str, split: str, reward: str) -> tuple[Cell, ...]:
        """Return a prompt's cells on the rows of a split, by row id; they carry no usage."""
        with self._lock:
            rows = self._db.execute(
                "SELECT example, sample, status, output, value, feedback, parsed, reason FROM cells"
                " WHERE prompt = ? AND split = ? AND reward = ? ORDER BY example, sample",
                (prompt, split, reward),
            ).fetchall()
        return tuple(
            Cell(prompt, row[0], row[1], row[2], row[3], _score(row[4], row[5], row[6]), row[7])
            for row in rows
        )

    def prompts(self) -> list[dict[str, Any]]:
        """Return the content of all candidates in the order in which they were found."""
        with self._lock:
            rows = self._db.execute("SELECT content FROM prompts ORDER BY rowid").fetchall()
        return [json.loads(row[0]) for row in rows]

    def count(self, table: str) -> int:
        """Return the number of rows of `calls`, `prompts`, `cells` or `attempts`."""
        if table not in ("calls", "prompts", "cells", "attempts"):
            raise ValueError(table)
        with self._lock:
            self._flush()
            return int(self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def _score(value: float | None, feedback: str, parsed: int) -> Score | None:
    return None if value is None else Score(value, feedback, bool(parsed))


def _checksum(key: str, outcome: str) -> str:
    return hashlib.blake2b(f"{key}\n{outcome}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
