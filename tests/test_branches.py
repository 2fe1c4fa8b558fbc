"""Branches of a run: apart while they grow, one in the end; what two of them need is bought and paid once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from toys import fake, make_setup

from promptopt.branches import Trunk
from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Failure, GenerateRequest
from promptopt.errors import BudgetExhausted
from promptopt.events import ignore
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.prompt import Prompt
from promptopt.records import Budget, Message, Usage
from promptopt.session import Candidates


def trunk_of(model: Any, budget: Budget = Budget(), **changes: Any) -> Trunk:
    setup = make_setup(models={"target": model}, budget=budget, **changes)
    journal = Journal()
    caller = Caller(setup.models, journal, Ledger(budget))
    return Trunk(
        setup, journal, caller, Candidates(journal, "exact"), [], ignore, lambda: False
    )  # fmt: skip


def grow(trunk: Trunk, number: int, tmp_path: Any, share: Budget = Budget()) -> Any:
    task = trunk.setup.task.for_searcher()
    return trunk.grow(number, trunk.setup.searcher, task, tmp_path / str(number), share)


def requests(first: int, last: int) -> list[GenerateRequest]:
    return [GenerateRequest((Message("user", f"say {number}"),)) for number in range(first, last)]


def test_branches_at_the_same_time_buy_each_call_once_and_the_run_pays_it_once(tmp_path):
    gate = threading.Barrier(2, timeout=20)
    waited = threading.local()

    def reply(request: GenerateRequest) -> str:
        if not hasattr(waited, "once"):
            waited.once = True
            gate.wait()  # both are at it
        return "yes"

    model = fake(reply)
    trunk = trunk_of(model)
    branches = [grow(trunk, number, tmp_path) for number in range(2)]
    wanted = [requests(0, 60), [*requests(90, 100), *requests(20, 80)]]
    answers: dict[int, list[Any]] = {}

    def ask(number: int) -> None:
        answers[number] = branches[number].caller.ask("target", wanted[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [len(answers[n]) for n in range(2)] == [60, 70]
    assert model.calls == len({r.messages for r in model.requests}) == 90
    assert [branch.ledger.booked.calls for branch in branches] == [60, 70]  # as if each were alone
    trunk.gather()
    assert trunk.caller.ledger.booked.calls == 90
    assert trunk.caller.ledger.booked.tokens == trunk.journal.bill()["target"].usage.tokens
    trunk.journal.close()


def test_what_the_run_has_paid_is_no_branchs_to_pay(tmp_path):
    trunk = trunk_of(fake(lambda request: "yes"))
    trunk.caller.ask("target", requests(0, 10))
    branch = grow(trunk, 0, tmp_path, Budget(calls=5))
    branch.caller.ask("target", requests(0, 15))
    assert branch.ledger.booked.calls == 5
    with pytest.raises(BudgetExhausted):
        branch.caller.ask("target", requests(15, 16))
    trunk.gather()
    assert trunk.caller.ledger.booked.calls == 15
    trunk.journal.close()


class Failing:
    """A model that fails twice where it answers, and is asked again as long as it may be."""

    def __init__(self) -> None:
        self.inner = fake(lambda request: "yes")
        self.identity, self.capabilities = self.inner.identity, self.inner.capabilities

    def generate(self, requests: Any, admit: Any = lambda _: True) -> Any:
        for place in range(len(requests)):
            for attempt in range(3):
                if not admit(place):
                    yield place, Failure("budget", "no room", lost=0)
                    break
                if attempt == 2:
                    yield place, Completion("yes", usage=Usage(2, 1))

    loglikelihood = generate


def test_attempts_that_came_to_nothing_are_paid_by_the_run_as_well(tmp_path):
    trunk = trunk_of(Failing())
    branch = grow(trunk, 0, tmp_path, Budget(calls=8))
    with pytest.raises(BudgetExhausted):
        branch.caller.ask("target", requests(0, 5))
    assert branch.ledger.booked.calls == 8  # two answers of three attempts each, and two for nothing
    trunk.gather()
    assert trunk.caller.ledger.booked.calls == 8
    assert trunk.journal.bill()["target"].attempts == 8
    trunk.journal.close()


def test_attempts_of_one_that_are_under_way_are_not_lost_when_another_begins(tmp_path):
    trunk = trunk_of(fake(lambda request: "yes"))
    trunk.journal.put_attempt("k", "target", Usage(5, 5))
    branch = grow(trunk, 0, tmp_path)
    assert branch.ledger.total.calls == 0
    assert trunk.journal.lose_attempts()[0].key == "k"  # now it is
    assert "target" in trunk.journal.bill()
    trunk.journal.close()


def test_what_was_lost_before_the_run_narrows_every_share(tmp_path):
    journal = Journal()
    journal.put_attempt("k", "target", Usage(5, 5))
    setup = make_setup()
    caller = Caller(setup.models, journal, Ledger(Budget(calls=10)))
    trunk = Trunk(setup, journal, caller, Candidates(journal, "exact"), [], ignore, lambda: False)
    branch = grow(trunk, 0, tmp_path, Budget(calls=5))
    assert branch.ledger.room_for("target", [Usage(1, 1)] * 10) == 4
    journal.close()


def test_what_branches_find_is_taken_over_in_their_order_the_larger_evaluation_of_two(tmp_path):
    trunk = trunk_of(fake(lambda request: "yes"))
    first, second = (grow(trunk, number, tmp_path) for number in range(2))
    mine, theirs, both = Prompt("Mine."), Prompt("Theirs."), Prompt("Both.")
    second.desk.session.score([theirs, both], 5)
    first.desk.session.score([mine], 3)
    first.desk.session.score([both], 3)
    second.desk.session.rule_out([theirs])
    assert set(first.desk.session.known) == {mine.id, both.id}
    again = grow(trunk, 0, tmp_path)  # it begins anew: what it had is forgotten
    assert again.desk.session.known == {}
    again.desk.session.score([mine], 4)
    trunk.gather()
    records = trunk.candidates.all()
    assert [record.prompt for record in records] == [mine, theirs, both]
    assert [record.ruled_out for record in records] == [False, True, False]
    sizes = [len(evaluation.cells) for record in records for evaluation in record.evaluations.values()]
    assert sizes == [4, 5, 5]
    trunk.journal.close()
