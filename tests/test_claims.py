"""Which calls are to be made here: all in a journal of one's own, within the budget in a shared one."""

from promptopt.claims import Claims
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.records import Budget, Usage

WANTED = [(f"k{number}", Usage(10, 1)) for number in range(5)]


def test_in_a_journal_of_ones_own_all_is_to_be_made_here_and_the_budget_is_no_matter():
    journal = Journal()
    claims = Claims(journal, Ledger(Budget(calls=2)))
    assert claims.take("target", WANTED) == {key for key, _ in WANTED}
    assert claims.take("target", []) == set()
    claims.give_back(["k0"])
    journal.close()


def test_what_an_earlier_process_may_have_lost_narrows_the_budget_at_once():
    journal, ledger = Journal(), Ledger(Budget(calls=5))
    journal.put_attempt("k0", "target", Usage(1, 1))
    Claims(journal, ledger)
    assert ledger.total.calls == 1
    assert ledger.room_for("target", [bound for _, bound in WANTED]) == 4
    journal.close()
