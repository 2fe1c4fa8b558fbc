"""Judged runs: in batches, once each, under the cap, resumed for nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from judges import CAPITALS, CRITERIA, asked, calls, honest, judged, question, run, wordy
from toys import Named, TryAll, fake, make_setup, read_input, rows, target_reply

import promptopt as po
from promptopt.api import optimize
from promptopt.contracts.model import Failure, GenerateRequest, Request
from promptopt.contracts.reward import Output
from promptopt.errors import ConfigError, ModelError, UnsupportedError
from promptopt.forecast import Forecast, foresee
from promptopt.judging import check_judge
from promptopt.plan import make_plan
from promptopt.records import Budget, Example, Message, Price
from promptopt.rewards.judge import Judge
from promptopt.run import execute
from promptopt.setup import Setup


def test_a_judged_run_finds_and_proves_what_the_judge_finds_good() -> None:
    setup = judged(searcher=Named(CAPITALS, "Say hello."))
    study, _ = run(setup)
    assert study.best.instruction == CAPITALS
    assert study.verdict.reliable
    assert study.verdict.best == pytest.approx(1.0)
    assert study.spent["judge"].calls == calls(setup, "judge") > 0
    cell = study.candidates[0].test.cells[0]  # type: ignore[union-attr]
    assert cell.score is not None
    assert cell.score.feedback == "the judge gave 1 on a scale from 1 to 5: 'as it is'"


def test_what_the_judge_takes_is_no_cost_of_an_answer() -> None:
    plain = execute(make_setup(searcher=Named(CAPITALS)))
    study, _ = run(judged(searcher=Named(CAPITALS)))
    usage = {cell.example: cell.usage for cell in plain.candidates[0].test.cells}  # type: ignore[union-attr]
    assert {cell.example: cell.usage for cell in study.candidates[0].test.cells} == usage  # type: ignore[union-attr]


def test_equal_outputs_of_different_prompts_are_judged_once() -> None:
    setup = judged(searcher=Named("Say it.", "Say it again.", "And again."), options={"canaries": 0})
    run(setup)
    met = Counter(asked(question(request)) for request in setup.models["judge"].requests)  # type: ignore[attr-defined]
    assert max(met.values()) == 1
    assert len(met) == 60


def test_many_cells_are_judged_in_one_batch() -> None:
    sizes: list[int] = []

    class Batched:
        def __init__(self, inner: Any) -> None:
            self.inner, self.identity, self.capabilities = inner, inner.identity, inner.capabilities

        def generate(self, requests: Any, admit: Any) -> Any:
            sizes.append(len(requests))
            return self.inner.generate(requests, admit)

        def loglikelihood(self, requests: Any, admit: Any) -> Any:
            raise AssertionError

    setup = judged(target=wordy, searcher=Named("A.", "B.", "C."), options={"canaries": 0})
    run(replace(setup, models={**setup.models, "judge": Batched(setup.models["judge"])}))
    assert 60 in sizes  # three prompts on twenty rows
    assert len(sizes) <= 6


def test_a_reply_that_is_no_score_is_asked_for_again_in_one_more_batch() -> None:
    def hesitant(request: GenerateRequest) -> str:
        return honest(question(request)) if len(request.messages) > 2 else "Well."

    setup = judged(searcher=Named(CAPITALS))
    setup = replace(setup, models={**setup.models, "judge": fake(hesitant, "hesitant")})
    study, _ = run(setup)
    assert study.verdict.reliable
    assert all(cell.status == "ok" for one in study.candidates for cell in one.search.cells)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("no idea", "judge: unreadable: the judge's reply is no score: 'no idea'"),
        (Failure("timeout", "too slow"), "judge: timeout: too slow"),
    ],
)
def test_a_judge_that_fails_makes_failed_cells_and_no_zeros(reply: Any, reason: str) -> None:
    bad = "ant0"

    def judge(request: GenerateRequest) -> Any:
        its = asked(question(request))
        return reply if its.input == bad and its.output.lower() == bad else honest(question(request))

    setup = judged(searcher=Named(CAPITALS), options={"canaries": 0})
    study, notices = run(replace(setup, models={**setup.models, "judge": fake(judge, "j")}))
    cells = [
        cell
        for one in study.candidates
        for its in (one.search, one.select, one.test)
        for cell in (its.cells if its else ())
    ]
    failed = [cell for cell in cells if cell.status == "failed"]
    assert {cell.example for cell in failed} == {"0"}
    assert {cell.reason for cell in failed} == {reason}
    assert {cell.output.lower() for cell in failed} == {bad}  # the target did answer
    assert sum("it counts as missing, not as 0" in text for text in notices) == 1


@dataclass(frozen=True)
class Odd(Judge):
    """Asks on for ever about one output, and cannot ask about another."""

    def questions(self, example: Example, output: Output) -> tuple[Request, ...]:
        if example.id == "1":
            raise KeyError("no such thing")
        if example.id == "2":
            return (GenerateRequest((Message("user", f"Question {len(output.opinions)}?"),)),)
        return super().questions(example, output)


def test_a_reward_that_cannot_ask_or_asks_for_ever_fails_its_own_cells() -> None:
    def judge(request: GenerateRequest) -> str:
        return "5" if len(request.messages) == 1 else honest(question(request))

    setup = judged(searcher=Named(CAPITALS))
    task = replace(setup.task, reward=Odd(CRITERIA, canaries=0))
    models = {**setup.models, "judge": fake(judge, "j")}
    study, _ = run(replace(setup, task=task, models=models))
    met = [e for one in study.candidates for e in (one.search, one.select, one.test) if e is not None]
    reasons = {cell.example: cell.reason for e in met for cell in e.cells if cell.status == "failed"}
    assert reasons == {
        "1": "judge: error: the question: KeyError: 'no such thing'",
        "2": "judge: error: 8 questions were not enough",
    }


def test_a_judge_that_says_nothing_of_use_ends_the_run_at_the_baseline() -> None:
    with pytest.raises(ModelError, match=r"20 of 20 cells of the seed prompt failed.*judge: unreadable"):
        run(judged(lambda text: "I am not sure."))


# --- who judges ----------------------------------------------------------------------------------------


def test_without_a_judge_nothing_is_asked_and_the_target_does_not_judge_itself() -> None:
    asks = 0

    def target(messages: Any) -> str:
        nonlocal asks
        asks += 1
        return "x"

    with pytest.raises(ConfigError, match=r"judge: no model is named, and the reward asks one; name one"):
        optimize(prompt="Say it.", train=rows(60), target=target, reward=Judge(CRITERIA), folder=None)
    assert asks == 0


def test_from_python_functions_judge_by_name_or_as_they_are(tmp_path: Path) -> None:
    def judge(messages: Any) -> str:
        return honest(messages[1]["content"])

    def target(text: str) -> str:
        word = read_input(text)
        return word.upper() if "capitals" in text else word

    study = optimize(
        prompt="Say it.",
        train=rows(60),
        target=target,
        judge=judge,
        reward={"name": "judge", "criteria": CRITERIA},
        search=Named(CAPITALS),
        folder=tmp_path,
    )
    assert study.verdict.reliable
    assert study.folder is not None
    assert (
        "test_judging" in (study.folder / "config.lock.yaml").read_text()
        or "judge:" in (study.folder / "config.lock.yaml").read_text()
    )


def test_expected_scores_need_a_judge_with_probabilities() -> None:
    setup = judged(options={"value": "expected"})
    with pytest.raises(UnsupportedError, match="judge: gives no log-probabilities"):
        check_judge(setup.task.reward, setup.models, setup.task.splits.search)
    weighing = fake(target_reply, "weighing")
    weighing.likelihood = lambda request: (
        -abs(float(request.continuation) - (5 if "RIGHT" in request.messages[1].content else 1))
    )
    check_judge(setup.task.reward, {**setup.models, "judge": weighing}, setup.task.splits.search)
    study, _ = run(replace(setup, models={**setup.models, "judge": weighing}))
    assert study.spent["judge"].calls >= 5 * 60


def test_a_model_of_this_machine_judges_by_its_probabilities() -> None:
    """The embedded one is far too small to judge, which the canaries say."""
    small = po.plugins.build("models", "embedded", {"name": "tiny"})
    setup = judged(searcher=Named(), options={"value": "expected"})
    study, notices = run(replace(setup, models={**setup.models, "judge": small}))
    values = [cell.value for cell in study.candidates[0].test.cells]  # type: ignore[union-attr]
    assert all(0 < value < 1 for value in values)
    assert len(set(values)) > 10
    assert any(text.startswith("judge check") for text in notices)


# --- money ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls_", [215, 230, 260, 300, 400, 600])
def test_the_cap_holds_for_all_roles_together_and_a_verdict_is_reached(calls_: int) -> None:
    setup = judged(target=wordy, searcher=TryAll(8), budget=Budget(calls=calls_))
    assert make_plan(setup).fewest_calls <= calls_
    study, _ = run(setup)
    assert study.total.calls <= calls_
    assert sum(calls(setup, role) for role in setup.models) == study.total.calls
    assert study.verdict.n == 25


def test_the_smallest_accepted_budget_reaches_a_verdict() -> None:
    fewest = make_plan(judged()).fewest_calls
    assert fewest == 2 * (20 + 2 * 15 + 2 * 25) + 15  # and the first canaries
    study, _ = run(judged(target=wordy, budget=Budget(calls=fewest)))
    assert study.verdict.n == 25
    assert study.total.calls <= fewest
    with pytest.raises(ConfigError, match="cannot pay one baseline pass"):
        make_plan(judged(budget=Budget(calls=fewest - 1)))


def test_dollars_of_the_judge_count() -> None:
    prices = {role: Price(1.0, 1.0) for role in ("target", "proposer", "judge")}
    study, _ = run(judged(target=wordy, prices=prices, budget=Budget(usd=0.05)))
    assert study.spent["judge"].usd > study.spent["target"].usd > 0
    assert study.total.usd <= 0.05
    plan = make_plan(judged(target=wordy, prices=prices))
    alone = make_plan(make_setup(prices=prices))
    assert plan.final_calls == 2 * alone.final_calls
    assert plan.final_usd > 2 * alone.final_usd


def test_where_the_budget_ends_answers_are_not_left_without_a_judge() -> None:
    """The target's answers of many prompts at once would take what was to pay for judging them."""
    setup = judged(
        target=wordy,
        searcher=Named(*[f"Try number {i}." for i in range(30)]),
        budget=Budget(calls=600),
        options={"canaries": 0},
    )
    study, _ = run(setup)
    assert study.stopped == "budget"
    scored = [one for one in study.candidates if one.search is not None]
    answered = calls(setup, "target")
    assert len(scored) >= 8
    assert answered - calls(setup, "judge") <= 20  # one prompt's answers at most


@pytest.mark.parametrize(
    "changes", [{}, {"target": wordy}, {"target": wordy, "budget": Budget(calls=400)}, {"samples": 2}]
)
def test_a_dry_run_foresees_calls_and_tokens_of_the_judge(changes: dict[str, Any]) -> None:
    def local(**changes: Any) -> Setup:
        setup = judged(searcher=TryAll(8), **changes)
        for model in setup.models.values():
            model.identity = replace(model.identity, endpoint="local")  # type: ignore[misc]
        return setup

    found = foresee(lambda: local(**changes))
    assert isinstance(found, Forecast), found
    spent = execute(local(**changes)).spent
    assert found.spent["judge"].calls == pytest.approx(spent["judge"].calls, rel=0.25)
    assert found.total.calls == pytest.approx(sum(one.calls for one in spent.values()), rel=0.25)
    assert found.total.tokens == pytest.approx(sum(one.tokens for one in spent.values()), rel=0.25)


# --- resuming -------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [1, 17, 40, 90])
def test_a_resumed_run_repeats_no_call_of_the_judge(tmp_path: Path, after: int) -> None:
    whole, _ = run(judged(target=wordy, searcher=TryAll(8), budget=Budget(calls=500)))
    first = judged(target=wordy, searcher=TryAll(8), budget=Budget(calls=500))
    left = after

    def dies(request: GenerateRequest) -> str:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return honest(question(request))

    judge = fake(dies, "judge")
    with pytest.raises(Killed):
        run(replace(first, models={**first.models, "judge": judge}), tmp_path / "run")
    second = judged(target=wordy, searcher=TryAll(8), budget=Budget(calls=500))
    study, _ = run(second, tmp_path / "run")
    asked_before = [question(request) for request in judge.requests][:after]
    asked_again = [question(request) for request in second.models["judge"].requests]  # type: ignore[attr-defined]
    assert not set(asked_before) & set(asked_again)
    assert study.verdict == whole.verdict
    assert study.best == whole.best
    assert study.judge_check == whole.judge_check


def test_a_run_that_reuses_another_takes_over_what_its_judge_said(tmp_path: Path) -> None:
    run(judged(target=wordy), tmp_path / "first")
    again = judged(target=wordy)
    study = execute(again, reuse=[tmp_path / "first"])
    assert calls(again, "judge") == 0
    assert study.spent["judge"].calls == 0


def test_other_criteria_are_other_questions_about_the_same_answers(tmp_path: Path) -> None:
    run(judged(target=wordy), tmp_path / "first")
    again = judged(target=wordy)
    task = replace(again.task, reward=Judge("It is in capitals."))
    execute(replace(again, task=task), reuse=[tmp_path / "first"])
    assert calls(again, "target") == 0
    assert calls(again, "judge") > 60


def test_another_judge_is_another_run(tmp_path: Path) -> None:
    run(judged(), tmp_path / "run")
    setup = judged()
    other = replace(setup, models={**setup.models, "judge": fake(lambda r: "5", "another")})
    with pytest.raises(po.errors.JournalError, match="another model"):
        run(other, tmp_path / "run")


def test_a_search_that_is_ended_by_its_budget_keeps_what_was_judged() -> None:
    setup = judged(target=wordy, searcher=TryAll(8), budget=Budget(calls=330))
    study, notices = run(setup)
    assert study.stopped == "budget"
    assert any("search ended" in text for text in notices)
    assert len([one for one in study.candidates if one.search is not None]) > 1
