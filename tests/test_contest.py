"""Several searchers on one task: equal shares, one journal, one leaderboard."""

from dataclasses import dataclass, replace

import pytest
from toys import TryAll, fake, make_setup, proposer_reply, target_reply

import promptopt as po
from promptopt.contest import Clock
from promptopt.errors import ConfigError, ModelError
from promptopt.events import Notice, Stage
from promptopt.journal import Journal
from promptopt.prompt import Prompt
from promptopt.proof.multiplicity import holm
from promptopt.records import Budget
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.setup import label_entrants
from promptopt.splits import Sizes
from promptopt.testing.model import FakeModel


@dataclass
class Say:
    """Score one instruction."""

    text: str = "Say hello."

    def search(self, session):
        session.score([session.task.seed_prompt.child(instruction=self.text, origin="say")])


class Failing:
    """Score something, then find the proposer's reply wanting."""

    def search(self, session):
        session.score([session.task.seed_prompt.child(instruction="Before it failed.", origin="failing")])
        raise ModelError("searcher failing", "the proposer's replies hold no instruction")


class Greedy:
    """Spend whatever there is."""

    def search(self, session):
        for number in range(1000):
            session.score([session.task.seed_prompt.child(instruction=f"Try {number}.", origin="greedy")])


ENTRANTS = {
    "say": Say(),
    "try": TryAll(),
    "upper": Say("Use upper case letters."),
    "failing": Failing(),
}


def contest(entrants=ENTRANTS, **changes):
    return make_setup(entrants=dict(entrants), **changes)


def counted(calls):
    return {
        "target": fake(lambda r: calls.append(r) or target_reply(r), "target"),
        "proposer": fake(lambda r: calls.append(r) or proposer_reply(r), "proposer"),
    }


def row(study, name):
    return next(entry for entry in study.leaderboard if entry.searcher == name)


def test_the_best_searcher_wins_and_a_failing_one_costs_the_others_nothing():
    heard = []
    study = execute(contest(), listen=heard.append)
    assert [entry.searcher for entry in study.leaderboard] == ["try", "upper", "say", "failing"]
    assert study.best.instruction == "Write it in capitals."
    assert study.verdict.reliable
    assert study.verdict.n == 25
    assert [entry.chosen for entry in study.leaderboard] == [True, False, False, False]
    assert row(study, "failing").failure == "searcher failing: the proposer's replies hold no instruction"
    assert row(study, "failing").verdict is None
    assert row(study, "say").verdict.same_prompt  # it kept the seed prompt
    assert any(isinstance(e, Notice) and e.text.startswith("failing is out: ") for e in heard)
    stages = [(e.searcher, e.name) for e in heard if isinstance(e, Stage)]
    assert stages.index(("upper", "select")) < stages.index(("say", "test")), "test rows are opened last"
    adjusted = holm([row(study, name).verdict.p for name in ("say", "try", "upper")])
    assert [row(study, name).p for name in ("say", "try", "upper")] == adjusted


def test_each_searcher_gets_as_far_as_it_would_alone_on_its_share():
    budget = Budget(calls=3 * 170)
    entrants = {"greedy": Greedy(), "try": TryAll(), "upper": Say("Use upper case letters.")}
    study = execute(contest(entrants, budget=budget))
    for name, searcher in entrants.items():
        alone = execute(make_setup(searcher=searcher, budget=budget.share(3)))
        entry = row(study, name)
        assert (entry.best, entry.verdict, entry.stopped) == (alone.best, alone.verdict, alone.stopped)
        assert (entry.spent.calls, entry.spent.tokens) == (alone.total.calls, alone.total.tokens)
    assert row(study, "greedy").stopped == "budget"


def test_nothing_is_bought_twice_and_the_budget_is_that_of_all_together():
    calls = []
    study = execute(contest(budget=Budget(calls=700), models=counted(calls)))
    keys = {repr((r.messages, r.decoding, r.sample)) for r in calls}
    assert len(keys) == len(calls) == study.total.calls <= 700
    booked = [entry.spent.calls for entry in study.leaderboard]
    assert sum(booked) > study.total.calls, "cells of the seed prompt are shared, and booked to each"
    assert max(booked) <= 700 // 4


class Cut(BaseException):
    """Stands for a kill between two calls."""


def test_a_contest_cut_anywhere_goes_on_to_the_same_end(tmp_path):
    calls = []
    whole = execute(contest(models=counted(calls)))
    for after in (3, 25, 120, len(calls) - 30, len(calls) - 1):
        answered = []

        def cut(request, reply, after=after, answered=answered):
            if len(answered) == after:
                raise Cut
            answered.append(request)
            return reply(request)

        folder = RunFolder(tmp_path / f"cut-{after}")
        models = {
            "target": fake(lambda r: cut(r, target_reply), "target"),
            "proposer": fake(lambda r: cut(r, proposer_reply), "proposer"),
        }
        with pytest.raises(Cut):
            execute(contest(models=models), folder)
        again = []
        resumed = execute(contest(models=counted(again)), folder)
        assert len(answered) + len(again) == len(calls)
        mine, theirs = resumed.to_dict(), whole.to_dict()
        assert mine["verdict"] == theirs["verdict"]
        for one, other in zip(mine["leaderboard"], theirs["leaderboard"], strict=True):
            clockless = {"spent": {**other["spent"], "seconds": one["spent"]["seconds"]}}
            assert one == {**other, **clockless}


def test_the_winner_is_chosen_on_the_select_rows_though_another_is_better_on_the_test_rows():
    """The target obeys one wording on select rows, the other on test rows."""
    setup = contest({"a": Say("Use A."), "b": Say("Use B.")})
    select = {example.inputs["input"] for example in setup.task.splits.select}
    search = {example.inputs["input"] for example in setup.task.splits.search}

    def reply(request):
        text = request.messages[-1].content
        word = text.rsplit("Input: ", 1)[1].split("\n", 1)[0]
        told = "A" if word in select | search else "B"
        return word.upper() if f"Use {told}." in text else word

    models = {**setup.models, "target": fake(reply, "target")}
    study = execute(replace(setup, models=models))
    assert study.best.instruction == "Use A."
    assert not study.verdict.reliable
    assert row(study, "a").chosen
    assert not row(study, "b").chosen


def test_without_a_test_split_the_estimate_repeats_the_choice_among_all_finalists():
    study = execute(contest(n=50, sizes=Sizes(search=20, select=30, test=0)))
    assert study.best.instruction == "Write it in capitals."
    assert not study.verdict.held_out
    assert study.verdict.likely
    names = {standing.prompt for standing in study.finals.standings}
    assert len(names) > len({entry.best.id for entry in study.leaderboard if entry.best}) + 1


def test_a_model_that_cannot_be_used_stops_all():
    class Dead(FakeModel):
        def generate(self, requests, admit=None):
            raise ModelError("openai/m", "no such model")

    setup = contest({"say": Say(), "try": TryAll(), "upper": Say("Use upper case letters.")})
    with pytest.raises(ModelError, match="no such model"):
        execute(replace(setup, models={**setup.models, "proposer": Dead(proposer_reply)}))


def test_when_all_fail_the_first_reason_is_the_runs():
    with pytest.raises(ModelError, match="searcher failing"):
        execute(contest({"one": Failing(), "two": Failing()}))


def test_the_result_and_the_candidates_hold_what_all_found(tmp_path):
    folder = RunFolder(tmp_path / "run")
    study = execute(contest(), folder)
    result = folder.result()
    assert [entry["searcher"] for entry in result["leaderboard"]] == ["try", "upper", "say", "failing"]
    assert Prompt.from_dict(result["leaderboard"][1]["best"]).instruction == "Use upper case letters."
    texts = {candidate.prompt.instruction for candidate in study.candidates}
    assert {"Say hello.", "Use upper case letters.", "Write it in capitals.", "Before it failed."} <= texts
    assert len(texts) == len(study.candidates)


def test_from_python_searchers_are_named_by_themselves():
    study = po.optimize(
        prompt=po.Prompt("Do something."), train=_rows(), target=fake(target_reply),
        proposer=fake(proposer_reply), search=["seed_only", TryAll(), TryAll(n=2)], folder=None,
        budget={"calls": 1500},
    )  # fmt: skip
    assert {entry.searcher for entry in study.leaderboard} == {"seed_only", "TryAll", "TryAll-2"}
    with pytest.raises(ConfigError, match="no searcher is given"):
        po.optimize(prompt="x", train=_rows(), target=fake(target_reply), search=[])


def _rows():
    return [{"input": f"word{n}", "output": f"WORD{n}"} for n in range(60)]


def test_the_same_searcher_with_the_same_options_twice_is_a_mistake():
    with pytest.raises(ConfigError, match="'say' is there twice"):
        label_entrants([("say", Say()), ("say", Say())])
    assert list(label_entrants([("say", Say()), ("say", Say("x"))])) == ["say", "say-2"]
    assert label_entrants([("say", Say())]) == {}


def test_a_clock_counts_only_while_it_runs():
    now = [10.0]
    clock = Clock(lambda: now[0])
    now[0] = 15.0
    assert clock() == 0.0
    with clock.running():
        now[0] = 18.0
        assert clock() == 3.0
    now[0] = 30.0
    assert clock() == 3.0


def test_the_bill_counts_each_call_once_and_lost_attempts_too():
    from promptopt.journal import Call
    from promptopt.records import Usage

    journal = Journal()
    journal.put_call("a", "target", "{}", Call({"type": "completion"}, 2, Usage(10, 3), 0.5))
    journal.put_call("b", "proposer", "{}", Call({"type": "completion"}, 1, Usage(7, 1), 0.25))
    journal.put_attempt("c", "target", Usage(100, 50))
    journal.lose_attempts()
    bill = journal.bill()
    journal.close()
    assert (bill["target"].attempts, bill["target"].usage) == (3, Usage(110, 53))
    assert (bill["proposer"].attempts, bill["proposer"].seconds) == (1, 0.25)
