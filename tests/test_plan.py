"""What a run can cost, before it runs."""

import math
from dataclasses import replace

import pytest
from judges import judged
from toys import Exact, make_setup, rows

from promptopt.contracts.model import Decoding, GenerateRequest
from promptopt.data import Columns, read
from promptopt.errors import ConfigError, DataError
from promptopt.plan import make_plan
from promptopt.programs import PROGRAMS, FewShotChainOfThought, SelfConsistency, Single
from promptopt.prompt import Prompt
from promptopt.records import Budget, Price
from promptopt.rewards.likelihood import LogLikelihood
from promptopt.rewards.multiple_choice import MultipleChoice
from promptopt.run import execute
from promptopt.splits import Sizes, make_splits


def test_calls_are_counted_stage_by_stage():
    plan = make_plan(make_setup(budget=Budget(calls=1000), finalists=3))
    assert plan.rows == (20, 15, 25)
    assert plan.baseline_calls == 20
    assert plan.final_calls == 4 * 15 + 2 * 25
    assert plan.search_calls == 1000 - 20 - plan.final_calls
    assert plan.fewest_calls == 20 + 2 * 15 + 2 * 25
    assert make_plan(make_setup()).search_calls is None


def test_the_plan_says_what_the_rows_can_show():
    plan = make_plan(make_setup())
    assert plan.power.line.startswith(
        "with 25 test rows a gain under 29 points cannot be seen; you need about 310"
    )
    assert plan.notes == ()
    grouped = [{**row, "group": f"g{index // 2}"} for index, row in enumerate(rows(60))]
    shared = make_setup(rows=grouped, sizes=Sizes(search=20, select=14, test=26))
    assert make_plan(shared).power.rows == 13


def test_log_likelihoods_have_no_scale_before_so_gains_are_told_in_standard_deviations():
    plan = make_plan(make_setup(reward=LogLikelihood()))
    assert plan.power.line.startswith(
        "with 25 test rows a gain under 0.53 standard deviations cannot be seen; you need about 194"
    )


def test_a_test_split_too_small_to_prove_anything_is_said_before():
    (note,) = make_plan(make_setup(sizes=Sizes(search=20, select=15, test=5))).notes
    assert note == (
        "5 independent test rows cannot prove any improvement: that takes 6 independent rows at least, "
        "about 77 to see a gain of 10 points"
    )


def test_no_test_split_is_cheaper_warned_of_and_refused_where_nothing_could_be_shown():
    plan = make_plan(make_setup(sizes=Sizes(search=20, select=15, test=0)))
    assert plan.rows == (20, 15, 0)
    assert plan.final_calls == 6 * 15
    assert plan.power.line.startswith("with 15 select rows")
    assert "not a held-out proof" in plan.notes[0]
    with pytest.raises(DataError, match=r"too few rows to show any improvement.*got '5 independent rows'"):
        make_plan(make_setup(sizes=Sizes(search=20, select=5, test=0)))


def test_programs_and_samples_multiply_calls():
    prompt = Prompt("Do it.", program=SelfConsistency(n=5))
    assert make_plan(make_setup(prompt=prompt, samples=2)).baseline_calls == 200


def test_dollars_are_a_worst_case_that_the_run_stays_under():
    setup = make_setup(prices={"target": Price(1000, 1000)})
    plan = make_plan(setup)
    study = execute(setup)
    final = study.spent["target"]
    assert final.usd < plan.final_usd + plan.baseline_calls * 1.0
    assert math.isnan(make_plan(make_setup()).final_usd)


@pytest.mark.parametrize("budget", [Budget(calls=99), Budget(tokens=10), Budget(usd=1e-9)])
def test_a_budget_below_one_baseline_pass_is_refused(budget):
    with pytest.raises(ConfigError, match="cannot pay one baseline pass"):
        make_plan(make_setup(budget=budget, prices={"target": Price(1, 1)}))


def test_the_smallest_accepted_budget_reaches_a_verdict():
    fewest = make_plan(make_setup()).fewest_calls
    study = execute(make_setup(budget=Budget(calls=fewest)))
    assert study.verdict.n == 25
    assert study.total.calls <= fewest


def test_a_row_that_cannot_be_judged_is_named_before_anything_is_bought():
    setup = make_setup(reward=MultipleChoice(), rows=[
        {"input": f"q{i}", "options": ["a", "b"], "output": "a"} for i in range(60)
    ])  # fmt: skip
    make_plan(setup)
    rows = [{"input": f"q{i}"} for i in range(60)]
    splits = make_splits(read(rows, Columns(answer=None)), seed=0, sizes=Sizes(20, 15, 25))
    with pytest.raises(DataError):
        make_plan(replace(setup, task=replace(setup.task, splits=splits)))


def test_a_reward_that_chokes_on_nothing_is_not_the_rows_fault():
    class Choking(Exact):
        def __call__(self, example, output):
            return super().__call__(example, output) if output.text else 1 / 0

    assert make_plan(make_setup(reward=Choking())).rows == (20, 15, 25)


def test_planning_calls_no_model():
    setup = make_setup()
    make_plan(setup)
    assert all(isinstance(r, GenerateRequest) for m in setup.models.values() for r in m.requests)
    assert sum(len(m.requests) for m in setup.models.values()) == 0


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - {"single"}))
def test_a_program_without_room_to_reason_is_warned_of_before(name):
    options = {"trigger": "Think first."} if name == "self_consistency" else {}
    seed = Prompt("Do something.", program=PROGRAMS[name](**options))
    (note,) = make_plan(make_setup(prompt=seed, decoding=Decoding(16))).notes
    assert note == (
        f"target.decoding: 16 tokens leave replies of {name} no room to reason; they are cut before they "
        "answer; give it reasoning_tokens: 256"
    )
    for enough in (Decoding(64), Decoding(16, reasoning_tokens=64)):
        assert make_plan(make_setup(prompt=seed, decoding=enough)).notes == ()


def test_answers_need_no_room_to_reason():
    assert make_plan(make_setup(decoding=Decoding(4))).notes == ()


def test_what_a_reply_costs_at_worst_is_what_its_own_limit_allows():
    price = {"target": Price(0.0, 1e6)}

    def worst(program):
        setup = make_setup(
            prompt=Prompt("Do something.", program=program),
            prices=price,
            decoding=Decoding(16, reasoning_tokens=99),
        )
        plan = make_plan(setup)
        return plan.final_usd / plan.final_calls

    assert worst(Single()) == pytest.approx(16)
    assert worst(Single(max_tokens=3)) == pytest.approx(3)
    assert worst(SelfConsistency(n=2)) == pytest.approx(16)
    assert worst(SelfConsistency(n=2, answer="Answer:")) == pytest.approx(99)


def test_room_to_reason_costs_a_program_that_does_not_reason_nothing():
    prices = {"target": Price(1.0, 1.0), "judge": Price(1.0, 1.0)}
    with_room, without = (
        make_plan(judged(prices=prices, decoding=Decoding(16, reasoning_tokens=room))) for room in (256, None)
    )
    assert with_room == without
    thinking = Prompt("Do something.", program=FewShotChainOfThought())
    dear = make_plan(judged(prices=prices, prompt=thinking, decoding=Decoding(16, reasoning_tokens=256)))
    assert dear.final_usd > without.final_usd
