"""A PostgreSQL database that several processes, on several machines, work on at the same time.

Each study is a schema of its own. A process that is alive says so in `workers` (heartbeats); who makes which
call is in `work`. A claim (lease) holds while its worker is alive, so the calls of a killed worker are free
again as soon as its last heartbeat is too old. Outcomes are idempotent: the first one of a call stays.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..errors import ConfigError, JournalError, MissingExtra
from .contract import CALL, TABLES, Row
from .migrations import POSTGRES, VERSION, steps
from .paging import numbered, read_pages
from .purse import TABLES as PURSES

T = TypeVar("T")

DEFAULT_STUDY = "promptopt"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
TABLE = re.compile(r"(?:INTO|FROM|UPDATE) (\w+)")
SECONDS = re.compile(r"\d{1,4}(\.\d+)?")
LEASE_SECONDS = 15.0
"""A worker whose last heartbeat is older than this is taken for dead."""
BEATS = 4
"""Heartbeats in that time."""
PATIENCE = 60.0
"""Seconds that a database may be away before a worker gives up."""
SHARES = 2
"""A worker claims a share of the open calls, so many times smaller than one for each: all end together."""
FEWEST = 8
"""Calls that are worth a claim."""

PUT_CALL = f"""
INSERT INTO calls ({", ".join(CALL)}) VALUES (?{", ?" * (len(CALL) - 1)}) ON CONFLICT (key) DO NOTHING
"""
PATIENT = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds after which a database that says nothing counts as lost, unless the URL says otherwise."""
HOST = re.compile(r"[^A-Za-z0-9.-]")

ALIVE = "SELECT 1 FROM workers WHERE workers.id = {}.worker AND workers.until > now()"

SHARING = """
CREATE TABLE IF NOT EXISTS workers (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, since TIMESTAMPTZ NOT NULL DEFAULT now(),
    until TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS work (key TEXT PRIMARY KEY, place BIGINT NOT NULL, worker TEXT);
"""
OFFER = """
INSERT INTO work (key, place)
SELECT key, place FROM unnest(?::text[]) WITH ORDINALITY AS open (key, place)
WHERE NOT EXISTS (SELECT 1 FROM calls WHERE calls.key = open.key)
ON CONFLICT DO NOTHING
"""
OTHERS = f"""
SELECT (SELECT count(*) FROM workers WHERE until > now()),
       (SELECT count(*) FROM work WHERE worker <> ? AND EXISTS ({ALIVE.format("work")})),
       (SELECT count(*) FROM work WHERE key = ANY(?) AND worker <> ? AND EXISTS ({ALIVE.format("work")}))
"""
TAKE = f"""
WITH mine AS MATERIALIZED (
    SELECT key FROM work
    WHERE key = ANY(?) AND (worker IS NULL OR NOT EXISTS ({ALIVE.format("work")}))
    AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.key = work.key)
    ORDER BY place LIMIT ? FOR UPDATE OF work SKIP LOCKED
) UPDATE work SET worker = ? FROM mine WHERE work.key = mine.key RETURNING work.key
"""
BEAT = """
INSERT INTO workers (id, host, pid, until) VALUES (?, ?, ?, now() + make_interval(secs => ?))
ON CONFLICT (id) DO UPDATE SET until = excluded.until
"""


@dataclass(frozen=True)
class Place:
    """Where a study is kept.

    Attributes:
        address: of the database, as libpq reads it.
        study: its name there.
        lease: seconds after which a silent worker counts as dead; it beats four times in that.
    """

    address: str
    study: str = DEFAULT_STUDY
    lease: float = LEASE_SECONDS

    @property
    def schema(self) -> str:
        """The schema of its tables."""
        return self.study if self.study == DEFAULT_STUDY else f"{DEFAULT_STUDY}_{self.study}"


def parse_url(url: str) -> Place:
    """Read `postgresql://USER@HOST:PORT/DATABASE?study=NAME&lease=SECONDS`.

    Raises:
        ConfigError: it is malformed, or holds a password, which would reach the run's folder.
    """
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None
    except ValueError as error:
        raise ConfigError(
            "study", f"no such address: {error}", do="write postgresql://HOST/DATABASE"
        ) from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if has_password or "password" in options:
        raise ConfigError(
            "study", "holds a password",
            do="take it out and set it in the environment (PGPASSWORD) or in ~/.pgpass",
        )  # fmt: skip
    study, lease = options.pop("study", DEFAULT_STUDY), options.pop("lease", str(LEASE_SECONDS))
    if not NAME.fullmatch(study):
        raise ConfigError("study", "no name of a study", got=study, do="use letters, digits, - and _")
    if not SECONDS.fullmatch(lease) or float(lease) < 1:
        raise ConfigError("study", "lease must be seconds, at least 1", got=lease)
    return Place(parts._replace(query=urlencode(options)).geturl(), study, float(lease))


class PostgresStore:
    """One study in a database.

    Args:
        url: as `parse_url` reads it; what libpq's environment (PGPASSWORD, …) says holds, too.
    """

    order = "place"
    places = numbered(calls="key", prompts="place")
    orphaned = f"NOT EXISTS ({ALIVE.format('attempts')})"
    repeated = (
        "worker <> current_setting('application_name') AND EXISTS (SELECT 1 FROM attempts AS first"
        " WHERE first.key = attempts.key AND first.lost = 0 AND first.id < attempts.id)"
    )
    shared = True

    def __init__(self, url: str) -> None:
        """Connect, make the tables if they are not there, and begin to beat.

        Raises:
            ConfigError: the URL is malformed or holds a password.
            JournalError: the database cannot be reached or used.
            MissingExtra: psycopg is not installed.
        """
        self.name = url
        self._place = parse_url(url)
        self._host = HOST.sub("", socket.gethostname())[:30]
        self.worker = f"{self._host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"  # PostgreSQL cuts names at 63
        self._unwritten: list[tuple[str, list[Row]]] = []
        self._in_batch = self._in_whole = False
        self._psycopg = _driver()
        try:
            self._db = self._connected()
            self._make_tables()
            self._beat(self._db)
        except self._psycopg.Error as error:
            problem = " ".join(str(error).split())[:200]
            raise JournalError(
                url,
                f"cannot be used: {problem}",
                do="check the address, and that the user may create schemas",
            ) from error
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="promptopt heartbeat", daemon=True)
        self._heart.start()

    # --- reading and writing -------------------------------------------------------------------------

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement at once, after what has been written before, and return its rows."""
        self._flush()
        return self._patiently(lambda db: db.execute(_dialect(sql), _clean(values)).fetchall())

    def write(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement for each of some rows, outside of a batch at once."""
        self._unwritten.append((sql, [_clean(row) for row in rows]))
        if not self._in_batch:
            self._flush()

    def add(self, sql: str, values: Row) -> int:
        """Insert one row at once; return its id."""
        return int(self.query(f"{sql} RETURNING id", values)[0][0])

    def put_calls(self, rows: Sequence[Row]) -> None:
        """Write calls; the first of a key stays."""
        self.write(PUT_CALL, rows)

    def get_calls(self, keys: Sequence[str], columns: Sequence[str]) -> list[Row]:
        """Return the columns of those that are there."""
        return self.query(f"SELECT {', '.join(columns)} FROM calls WHERE key = ANY(?)", (list(keys),))

    def drop_calls(self, keys: Sequence[str]) -> None:
        """Delete calls, before what is still to be written."""
        self.query("DELETE FROM calls WHERE key = ANY(?) RETURNING 1", (list(keys),))

    def pages(self, table: str, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Iterate over all rows of a table, a page at a time."""
        return read_pages(self, table, columns)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Make one transaction of what is written inside; a lost connection undoes it all."""
        self._flush()
        self._in_whole = True
        try:
            with self._db.transaction():
                yield
        except self._psycopg.Error as error:
            raise JournalError(self.name, f"is lost: {' '.join(str(error).split())[:200]}") from error
        finally:
            self._in_whole = False

    def begin(self) -> None:
        """Keep writes until `commit`."""
        self._in_batch = True

    def commit(self) -> None:
        """Write what was kept, in one transaction."""
        self._in_batch = False
        self._flush()

    def _flush(self) -> None:
        """Write what is kept, table by table in one order, so that two writers seldom block each other."""
        if not self._unwritten:
            return
        grouped: dict[str, list[Row]] = {}
        for sql, rows in self._unwritten:
            grouped.setdefault(sql, []).extend(rows)

        def write(db: Any) -> None:
            with db.transaction(), db.cursor() as cursor:
                for sql in sorted(grouped, key=_table):
                    cursor.executemany(_dialect(sql), grouped[sql])

        self._patiently(write)
        self._unwritten.clear()

    def _patiently(self, work: Callable[[Any], T]) -> T:
        """Do something with the connection; connect again where it is lost, begin again at a deadlock."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.05
        while True:
            try:
                return work(self._db)
            except self._psycopg.OperationalError as error:  # deadlocks are among them
                if self._in_whole:  # a new connection would know nothing of what was written
                    raise
                if time.monotonic() > deadline:
                    raise JournalError(self.name, f"is lost: {' '.join(str(error).split())[:200]}") from error
                time.sleep(pause)
                pause = min(2.0, 2 * pause)
                if self._db.closed or self._db.broken:
                    with suppress(self._psycopg.OperationalError):
                        self._db = self._connected()

    # --- sharing -------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[str], *, alone: bool = False) -> Collection[str]:
        """Take on a share of these calls, the first that nobody alive has.

        The share shrinks with what is open, so that all workers end at about the same time.
        """
        wanted = list(keys)
        workers, theirs, taken = self.query(OTHERS, (self.worker, wanted, self.worker))[0]
        if alone and theirs:
            return ()
        self.query(f"{OFFER} RETURNING 1", (wanted,))
        share = max(FEWEST, (len(wanted) - taken) // (SHARES * max(1, workers)) + 1)
        if workers <= 1:
            share = len(wanted)
        return {key for (key,) in self.query(TAKE, (wanted, share, self.worker))}

    def release(self, keys: Sequence[str]) -> None:
        """Let others take on what was not made, and forget what was."""
        self.query(
            "DELETE FROM work WHERE key = ANY(?) AND worker = ? RETURNING 1", (list(keys), self.worker)
        )

    def others(self) -> int:
        """Count the other workers whose heart beats."""
        alive = self.query("SELECT count(*) FROM workers WHERE until > now() AND id <> ?", (self.worker,))
        return int(alive[0][0])

    def _beat(self, db: Any) -> None:
        db.execute(_dialect(BEAT), (self.worker, self._host, os.getpid(), self._place.lease))

    def _keep_beating(self) -> None:
        """Beat on a connection of its own until the store is closed; one that is lost is made again."""
        db: Any = None
        while not self._stop.wait(self._place.lease / BEATS):
            try:
                db = db or self._connected()
                self._beat(db)
            except self._psycopg.OperationalError:
                db = None
        if db is not None:
            db.close()

    # --- connecting ----------------------------------------------------------------------------------

    def _connected(self) -> Any:
        told = self._psycopg.conninfo.conninfo_to_dict(self._place.address)
        mine = {"autocommit": True, "application_name": self.worker}
        db = self._psycopg.connect(**{**PATIENT, **told, **mine})
        db.execute(f'SET search_path TO "{self._place.schema}"')  # its letters are checked by parse_url
        db.execute("SET client_min_messages TO warning")
        return db

    def _make_tables(self) -> None:
        """Make schema and tables; of several workers that begin together one does it."""
        numbered = "BIGINT GENERATED ALWAYS AS IDENTITY"
        tables = TABLES.format(
            call="key TEXT PRIMARY KEY",
            keyed="",
            real="DOUBLE PRECISION",
            number=f"{numbered} PRIMARY KEY",
            whose=", worker TEXT NOT NULL DEFAULT current_setting('application_name')",
            place=f", place {numbered}",
        )
        with self._db.transaction():
            self._db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._place.schema,))
            self._db.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._place.schema}"')
            self._db.execute(tables + SHARING + PURSES)
            found = self._db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
            if found is not None and int(found[0]) < VERSION:
                for statement in steps(int(found[0]), POSTGRES):
                    self._db.execute(statement)
                self._db.execute("UPDATE meta SET value = %s WHERE key = 'schema_version'", (str(VERSION),))

    def close(self) -> None:
        """Write what is kept, stop beating, and give all claims back."""
        self._stop.set()
        self._heart.join(timeout=self._place.lease)
        with suppress(JournalError):
            self._flush()
            self.query("DELETE FROM workers WHERE id = ? RETURNING 1", (self.worker,))
        self._db.close()


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtra("study", "psycopg", "postgres") from error
    return psycopg


def _dialect(sql: str) -> str:
    return sql.replace("?", "%s")


def _table(sql: str) -> str:
    found = TABLE.search(sql)
    return found[1] if found else ""


def _clean(values: Sequence[Any]) -> Row:
    """Replace the character 0, which PostgreSQL has no place for in a text."""
    return tuple(v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in values)
