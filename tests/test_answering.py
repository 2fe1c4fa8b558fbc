"""A prompt put to use answers as it did when it was scored."""

import pytest
from toys import proposer_reply, rows, target_reply

import promptopt as po
from promptopt.errors import BudgetExhausted, DataError
from promptopt.programs import ChainOfThought, SelfConsistency
from promptopt.testing.model import FakeModel


def test_the_winner_answers_as_it_was_scored():
    study = po.optimize(
        prompt="Do something.", train=rows(), target=FakeModel(target_reply), folder=None,
        proposer=FakeModel(proposer_reply),
    )  # fmt: skip
    scored = study.candidate(study.best).test.cells
    by_id = {row["id"]: {"input": row["input"]} for row in rows()}
    cells = po.answer(study.best, [by_id[cell.example] for cell in scored], FakeModel(target_reply))
    assert [cell.output for cell in cells] == [cell.output for cell in scored]


def test_programs_of_several_calls_are_run_to_their_end():
    prompt = po.Prompt("Go.", program=ChainOfThought())

    def reply(messages):
        return "so: 4" if messages[-1]["content"].startswith("Therefore") else "think"

    (cell,) = po.answer(prompt, [{"input": "2+2"}], reply)
    assert (cell.output, cell.trace) == ("so: 4", ("think", "so: 4"))


def test_votes_are_counted_by_what_a_reward_reads():
    prompt = po.Prompt("Go.", program=SelfConsistency(n=3))

    def reply(request):
        return ("It is 4", "4", "5")[request.sample]

    (cell,) = po.answer(prompt, [{"input": "2+2"}], FakeModel(reply), reward="numeric")
    assert cell.output == "It is 4"


def test_a_failure_is_a_failed_cell_and_the_others_answer():
    def reply(messages):
        if "bad" in messages[-1]["content"]:
            raise RuntimeError("no")
        return "yes"

    good, bad = po.answer(po.Prompt("Go."), [{"input": "good"}, {"input": "bad"}], reply)
    assert (good.status, good.output) == ("ok", "yes")
    assert (bad.status, bad.output) == ("failed", "")
    assert "no" in bad.reason


def test_what_is_missing_is_named_before_anything_is_asked():
    asked = []
    with pytest.raises(DataError, match="row 1: has no column 'input'; got"):
        po.answer(po.Prompt("Go."), [{"input": "x", "more": "y"}, {"inptu": "x"}], asked.append)
    assert asked == []
    with pytest.raises(BudgetExhausted):
        po.answer(
            po.Prompt("Go."), [{"input": "x"}, {"input": "y"}], lambda m: "z", budget=po.Budget(calls=1)
        )
