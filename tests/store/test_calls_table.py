"""The calls of a SQLite journal: appended, indexed in bulk, found before and after."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from promptopt.store import _calls
from promptopt.store.sqlite import SqliteStore


def row(key: str, outcome: str = "o") -> tuple[object, ...]:
    return (key, "target", "{}", outcome, 1, 2, 3, 0.5, 1.0, "c")


def keys_in(store: SqliteStore, keys: list[str]) -> dict[str, str]:
    return dict(store.get_calls(keys, ["key", "outcome"]))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index after four calls already."""
    monkeypatch.setattr(_calls, "FEWEST", 4)
    monkeypatch.setattr(_calls, "SHARE", 4)


def fill(store: SqliteStore, first: int, last: int) -> None:
    for number in range(first, last):
        store.begin()
        store.put_calls([row(f"k{number}", f"o{number}")])
        store.commit()


@pytest.mark.usefixtures("few")
def test_calls_are_found_whether_they_are_in_the_index_or_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j")
    fill(store, 0, 100)
    indexed = store.query("SELECT COUNT(*) FROM places")[0][0]
    assert 60 < indexed < 100
    wanted = [f"k{number}" for number in range(-5, 105)]
    assert keys_in(store, wanted) == {f"k{number}": f"o{number}" for number in range(100)}
    store.close()
    again = SqliteStore(tmp_path / "j")
    assert keys_in(again, wanted) == {f"k{number}": f"o{number}" for number in range(100)}
    fill(again, 100, 120)
    assert len(keys_in(again, [f"k{number}" for number in range(120)])) == 120
    again.close()


@pytest.mark.usefixtures("few")
def test_more_calls_than_one_query_takes_are_found(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j")
    many = [f"k{number}" for number in range(3 * _calls.LOOKUP + 1)]
    store.put_calls([row(key) for key in many])
    assert keys_in(store, many).keys() == set(many)
    store.close()


@pytest.mark.usefixtures("few")
def test_a_dropped_call_is_gone_and_may_come_again_in_the_index_or_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j")
    fill(store, 0, 20)
    store.drop_calls(["k0", "k19", "never"])
    assert keys_in(store, ["k0", "k1", "k19"]) == {"k1": "o1"}
    store.put_calls([row("k0", "new"), row("k19", "new")])
    assert keys_in(store, ["k0", "k19"]) == {"k0": "new", "k19": "new"}
    store.close()
    again = SqliteStore(tmp_path / "j")
    assert keys_in(again, ["k0", "k19"]) == {"k0": "new", "k19": "new"}
    again.close()


@pytest.mark.usefixtures("few")
def test_keys_whose_hashes_are_equal_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_calls, "_hash", lambda key: 7)
    store = SqliteStore(tmp_path / "j")
    fill(store, 0, 30)
    assert keys_in(store, ["k3", "k29", "other"]) == {"k3": "o3", "k29": "o29"}
    store.close()


@pytest.mark.usefixtures("few")
def test_what_is_not_committed_leaves_neither_call_nor_index(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j")
    fill(store, 0, 3)
    store.begin()
    store.put_calls([row(f"late{number}") for number in range(50)])
    left = sqlite3.connect(tmp_path / "j")
    assert left.execute("SELECT COUNT(*) FROM calls").fetchone() == (3,)
    assert left.execute("PRAGMA user_version").fetchone() == (0,)
    left.close()
    store.commit()
    store.close()


def test_a_reader_sees_what_is_appended_after_it_was_opened(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j")
    fill(store, 0, 2)
    reader = SqliteStore(tmp_path / "j", read_only=True)
    fill(store, 2, 4)
    assert len(keys_in(reader, [f"k{number}" for number in range(9)])) == 4
    reader.close()
    store.close()
