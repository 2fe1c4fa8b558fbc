"""The PostgreSQL store on a real server: claims, what the dead leave behind, lost connections, any text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from postgres import server

from promptopt.calls import Caller
from promptopt.contracts.model import Completion, GenerateRequest
from promptopt.errors import BudgetExhausted, JournalError
from promptopt.journal import Call, Journal
from promptopt.ledger import Ledger
from promptopt.records import Budget, Message, Usage
from promptopt.testing.model import FakeModel

pytest.importorskip("psycopg")

KEYS = [f"k{number:03d}" for number in range(100)]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def study(database, request) -> str:
    return f"{database}?study={request.node.name[:40].replace('[', '-').replace(']', '')}&lease=4"


@pytest.fixture
def two(study) -> Iterator[tuple[Journal, Journal]]:
    first, second = Journal(study), Journal(study)
    yield first, second
    second.close()
    first.close()


def call(text: str = "x") -> Call:
    return Call({"type": "completion", "text": text, "finish": "stop"}, 1, Usage(1, 2), 0.5)


def test_claims_never_meet_and_shrink_towards_the_end(two):
    first, second = two
    mine = first.claim(KEYS)
    theirs = second.claim(KEYS)
    assert mine == set(KEYS[: len(mine)])
    assert theirs == set(KEYS[len(mine) : len(mine) + len(theirs)])
    assert 8 <= len(theirs) < len(mine) < 50
    assert second.claim(KEYS, alone=True) == set()
    first.release(sorted(mine))
    assert second.claim(KEYS[:8]) == set(KEYS[:8])


def test_what_has_an_outcome_is_nobodys_to_claim(two):
    first, second = two
    first.claim(KEYS)
    for key in KEYS[:10]:
        first.put_call(key, "target", "{}", call())
    first.release(KEYS)
    assert second.claim(KEYS[:10]) == set()
    assert second.claim(KEYS[5:12]) == {"k010", "k011"}


def test_one_alone_takes_all(study):
    journal = Journal(study)
    assert journal.claim(KEYS) == set(KEYS)
    journal.close()


def test_the_first_outcome_stays_and_a_broken_one_is_replaced(two):
    first, second = two
    first.put_call("k", "target", "{}", call("first"))
    second.put_call("k", "target", "{}", call("second"))
    assert second.get_call("k").outcome["text"] == "first"
    first._store.query("UPDATE calls SET outcome = replace(outcome, 'first', 'worst') RETURNING key")
    assert second.get_call("k") is None
    second.put_call("k", "target", "{}", call("second"))
    assert first.get_call("k").outcome["text"] == "second"
    assert first.settle_meta("note", [1]) == second.settle_meta("note", [2]) == [1]


def test_any_text_can_be_kept(study):
    journal = Journal(study)
    journal.put_call("k", "target", "{}", call("nul \0, quotes '\", percent %s, question? \U0001f600"))
    assert journal.get_call("k") == call("nul \0, quotes '\", percent %s, question? \U0001f600")
    journal.put_cells("test", [("p", "1", 0, "r", "ok", 0.25, "", 1, "nul \0", "")])
    (cell,) = journal.cells("p", "test", "r")
    assert (cell.output, cell.value) == ("nul \ufffd", 0.25)
    journal.close()


def test_a_journal_moves_between_databases_both_ways(study, tmp_path):
    there, back = Journal(study), Journal(tmp_path / "back.sqlite")
    with Journal_of_all_sorts() as here:
        here.copy_to(there)
        there.copy_to(back)
        for journal in (there, back):
            assert journal.get_calls(["a", "b"]) == here.get_calls(["a", "b"])
            assert journal.prompts() == here.prompts() == [{"instruction": "z"}, {"instruction": "y"}]
            assert journal.cells("p", "test", "r") == here.cells("p", "test", "r")
            assert journal.bill() == here.bill()
            assert journal.get_meta("note") == {"x": 1}
    there.close()
    back.close()


class Journal_of_all_sorts:
    def __enter__(self) -> Journal:
        self.journal = journal = Journal()
        journal.put_call("a", "target", "{}", call("a"))
        journal.put_call("b", "proposer", "{}", call("b"))
        journal.write_off("c", "target", 2, Usage(5, 6))
        for text in "zy":
            journal.put_prompt(text, {"instruction": text})
        journal.put_cells("test", [("p", "1", 0, "r", "ok", 0.1, "fb", 0, "out", "")])
        journal.set_meta("note", {"x": 1})
        return journal

    def __exit__(self, *_: object) -> None:
        self.journal.close()


def test_two_that_write_the_same_rows_the_other_way_round_both_come_to_an_end(two):
    rows = [(f"p{n}", str(m), 0, "r", "ok", 1.0, "", 1, "", "") for n in range(30) for m in range(20)]

    def write(journal, order):
        for start in range(0, len(rows), 50):
            with journal.batch():
                journal.put_cells("search", order[start : start + 50])
                journal.set_meta("elapsed", start)

    threads = [
        threading.Thread(target=write, args=pair) for pair in zip(two, (rows, rows[::-1]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert two[0].count("cells") == len(rows)


def test_a_lost_connection_is_made_again(two):
    first, second = two
    first.set_meta("a", 1)
    second._store.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ?",
        (first._store.worker,),
    )
    first.set_meta("b", 2)
    assert (second.get_meta("a"), second.get_meta("b")) == (1, 2)


HOLDER = """
import sys, time
from promptopt.journal import Journal
from promptopt.records import Usage
journal = Journal(sys.argv[1])
print(len(journal.claim(sys.argv[2].split(","))), flush=True)
journal.put_attempt("k000", "target", Usage(7, 8))
print("sent", flush=True)
time.sleep(60)
"""


def until(journal: Journal, pid: int):
    return journal._store.query("SELECT until FROM workers WHERE pid = ?", (pid,))


def test_what_the_dead_had_claimed_and_sent_is_free_and_counted_as_lost(study):
    dead = subprocess.Popen(
        [sys.executable, "-c", HOLDER, study, ",".join(KEYS[:20])], stdout=subprocess.PIPE, text=True
    )
    assert dead.stdout is not None
    assert [dead.stdout.readline().strip() for _ in range(2)] == ["20", "sent"]
    journal = Journal(study)
    first = until(journal, dead.pid)
    while until(journal, dead.pid) == first:  # its heart beats
        time.sleep(0.1)
    assert journal.claim(KEYS[:20]) == set()
    assert journal.lose_attempts() == []
    os.kill(dead.pid, signal.SIGKILL)
    dead.communicate()
    assert journal.claim(KEYS[:20]) == set()
    deadline = time.monotonic() + 60
    freed: set[str] = set()
    while len(freed) < 20 and time.monotonic() < deadline:  # by shares, should it die between two looks
        freed |= journal.claim(KEYS[:20])
        time.sleep(0.1)
    assert freed == set(KEYS[:20])
    assert [(lost.role, lost.bound) for lost in journal.lose_attempts()] == [("target", Usage(7, 8))]
    journal.close()


def requests(n: int) -> list[GenerateRequest]:
    return [GenerateRequest((Message("user", f"say {number}"),)) for number in range(n)]


def buy(journal: Journal, budget: Budget | None = None):
    """Ask for 120 answers; return them, how many were made here, and the ledger."""
    made: list[str] = []

    def reply(request):
        made.append(request.messages[-1].content)
        time.sleep(0.002)
        return request.messages[-1].content.upper()

    ledger = Ledger(budget)
    caller = Caller({"target": FakeModel(reply)}, journal, ledger)
    try:
        outcomes = caller.ask("target", requests(120))
    except BudgetExhausted:
        outcomes = []
    return [outcome.text for outcome in outcomes if isinstance(outcome, Completion)], made, ledger


def side_by_side(journals, budget=None):
    results: list = [None] * len(journals)

    def work(place):
        results[place] = buy(journals[place], budget)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(journals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_callers_share_the_work_and_all_have_every_answer_and_the_same_bill(two):
    results = side_by_side(two)
    answers, made, ledgers = zip(*results, strict=True)
    assert answers[0] == answers[1] == [f"SAY {number}" for number in range(120)]
    assert sorted(made[0] + made[1]) == sorted(f"say {number}" for number in range(120))
    assert min(map(len, made)) > 20
    assert ledgers[0].booked._replace(seconds=0) == ledgers[1].booked._replace(seconds=0)
    assert ledgers[0].booked.calls == 120


def test_together_they_keep_within_the_budget(two):
    results = side_by_side(two, Budget(calls=50))
    assert [answers for answers, *_ in results] == [[], []]
    assert sum(len(made) for _, made, _ in results) == two[0].count("calls") == 50


def test_another_version_is_refused(study):
    journal = Journal(study)
    journal.set_meta("schema_version", 99)
    journal.close()
    with pytest.raises(JournalError, match="another version; got 99"):
        Journal(study)
