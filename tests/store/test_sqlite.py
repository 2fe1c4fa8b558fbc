"""The SQLite store: one process has it all."""

import pytest

from promptopt.errors import JournalError
from promptopt.store import is_url, open_store
from promptopt.store.sqlite import SqliteStore


def test_a_place_is_a_file_unless_it_is_a_url(tmp_path):
    store = open_store(tmp_path / "j.sqlite")
    assert isinstance(store, SqliteStore)
    assert not store.shared
    store.close()
    assert is_url("postgresql://host/x")
    assert not is_url(tmp_path)


def test_claims_are_granted_in_full():
    store = open_store(":memory:")
    assert list(store.claim(["a", "b"])) == ["a", "b"]
    assert list(store.claim(["a", "b"], alone=True)) == ["a", "b"]
    store.release(["a"])
    store.close()


def test_writes_of_a_batch_are_seen_before_it_ends_and_kept_after():
    store = open_store(":memory:")
    store.begin()
    store.write("INSERT INTO meta (key, value) VALUES (?, ?)", [("a", "1"), ("b", "2")])
    assert store.query("SELECT value FROM meta ORDER BY key") == [("1",), ("2",)]
    store.commit()
    assert store.query("SELECT count(*) FROM meta") == [(2,)]
    store.close()


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(JournalError, match="cannot be opened as a journal"):
        open_store(tmp_path / "no" / "j.sqlite")
