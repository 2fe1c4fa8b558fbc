"""What a cap on calls pays for, and that every searcher keeps to it."""

import pytest
from scripted import Scripted, numbered
from toys import fake, make_setup, proposer_reply, target_reply

from promptopt.plugins import build
from promptopt.records import Budget
from promptopt.run import execute
from promptopt.search._budget import LEAST_ROWS, RACE, affordable, rows_each


def left(calls):
    session = Scripted()
    session.remaining = Budget(calls=calls)
    return session


def test_without_a_cap_on_calls_all_is_affordable():
    assert affordable(left(None), 90) == 90
    assert rows_each(left(None), 50, 24) == 50


def test_a_cap_pays_for_fewer_candidates_and_at_least_one():
    assert affordable(left(10 * RACE), 90) == 10
    assert affordable(left(10_000), 90) == 90
    assert affordable(left(0), 90) == 1
    assert affordable(left(100), 90, each=25) == 4


def test_a_cap_pays_for_fewer_rows_each_and_at_least_eight():
    assert rows_each(left(24 * 21), 50, 24) == 20
    assert rows_each(left(24 * 21), 50, 24, proposals=3) == 18
    assert rows_each(left(10_000), 50, 24) == 50
    assert rows_each(left(30), 50, 24) == LEAST_ROWS


@pytest.mark.parametrize("name", ["opro", "evolution", "breeder"])
def test_those_that_score_on_a_fixed_number_of_rows_take_fewer_of_them_for_all(name):
    session = Scripted(rows=numbered(60))
    session.remaining = Budget(calls=500)
    build("searchers", name).search(session)
    *searched, last = session.scored
    assert {len(rows) for _, rows in searched} == {{"opro": 11, "evolution": 10, "breeder": 15}[name]}
    assert len(last[1]) == 60


@pytest.mark.parametrize(
    "name",
    ["ape", "opro", "evolution", "breeder", "protegi", "paraphrases", "joint", "demos", "random_demos"],
)
def test_a_small_budget_compares_several_candidates(name):
    """80 calls of the search: the seed prompt's 20 rows, and 60 for all else."""
    models = {"target": fake(target_reply, "target"), "proposer": fake(proposer_reply, "proposer")}
    finals = 3 * 15 + 2 * 25
    setup = make_setup(
        searcher=build("searchers", name), models=models, finalists=2, budget=Budget(calls=80 + finals)
    )
    study = execute(setup)
    compared = [candidate for candidate in study.candidates if candidate.search and candidate.search.met >= 5]
    assert len(compared) >= 3, [(c.prompt.instruction, c.search and c.search.met) for c in study.candidates]
    assert study.total.calls <= 80 + finals
