"""A cap that several processes keep together, on a real server: never passed, and little of it left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from postgres import server

from promptopt.journal import Call, Journal
from promptopt.ledger import Ledger
from promptopt.records import Budget, Price, Usage
from promptopt.store.purse import AHEAD, Purse

pytest.importorskip("psycopg")

ONE = (1, 10, 0.5)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture
def journals(database, request) -> Iterator[list[Journal]]:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-40:]
    opened = [Journal(f"{database}?study=s{name}&lease=4") for _ in range(3)]
    yield opened
    for journal in opened:
        journal.close()


def drawn(journal: Journal) -> tuple[int, int, float]:
    """Return what all have drawn from the purse."""
    ((calls, tokens, usd),) = journal._store.query("SELECT calls, tokens, usd FROM purse")
    return calls, tokens, usd


def test_a_journal_of_ones_own_has_none(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    assert journal.purse(Budget(calls=3), {}) is None
    journal.close()


@pytest.mark.parametrize("cap", [Budget(calls=5), Budget(tokens=50), Budget(usd=2.5)])
def test_each_cap_is_kept_by_all_together(journals, cap):
    purses = [journal.purse(cap, {}) for journal in journals]
    got = [purse.draw(ONE) for _ in range(4) for purse in purses]
    assert got == [True] * 5 + [False] * 7
    assert drawn(journals[0]) == (5, 50, 2.5)


def test_without_caps_nothing_is_refused(journals):
    purse = journals[0].purse(Budget(minutes=1), {})
    assert all(purse.draw(ONE) for _ in range(100))


def test_what_is_not_needed_is_handed_back_and_what_was_cheaper_is_there_for_others(journals):
    one, other, _ = (journal.purse(Budget(tokens=100), {}) for journal in journals)
    assert all(one.draw((1, 30, 0.0)) for _ in range(3))
    assert not other.draw((1, 30, 0.0))
    assert other.may_fill()
    for _ in range(3):
        one.settle((1, 30, 0.0), (1, 12, 0.0))
    one.rest()
    assert drawn(journals[0]) == (3, 36, 0.0)
    assert not other.may_fill()
    assert not one.may_fill()
    assert other.draw((1, 64, 0.0), anew=True)
    assert not one.draw((1, 1, 0.0))


def test_what_is_set_aside_is_not_touched(journals):
    purse = journals[0].purse(Budget(calls=10), {})
    assert [purse.draw(ONE, (7, 0, 0.0)) for _ in range(5)] == [True] * 3 + [False] * 2
    assert purse.draw(ONE, anew=True)


def test_what_was_spent_before_there_was_a_purse_counts_and_a_cap_may_be_raised(journals):
    journals[0].put_call("k", "target", "{}", Call({"type": "completion", "text": "x"}, 2, Usage(3, 4), 0.1))
    journals[0].write_off("l", "target", 1, Usage(5, 6))
    low = journals[0].purse(Budget(calls=4), {"target": Price(1e6, 2e6)})
    assert drawn(journals[0]) == (3, 18, 3 + 8 + 5 + 12)
    assert [low.draw(ONE), low.draw(ONE)] == [True, False]
    raised = journals[1].purse(Budget(calls=6), {})
    assert [raised.draw(ONE) for _ in range(3)] == [True, True, False]


def test_many_are_drawn_for_at_once_while_much_is_left(journals):
    statements: list[str] = []

    def counted(sql, values):
        statements.append(sql)
        return journals[0]._store.query(sql, values)

    purse = Purse(counted, journals[0]._store.worker, Budget(calls=1000))
    for _ in range(500):
        assert purse.draw(ONE)
        purse.settle(ONE, (1, 1, 0.1))
    assert len(statements) < 1.5 * 500 / AHEAD
    # However much cheaper attempts were than they might have been, no more is held than for so many.
    assert drawn(journals[0])[1] <= 500 + AHEAD * ONE[1]


HOLDER = """
import sys, time
from promptopt.journal import Journal
from promptopt.records import Budget
purse = Journal(sys.argv[1]).purse(Budget(calls=10), {})
print([purse.draw((1, 1, 0.0)) for _ in range(4)], flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_had_drawn_counts_as_spent_and_is_not_waited_for(journals):
    dead = subprocess.Popen(
        [sys.executable, "-c", HOLDER, journals[0].path], stdout=subprocess.PIPE, text=True
    )
    assert dead.stdout is not None
    assert dead.stdout.readline().strip() == "[True, True, True, True]"
    purse = journals[0].purse(Budget(calls=10), {})
    assert [purse.draw(ONE) for _ in range(7)].count(True) == 6
    assert purse.may_fill()
    os.kill(dead.pid, signal.SIGKILL)
    dead.communicate()
    deadline = time.monotonic() + 30
    while purse.may_fill() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not purse.may_fill()
    assert not purse.draw(ONE, anew=True)
    assert drawn(journals[0])[0] == 10


@pytest.mark.parametrize("cap", [Budget(calls=200), Budget(tokens=3000), Budget(usd=0.03)])
def test_ledgers_that_try_again_in_a_race_spend_nearly_all_and_never_more(journals, cap):
    """Each attempt may cost 20 tokens, costs up to that, and one in five has to be made again."""
    price, bound = Price(10, 10), Usage(15, 5)
    ledgers = [
        Ledger(cap, {"target": price}, purse=journal.purse(cap, {"target": price})) for journal in journals
    ]

    def work(place):
        chance = random.Random(place)
        while True:
            ticket = ledgers[place].reserve("target", bound)
            if ticket is None:
                if ledgers[place].why_blocked("target", bound):
                    return
                ledgers[place].wait()
                continue
            failed = chance.random() < 0.2
            ledgers[place].settle(ticket, Usage() if failed else Usage(chance.randint(5, 15), 5))
            if chance.random() < 0.1:
                ledgers[place].rest()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    spent = [ledger.total for ledger in ledgers]
    calls, tokens, usd = sum(s.calls for s in spent), sum(s.tokens for s in spent), sum(s.usd for s in spent)
    assert drawn(journals[0]) == pytest.approx((calls, tokens, usd))
    if cap.calls is not None:
        assert calls == cap.calls
    if cap.tokens is not None:
        assert cap.tokens - 20 < tokens <= cap.tokens
    if cap.usd is not None:
        assert cap.usd - price.usd(bound) - 1e-9 < usd <= cap.usd + 1e-12
