"""How tables of an older version become those of the next, all steps in one transaction.

Version 2 numbers the calls of a SQLite file and indexes them apart (`_calls`); PostgreSQL's are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .contract import CALL

VERSION = 2
"""Of the tables that are made and understood now."""

_CALL = ", ".join(CALL)

SQLITE: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE calls RENAME TO calls_of_version_1",
        """CREATE TABLE calls (
            id INTEGER PRIMARY KEY, key TEXT NOT NULL, role TEXT NOT NULL, request TEXT NOT NULL,
            outcome TEXT NOT NULL, attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL,
            checksum TEXT NOT NULL
        )""",
        f"INSERT INTO calls ({_CALL}) SELECT {_CALL} FROM calls_of_version_1 ORDER BY at, key",
        "DROP TABLE calls_of_version_1",
    )
}
"""By version: what makes the next one of it."""
POSTGRES: Mapping[int, Sequence[str]] = {1: ()}


def steps(found: int, by_version: Mapping[int, Sequence[str]]) -> list[str]:
    """Return the statements that lead from a version to the present one."""
    return [statement for version in range(found, VERSION) for statement in by_version[version]]
