"""The journal: committed before use, checked when read, countable after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import JournalError
from promptopt.journal import Call, Journal
from promptopt.records import Cell, Score, Usage

CALL = Call({"type": "completion", "text": "b", "finish": "stop"}, 2, Usage(3, 4), 0.5)


def test_a_call_comes_back_as_it_was_put(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.put_call("k", "target", '{"messages":[["user","a"]]}', CALL)
    journal.close()
    again = Journal(path)
    assert again.get_call("k") == CALL
    assert again.get_call("other") is None
    again.close()


@given(st.text(), st.text())
def test_any_text_survives(key, text):
    journal = Journal()
    call = Call({"type": "completion", "text": text}, 1, Usage(), 0.0)
    journal.put_call(key, "target", "{}", call)
    assert journal.get_call(key) == call
    journal.close()


def test_a_corrupt_row_is_a_miss(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.put_call("k", "target", "{}", CALL)
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE calls SET outcome = replace(outcome, 'stop', 'sTop')")
    db.close()
    again = Journal(path)
    assert again.get_call("k") is None
    again.close()


def test_attempts_without_an_answer_are_lost_and_stay_lost(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.put_attempt("answered", "target", Usage(1, 1))
    journal.put_attempt("never", "proposer", Usage(7, 8))
    journal.put_call("answered", "target", "{}", CALL)
    journal.close()
    for _ in range(2):
        again = Journal(path)
        assert [(lost.role, lost.bound) for lost in again.lose_attempts()] == [("proposer", Usage(7, 8))]
        again.close()


def test_failures_can_be_forgotten_so_that_they_are_tried_again():
    journal = Journal()
    journal.put_call("bad", "target", "{}", Call({"type": "failure", "reason": "server"}, 1, Usage(), 0.0))
    journal.put_call("good", "target", "{}", CALL)
    assert journal.forget_failures() == 1
    assert journal.get_call("bad") is None
    assert journal.get_call("good") == CALL
    journal.close()


def test_another_version_and_a_file_that_is_no_journal_are_refused(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.set_meta("schema_version", 99)
    journal.close()
    with pytest.raises(JournalError, match=r"another version; got 99"):
        Journal(path)
    text = tmp_path / "text.sqlite"
    text.write_text("this is no database, but it is long enough to look at" * 20)
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(text)


def test_a_read_only_journal_cannot_be_written(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.put_call("k", "target", "{}", CALL)
    reader = Journal(path, read_only=True)
    assert reader.get_call("k") == CALL
    with pytest.raises(JournalError, match="attempt to write a readonly database"):
        reader.set_meta("x", 1)
    reader.close()
    journal.close()


def test_prompts_keep_their_order_and_first_lineage():
    journal = Journal()
    for name, origin in (("b", "first"), ("a", "second"), ("b", "third")):
        journal.put_prompt(name, {"instruction": name, "origin": origin, "parents": []})
    assert [(p["instruction"], p["origin"]) for p in journal.prompts()] == [("b", "first"), ("a", "second")]
    journal.close()


def test_cells_come_back_by_prompt_split_and_reward():
    journal = Journal()
    rows = [
        ("p", "1", 0, "r", "ok", 0.5, "so so", 0, "out", ""),
        ("p", "0", 0, "r", "failed", None, "", 1, "", "timeout: late"),
        ("p", "2", 0, "other", "ok", 1.0, "", 1, "", ""),
        ("q", "3", 0, "r", "ok", 1.0, "", 1, "", ""),
    ]
    journal.put_cells("test", rows)
    journal.put_cells("search", [("p", "9", 0, "r", "ok", 1.0, "", 1, "", "")])
    assert journal.cells("p", "test", "r") == (
        Cell("p", "0", status="failed", reason="timeout: late"),
        Cell("p", "1", output="out", score=Score(0.5, "so so", parsed=False)),
    )
    assert journal.cells("nobody", "test", "r") == ()
    journal.close()


def test_threads_write_side_by_side(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")

    def work(name):
        for index in range(50):
            with journal.batch():
                journal.put_call(f"{name}-{index}", "target", "{}", CALL)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.count("calls") == 200
    journal.close()


def test_a_batch_is_committed_every_so_often_though_nothing_else_is_recorded(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    reader = Journal(tmp_path / "journal.sqlite", read_only=True)
    with journal.batch(every=0.01):
        journal.put_call("k", "target", "{}", CALL)
        end = time.monotonic() + 10
        while reader.get_call("k") is None:
            assert time.monotonic() < end
            time.sleep(0.005)
    reader.close()
    journal.close()


def test_answers_are_committed_with_the_next_attempt(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    reader = Journal(tmp_path / "journal.sqlite", read_only=True)
    with journal.batch():
        journal.put_attempt("a", "target", Usage(1, 1))
        journal.commit()
        journal.put_call("a", "target", "{}", CALL)
        assert reader.get_call("a") is None
        assert reader.count("attempts") == 1
        journal.put_attempt("b", "target", Usage(1, 1))
        journal.commit()
        assert reader.get_call("a") == CALL
        assert reader.count("attempts") == 1
    reader.close()
    journal.close()


def test_a_batch_that_ends_is_committed_though_another_goes_on(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    reader = Journal(tmp_path / "journal.sqlite", read_only=True)
    with journal.batch():
        with journal.batch(every=60):
            journal.put_call("k", "target", "{}", CALL)
        assert reader.get_call("k") == CALL
    reader.close()
    journal.close()


WRITER = textwrap.dedent("""
    import sys
    from promptopt.journal import Call, Journal
    from promptopt.records import Cell, Score, Usage
    journal = Journal(sys.argv[1])
    for index in range(100_000):
        journal.put_call(str(index), "target", "{}", Call({"type": "completion"}, 1, Usage(1, 1), 0.0))
        print(index, flush=True)
""")


def test_kill_9_loses_no_acknowledged_call(tmp_path):
    path = tmp_path / "journal.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(300)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1] if line.isdigit()]
    writer.wait()
    writer.stdout.close()
    journal = Journal(path)
    assert all(journal.get_call(str(index)) is not None for index in acknowledged)
    journal.close()


def test_of_two_faults_the_first_is_raised_and_the_second_a_note_on_it(tmp_path, monkeypatch):
    def broken():
        raise JournalError("journal", "cannot be closed")

    journal = Journal(tmp_path / "journal.sqlite")
    monkeypatch.setattr(journal._store, "close", broken)
    with pytest.raises(ValueError, match="the cause") as caught, journal:
        raise ValueError("the cause")
    assert caught.value.__notes__ == ["then, clearing up: journal: cannot be closed"]
    with pytest.raises(JournalError, match="cannot be closed"), journal:
        pass


def test_a_batch_that_cannot_be_committed_does_not_hide_why_it_ended(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal._store.query("DROP TABLE calls")

        def work():
            with journal.batch():
                journal.put_call("k", "target", "{}", CALL)
                raise ValueError("the cause")

        with pytest.raises(ValueError, match="the cause") as caught:
            work()
        assert "calls" in caught.value.__notes__[0]
