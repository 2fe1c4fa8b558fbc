"""The only truth of a run: a database with every model call, every prompt and every cell.

The journal knows nothing of models, prompts' meaning or budgets: it keeps what it is given, under keys.
A call's outcome is committed before anybody uses it. Attempts are written down before they are sent,
so that after a kill those without an answer can be counted as possibly billed; the answers that came since
the attempt before go into the same commit.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from .errors import JournalError, noted_on
from .records import Budget, Cell, Price, Score, Usage, canonical_json
from .store import CALL, VERSION, Purse, open_store, read_bill

PUT_ATTEMPT = (
    "INSERT INTO attempts (key, role, prompt_tokens, completion_tokens, at, lost) VALUES (?, ?, ?, ?, ?, ?)"
)
PUT_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) "
PUT_PROMPT = """
INSERT INTO prompts (id, content, origin, parents, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
CELL = ("prompt", "example", "sample", "reward")
VALUES = ("split", "status", "value", "feedback", "parsed", "output", "reason")
PUT_CELL = f"""
INSERT INTO cells (split, {", ".join(CELL)}, {", ".join(VALUES[1:])}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT ({", ".join(CELL)}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in VALUES)}
"""
COLUMNS = {
    "meta": ("key", "value"),
    "calls": CALL,
    "attempts": ("key", "role", "prompt_tokens", "completion_tokens", "at", "lost"),
    "prompts": ("id", "content", "origin", "parents", "at"),
    "cells": (*CELL, *VALUES),
}
"""What a journal consists of."""
READ = ("key", "outcome", "attempts", "prompt_tokens", "completion_tokens", "seconds", "checksum")
"""What is read of a call."""
FAILED = '%"type":"failure"%'
"""What the outcome of a failed call is like; in a text its quotes would be escaped."""


class Call(NamedTuple):
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
    key: str
    number: int


class Journal:
    """One database; safe to use from several threads.

    Args:
        place: a file, `:memory:` for a run that leaves nothing behind, or a PostgreSQL URL, whose journal
            several processes may share.
        read_only: open an existing file without changing it.
    """

    def __init__(self, place: str | Path = ":memory:", *, read_only: bool = False) -> None:
        """Open or create the journal."""
        self.path = str(place)
        self._lock = threading.RLock()
        self._depth = 0
        self._unwritten: list[tuple[Any, ...]] = []
        self._broken: set[str] = set()
        self._under_way: dict[str, list[int]] = {}
        self._store = open_store(place, read_only=read_only)
        try:
            self._check_version(read_only)
        except BaseException as error:
            with noted_on(error):
                self._store.close()
            raise

    def _check_version(self, read_only: bool) -> None:
        version = self.get_meta("schema_version")
        if version is None and not read_only:
            version = self.settle_meta("schema_version", VERSION)
        if version != VERSION:
            raise JournalError(
                self.path,
                "written by another version",
                got=version,
                do="upgrade promptopt, or start a new run",
            )

    @property
    def shared(self) -> bool:
        """Whether other processes may work on it at the same time."""
        return self._store.shared

    def __enter__(self) -> Self:
        """Do nothing: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; of two faults, the one that came first is raised."""
        with noted_on(error):
            self.close()

    def close(self) -> None:
        """Close the file; what was recorded is committed already."""
        with self._lock:
            self._store.close()

    @contextmanager
    def batch(self, every: float | None = None) -> Iterator[None]:
        """Commit what is recorded inside at the end, also when an exception passes.

        Args:
            every: commit as often as that, too, in seconds, whether anything else is recorded or not; and
                at the end, even if another thread's batch goes on.
        """
        with self._lock:
            if self._depth == 0:
                self._store.begin()
            self._depth += 1
        try:
            with self._ticking(every) if every is not None else nullcontext():
                yield
        except BaseException as error:
            with noted_on(error):
                self._end_batch(every)
            raise
        self._end_batch(every)

    def _end_batch(self, every: float | None) -> None:
        with self._lock:
            if every is not None:
                self.commit()
            self._depth -= 1
            if self._depth == 0:
                self._flush()
                self._store.commit()

    def commit(self) -> None:
        """Commit now what a batch would hold back."""
        with self._lock:
            if self._depth:
                self._flush()
                self._store.commit()
                self._store.begin()

    @contextmanager
    def _ticking(self, seconds: float) -> Iterator[None]:
        """Commit every so many seconds while the block runs."""
        over = threading.Event()

        def tick() -> None:
            with suppress(JournalError, sqlite3.Error):  # whoever records next meets it as well
                while not over.wait(seconds):
                    self.commit()

        thread = threading.Thread(target=tick, name="promptopt journal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _flush(self) -> None:
        """Write the calls of the batch that are still in memory; the first outcome of a call stays."""
        if rows := self._unwritten:
            if self._broken and (broken := [row[0] for row in rows if row[0] in self._broken]):
                self._store.drop_calls(broken)
                self._broken.difference_update(broken)
            self._store.put_calls(rows)
            self._strike_off(row[0] for row in rows)
            self._unwritten = []

    def _strike_off(self, keys: Iterable[str]) -> None:
        """Delete the attempts of these calls that are under way."""
        numbers = [(number,) for key in keys for number in self._under_way.pop(key, ())]
        if numbers:
            self._store.write("DELETE FROM attempts WHERE id = ?", numbers)

    def get_meta(self, key: str) -> Any:
        """Return a value of the run's own notes, or None."""
        with self._lock:
            rows = self._store.query("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: Any) -> None:
        """Set a value of the run's own notes (JSON)."""
        row = (key, canonical_json(value))
        with self._lock:
            self._store.write(f"{PUT_META} DO UPDATE SET value = excluded.value", [row])

    def settle_meta(self, key: str, value: Any) -> Any:
        """Set a value that nobody has set yet, and return what it is: the first one stays."""
        with self._lock:
            self._store.write(f"{PUT_META} DO NOTHING", [(key, canonical_json(value))])
        return self.get_meta(key)

    def get_call(self, key: str) -> Call | None:
        """Return the call with this key; None when it is not there or its checksum is wrong."""
        return self.get_calls([key]).get(key)

    def get_calls(self, keys: Iterable[str]) -> dict[str, Call]:
        """Return the calls with these keys, without those that are missing or whose checksum is wrong."""
        found: dict[str, Call] = {}
        with self._lock:
            self._flush()
            for row in self._store.get_calls(list(keys), READ):
                key, outcome, attempts, prompt_tokens, completion_tokens, seconds, checksum = row
                if checksum == _checksum(key, outcome):
                    found[key] = Call(
                        json.loads(outcome), attempts, Usage(prompt_tokens, completion_tokens), seconds
                    )
                else:
                    self._broken.add(key)
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
        with self._lock:
            self._unwritten.append(row)
            if not self._depth:
                with self.batch():
                    pass

    def put_attempt(self, key: str, role: str, bound: Usage) -> None:
        """Record that an attempt is about to be sent."""
        row = (key, role, bound.prompt_tokens, bound.completion_tokens, time.time(), 0)
        with self._lock:
            self._under_way.setdefault(key, []).append(self._store.add(PUT_ATTEMPT, row))

    def lose_attempts(self) -> list[LostAttempt]:
        """Mark attempts that will never get an answer as lost; return all lost ones of the run.

        In a shared journal, what other processes try again is among them as long as it is under way.
        """
        with self._lock:
            if not self.shared:
                self._under_way.clear()
            self._store.query(
                f"UPDATE attempts SET lost = 1 WHERE lost = 0 AND {self._store.orphaned} RETURNING id"
            )
            rows = self._store.query(
                "SELECT role, prompt_tokens, completion_tokens, key, id FROM attempts"
                f" WHERE lost = 1 OR {self._store.repeated} ORDER BY id"
            )
        return [
            LostAttempt(role, Usage(prompt, completion), *whose) for role, prompt, completion, *whose in rows
        ]

    def find_attempt(self, number: int) -> None:
        """Take an attempt off the list of lost ones: its answer has turned up."""
        with self._lock:
            self._store.write("DELETE FROM attempts WHERE id = ?", [(number,)])

    def forget_failures(self) -> int:
        """Delete failed calls, so that they are tried again; return how many."""
        with self.batch():
            self._flush()
            rows = self._store.query(
                "SELECT key, role, attempts, prompt_tokens, completion_tokens FROM calls"
                " WHERE outcome LIKE ?",
                (FAILED,),
            )
            for key, role, attempts, prompt_tokens, completion_tokens in rows:
                self.write_off(key, role, attempts, Usage(prompt_tokens, completion_tokens))
            self._store.drop_calls([row[0] for row in rows])
            self._store.write("DELETE FROM cells WHERE status = ?", [("failed",)])
        return len(rows)

    def bill(self) -> dict[str, Call]:
        """Return what all calls took by role, lost attempts included, each call once; outcomes are empty."""
        with self._lock:
            self._flush()
            taken = read_bill(self._store)
        return {role: Call({}, *amounts) for role, amounts in taken.items()}

    def purse(self, cap: Budget, prices: Mapping[str, Price]) -> Purse | None:
        """Return what this process and others spend from together; None if nobody shares the journal.

        Args:
            cap: of all of them.
            prices: by role.
        """
        if not self.shared:
            return None
        spent = [
            (call.attempts, call.usage.tokens, prices.get(role, Price()).usd(call.usage))
            for role, call in self.bill().items()
        ]
        calls, tokens, usd = (sum(column) for column in zip((0, 0, 0.0), *spent, strict=True))
        return Purse(self._query, self._store.worker, cap, (int(calls), int(tokens), usd))

    def _query(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._store.query(sql, values)

    def write_off(self, key: str, role: str, attempts: int, spent: Usage) -> None:
        """Keep on the bill what attempts without a lasting outcome cost together."""
        with self.batch():
            self._strike_off([key])
            shares = [spent if index == 0 else Usage() for index in range(attempts)]
            now = time.time()
            self._store.write(
                PUT_ATTEMPT, [(key, role, u.prompt_tokens, u.completion_tokens, now, 1) for u in shares]
            )

    def set_apart(self, role: str) -> None:
        """Keep on the bill what a role's calls have taken, but neither them nor what was decided by them."""
        with self.batch():
            self._flush()
            rows = self._store.query(
                "SELECT key, attempts, prompt_tokens, completion_tokens FROM calls WHERE role = ?", (role,)
            )
            for key, attempts, prompt_tokens, completion_tokens in rows:
                self.write_off(key, role, attempts, Usage(prompt_tokens, completion_tokens))
            self._store.write(
                "UPDATE calls SET attempts = 0, prompt_tokens = 0, completion_tokens = 0 WHERE role = ?",
                [(role,)],
            )
            self._store.write("DELETE FROM meta WHERE key = ? OR key LIKE ?", [("finalists", "finalists %")])

    def put_prompt(self, identifier: str, content: dict[str, Any]) -> None:
        """Record a candidate; one that is known already keeps its first lineage."""
        origin, parents = content.get("origin", ""), canonical_json(content.get("parents", []))
        text = canonical_json(content).encode("utf-8", "replace").decode()
        row = (identifier, text, origin, parents, time.time())
        with self._lock:
            self._store.write(PUT_PROMPT, [row])

    def put_cells(self, split: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Record cells, each a tuple of the columns named below, `split` first."""
        with self.batch():
            self._store.write(PUT_CELL, [(split, *row) for row in rows])

    def cells(self, prompt: str, split: str, reward: str) -> tuple[Cell, ...]:
        """Return a prompt's cells on the rows of a split, by row id; they carry no usage."""
        with self._lock:
            rows = self._store.query(
                "SELECT example, sample, status, output, value, feedback, parsed, reason FROM cells"
                " WHERE prompt = ? AND split = ? AND reward = ? ORDER BY example, sample",
                (prompt, split, reward),
            )
        return tuple(
            Cell(prompt, row[0], row[1], row[2], row[3], _score(row[4], row[5], row[6]), row[7])
            for row in rows
        )

    def prompts(self) -> list[dict[str, Any]]:
        """Return the content of all candidates in the order in which they were found."""
        with self._lock:
            rows = self._store.query(f"SELECT content FROM prompts ORDER BY {self._store.order}")
        return [json.loads(row[0]) for row in rows]

    def copy_to(self, other: Journal) -> None:
        """Write all that is in here into another journal, of any kind of database; what it has stays.

        A page of rows is in memory at a time. The other journal has all of it in the end, or nothing.
        """
        with self._lock, other._lock:
            self._flush()
            with other._store.whole():
                for table, columns in COLUMNS.items():
                    for rows in self._store.pages(table, columns):
                        other._take_over(table, columns, rows)

    def _take_over(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if table == "calls":
            there = {key for (key,) in self._store.get_calls([row[0] for row in rows], ["key"])}
            self._store.put_calls([row for row in rows if row[0] not in there])
            return
        names, values = ", ".join(columns), ", ".join("?" * len(columns))
        self._store.write(f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING", rows)

    def clear(self) -> None:
        """Delete all that is in here."""
        with self.batch():
            for table in COLUMNS:
                self._store.write(f"DELETE FROM {table} WHERE 1 = ?", [(1,)])

    def others(self) -> int:
        """Return how many other processes are at work on it."""
        with self._lock:
            return self._store.others()

    def claim(self, keys: Sequence[str], *, alone: bool = False) -> set[str]:
        """Take on some of these calls, so that no other process makes them; all if nobody shares the journal.

        Args:
            keys: calls without an outcome, the most urgent first.
            alone: take nothing while another process has claims.
        """
        with self._lock:
            return set(self._store.claim(keys, alone=alone))

    def release(self, keys: Sequence[str]) -> None:
        """Give claims back, made or not."""
        with self._lock:
            self._store.release(keys)

    def count(self, table: str) -> int:
        """Return the number of rows of `calls`, `prompts`, `cells` or `attempts`."""
        if table not in ("calls", "prompts", "cells", "attempts"):
            raise ValueError(table)
        with self._lock:
            self._flush()
            return int(self._store.query(f"SELECT COUNT(*) FROM {table}")[0][0])


def _score(value: float | None, feedback: str, parsed: int) -> Score | None:
    return None if value is None else Score(value, feedback, bool(parsed))


def _checksum(key: str, outcome: str) -> str:
    return hashlib.blake2b(f"{key}\n{outcome}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
