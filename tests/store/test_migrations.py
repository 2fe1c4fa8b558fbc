"""Journals of older versions: brought up to date where they are opened, and refused where that cannot be."""

import sqlite3

import pytest
from postgres import server

from promptopt.errors import JournalError
from promptopt.journal import Call, Journal, _checksum
from promptopt.records import Usage
from promptopt.store import VERSION
from promptopt.store.migrations import POSTGRES, SQLITE, steps

FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    key TEXT PRIMARY KEY, role TEXT NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, at REAL NOT NULL, checksum TEXT NOT NULL
);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, role TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, at REAL NOT NULL, lost INTEGER NOT NULL DEFAULT 0
);
INSERT INTO meta VALUES ('schema_version', '1'), ('fingerprint', '"abc"');
INSERT INTO attempts (key, role, prompt_tokens, completion_tokens, at) VALUES ('late', 'target', 7, 8, 3.0);
"""
"""The tables of version 1, as it made them."""


def outcome(number):
    return f'{{"text":"{number}","type":"completion"}}'


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "journal.sqlite"
    db = sqlite3.connect(path)
    db.executescript(FIRST)
    rows = [
        (f"k{i}", "target", "{}", outcome(i), 1, i, 1, 0.5, 100.0 - i, _checksum(f"k{i}", outcome(i)))
        for i in range(50)
    ]
    db.executemany(f"INSERT INTO calls VALUES ({', '.join('?' * 10)})", rows)
    db.commit()
    db.close()
    return path


def test_a_file_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it(old):
    journal = Journal(old)
    assert journal.get_meta("schema_version") == VERSION
    assert journal.get_meta("fingerprint") == "abc"
    found = journal.get_calls([f"k{i}" for i in range(50)])
    assert {key: call.outcome["text"] for key, call in found.items()} == {f"k{i}": str(i) for i in range(50)}
    assert found["k7"] == Call({"text": "7", "type": "completion"}, 1, Usage(7, 1), 0.5)
    assert [lost.key for lost in journal.lose_attempts()] == ["late"]
    journal.put_call("new", "target", "{}", Call({"type": "completion"}, 1, Usage(), 0.0))
    journal.close()
    again = Journal(old)
    assert again.count("calls") == 51
    first = again._store.query("SELECT key FROM calls ORDER BY id LIMIT 1")
    assert first == [("k49",)]  # the earliest
    again.close()


def test_a_file_of_the_first_version_is_not_changed_by_reading(old):
    before = old.read_bytes()
    with pytest.raises(JournalError, match=r"older version; got 1; `promptopt resume` the run once"):
        Journal(old, read_only=True)
    assert old.read_bytes() == before


def test_a_migration_that_fails_leaves_the_file_as_it_was(old, monkeypatch):
    monkeypatch.setitem(SQLITE, 1, (*SQLITE[1], "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(JournalError, match="nowhere"):
        Journal(old)
    db = sqlite3.connect(old)
    assert db.execute("SELECT count(*) FROM calls").fetchone() == (50,)
    assert db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == ("1",)
    db.close()


def test_there_is_a_way_from_every_version():
    for by_version in (SQLITE, POSTGRES):
        assert sorted(by_version) == list(range(1, VERSION))
        assert steps(VERSION, by_version) == []


def test_a_newer_version_is_refused_with_the_cure(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.set_meta("schema_version", VERSION + 1)
    journal.close()
    with pytest.raises(JournalError, match="another version; got 3; upgrade promptopt, or start a new run"):
        Journal(tmp_path / "j.sqlite")


def test_a_database_of_the_first_version_is_brought_up_to_date():
    pytest.importorskip("psycopg")
    with server() as database:
        journal = Journal(database)
        journal.put_call("k", "target", "{}", Call({"type": "completion"}, 1, Usage(2, 3), 0.0))
        journal.set_meta("schema_version", 1)
        journal.close()
        again = Journal(database)
        assert again.get_meta("schema_version") == VERSION
        assert again.get_call("k") is not None
        again.set_meta("schema_version", VERSION + 1)
        again.close()
        with pytest.raises(JournalError, match="another version; got 3; upgrade promptopt"):
            Journal(database)
