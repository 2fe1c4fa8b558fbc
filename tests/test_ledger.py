"""The ledger: reserve the worst case, settle after, never pass a cap."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from promptopt.ledger import Ledger, Spent
from promptopt.records import Budget, Price, Usage

PRICES = {"target": Price(1000, 2000)}


def test_reserving_blocks_what_settling_frees():
    ledger = Ledger(Budget(tokens=100))
    first = ledger.reserve("target", Usage(40, 40))
    assert first is not None
    assert ledger.reserve("target", Usage(20, 1)) is None
    ledger.settle(first, Usage(10, 5))
    assert ledger.total == Spent(1, 10, 5)
    assert ledger.reserve("target", Usage(80, 5)) is not None


def test_an_attempt_whose_usage_was_never_seen_costs_its_bound():
    ledger = Ledger(Budget(usd=1), PRICES)
    ticket = ledger.reserve("target", Usage(100, 50))
    assert ticket is not None
    ledger.settle(ticket, None)
    assert ledger.total.usd == pytest.approx(100 * 1000 / 1e6 + 50 * 2000 / 1e6)


def test_what_is_held_back_cannot_be_reserved_until_it_is_let_go():
    ledger = Ledger(Budget(calls=10))
    ledger.hold(Spent(calls=10))
    assert ledger.reserve("target", Usage()) is None
    assert ledger.remaining.calls == 0
    ledger.hold(Spent(calls=9))
    assert ledger.reserve("target", Usage()) is not None


def test_minutes_count_earlier_processes_and_stop_reservations():
    now = [0.0]
    ledger = Ledger(Budget(minutes=1), elapsed=50, clock=lambda: now[0])
    assert ledger.reserve("target", Usage()) is not None
    now[0] = 10.5
    assert ledger.reserve("target", Usage()) is None
    assert ledger.remaining.minutes == 0
    assert "minutes" in ledger.why_blocked("target", Usage())


def test_every_role_draws_on_the_same_budget_but_is_booked_apart():
    ledger = Ledger(Budget(calls=3))
    for role in ("target", "proposer", "judge"):
        ticket = ledger.reserve(role, Usage(1, 1))
        assert ticket is not None
        ledger.settle(ticket, Usage(1, 1))
    assert ledger.reserve("target", Usage()) is None
    assert {role: spent.calls for role, spent in ledger.by_role.items()} == dict.fromkeys(
        ("target", "proposer", "judge"), 1
    )


usages = st.builds(Usage, st.integers(0, 50), st.integers(0, 50))


@given(st.lists(st.tuples(usages, st.floats(0, 1)), max_size=40), st.integers(0, 500), st.integers(0, 20))
def test_no_order_of_reserving_and_settling_passes_a_cap(steps, tokens, calls):
    ledger = Ledger(Budget(calls=calls, tokens=tokens, usd=0.5), PRICES)
    waiting = []
    for bound, share in steps:
        if (ticket := ledger.reserve("target", bound)) is not None:
            waiting.append((ticket, share))
        if len(waiting) > 2:
            ticket, share = waiting.pop(0)
            used = Usage(int(ticket.bound.prompt_tokens * share), int(ticket.bound.completion_tokens * share))
            ledger.settle(ticket, used)
    for ticket, _ in waiting:
        ledger.settle(ticket, None)
    assert ledger.total.calls <= calls
    assert ledger.total.tokens <= tokens
    assert ledger.total.usd <= 0.5 + 1e-12
    assert ledger.open_reservations == 0


def test_threads_cannot_reserve_the_same_money_twice():
    ledger = Ledger(Budget(calls=500))
    granted = []

    def work():
        for _ in range(200):
            ticket = ledger.reserve("target", Usage(1, 1))
            if ticket is not None:
                granted.append(1)
                ledger.settle(ticket, Usage(1, 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == ledger.total.calls == 500


def test_a_limit_is_of_the_calls_inside_and_the_narrower_of_two_holds():
    ledger = Ledger(Budget(calls=10))
    spend(ledger, 2)
    with ledger.limited(5):
        assert ledger.room_for("target", [Usage()] * 9) == ledger.remaining.calls == 5
        with ledger.limited(100):
            assert ledger.limit_left == 5
        with ledger.limited(1):
            spend(ledger, 1)
            assert ledger.reserve("target", Usage()) is None
            assert ledger.why_blocked("target", Usage()) == "the calls of a slice of the search"
        spend(ledger, 4)
        assert ledger.limit_left == 0
        assert ledger.reserve("target", Usage()) is None
    assert ledger.limit_left is None
    assert ledger.remaining.calls == 3
    with ledger.limited(5):
        assert ledger.remaining.calls == 3
        spend(ledger, 3)
        assert ledger.why_blocked("target", Usage()) == "10 calls"


def test_what_a_killed_process_lost_narrows_no_limit():
    ledger = Ledger(Budget(calls=10))
    ledger.lose([("target", Usage())] * 2)
    with ledger.limited(3):
        spend(ledger, 3)
        assert ledger.limit_left == 0
    assert ledger.booked.calls == 3
    assert ledger.total.calls == 5


def spend(ledger, calls):
    for _ in range(calls):
        ticket = ledger.reserve("target", Usage(1, 1))
        assert ticket is not None
        ledger.settle(ticket, Usage(1, 1))


def test_equal_shares_never_add_up_to_more_than_the_whole():
    assert Budget(10, 100, 1.0, 5.0).share(4) == Budget(2, 25, 0.25, 1.25)
    assert Budget().share(3) == Budget()


def test_what_was_lost_and_is_found_again_narrows_no_cap():
    ledger = Ledger(Budget(calls=3))
    ledger.lose([("target", Usage(5, 5)), ("target", Usage(1, 1))])
    ledger.find("target", Usage(5, 5))
    ledger.charge("target", 1, Usage(2, 2))
    assert ledger.total == Spent(2, 3, 3)
    assert ledger.reserve("target", Usage()) is not None
    assert ledger.reserve("target", Usage()) is None


class AnyInterleaving(RuleBasedStateMachine):
    """Several askers reserve, settle, fail, hold back and lose in any order."""

    def __init__(self):
        super().__init__()
        self.cap = Budget(calls=12, tokens=600, usd=0.9)
        self.ledger = Ledger(self.cap, PRICES)
        self.open, self.refused = [], 0

    @rule(role=st.sampled_from(("target", "proposer")), bound=usages)
    def reserve(self, role, bound):
        ticket = self.ledger.reserve(role, bound)
        if ticket is None:
            assert self.ledger.why_blocked(role, bound) or self.open
            self.refused += 1
        else:
            self.open.append(ticket)

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0, 99), share=st.floats(0, 1))
    def settle(self, place, share):
        ticket = self.open.pop(place % len(self.open))
        used = Usage(int(ticket.bound.prompt_tokens * share), int(ticket.bound.completion_tokens * share))
        self.ledger.settle(ticket, used, 0.1)

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0, 99))
    def lose_sight(self, place):
        self.ledger.settle(self.open.pop(place % len(self.open)), None)

    @rule(calls=st.integers(0, 12))
    def hold(self, calls):
        self.ledger.hold(Spent(calls=calls))

    @rule(calls=st.integers(1, 3), usage=usages)
    def train(self, calls, usage):
        self.ledger.spend("trainer", calls, usage)

    @invariant()
    def nothing_is_negative_and_no_cap_is_passed(self):
        total, left = self.ledger.total, self.ledger.remaining
        for part in (*self.ledger.by_role.values(), total):
            assert min(part.calls, part.prompt_tokens, part.completion_tokens, part.usd, part.seconds) >= 0
        assert min(left.calls, left.tokens, left.usd) >= 0
        assert total.calls + len(self.open) <= self.cap.calls
        worst = sum(ticket.bound.tokens for ticket in self.open)
        assert total.tokens + worst <= self.cap.tokens
        assert total.usd + sum(ticket.amount.usd for ticket in self.open) <= self.cap.usd + 1e-9
        assert self.ledger.open_reservations == len(self.open)


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=60, stateful_step_count=30)
