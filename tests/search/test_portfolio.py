"""The portfolio's own decisions: who gets the next slice, where it starts, how much it may spend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from toys import chance, fake, make_setup, proposer_reply, read_input, target_reply, user_text

from promptopt.contracts.model import GenerateRequest
from promptopt.errors import AuthError, BudgetExhausted, ConfigError, ModelError, PluginError
from promptopt.events import Notice, ignore
from promptopt.prompt import Prompt
from promptopt.records import Budget
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.search.portfolio import Portfolio, _Member, _next
from promptopt.splits import Sizes
from promptopt.testing.searcher import check_searcher

SMALL_APE = {"name": "ape", "num_subsamples": 2, "num_prompts_per_subsample": 2, "variations": 1, "keep": 2}


def test_it_keeps_the_contract() -> None:
    check_searcher(Portfolio((SMALL_APE, {"name": "paraphrases", "n": 3}), rounds=2), cuts=4)


def level_of(text: str) -> int:
    """Return k of an instruction `Level k`; 0 for any other."""
    return int(text.split()[1]) if text.startswith("Level ") else 0


def target(request: GenerateRequest) -> str:
    """Be right on k tenths of the rows at level k."""
    text = user_text(request)
    word = read_input(text)
    return word.upper() if int(word[-1]) < level_of(text) else word


@dataclass
class Climber:
    """Write a level `step` above that of the prompt it starts from, and note where it started."""

    name: str
    step: int
    log: list[tuple[str, Any]] = field(default_factory=list, compare=False)

    def search(self, session: Any) -> None:
        seed = session.task.seed_prompt
        self.log.append((self.name, [p.instruction for p in (seed, *session.task.starts)]))
        level = level_of(seed.instruction) + self.step
        text = f"Level {min(9, level)}" if self.step else f"Nothing {len(self.log)}."
        session.score([seed.child(instruction=text, origin=self.name)])


def run_portfolio(portfolio: Portfolio, calls: int | None = None, listen: Any = ignore) -> Any:
    models = {"target": fake(target, "target"), "proposer": fake(proposer_reply, "proposer")}
    return execute(make_setup(searcher=portfolio, budget=Budget(calls=calls), models=models), listen=listen)


def test_after_one_slice_each_from_the_seed_prompt_the_best_is_the_start_and_improvement_gets_more() -> None:
    log: list[tuple[str, Any]] = []
    idle, climb = Climber("idle", 0, log), Climber("climb", 2, log)
    run_portfolio(Portfolio((idle, climb), rounds=3, keep=2))
    names = [name for name, _ in log]
    # One slice each. Then the one that improves, until the other has waited for two rounds (four turns).
    assert names == ["idle", "climb", "climb", "climb", "climb", "idle"]
    starts = [start for _, start in log]
    assert starts[:2] == [["Do something."], ["Do something."]]
    assert starts[2] == ["Level 2", "Do something."]
    assert starts[3] == ["Level 4", "Level 2"]
    assert starts[5][0] == "Level 8", "the idle one goes on from what the other has found"


def test_while_nothing_improves_they_take_turns() -> None:
    log: list[tuple[str, Any]] = []
    run_portfolio(Portfolio(tuple(Climber(name, 0, log) for name in "abc"), rounds=2))
    assert "".join(name for name, _ in log) == "abcabc"


def test_the_next_slice_goes_to_the_fresh_then_the_long_waiting_then_the_best() -> None:
    def member(name: str, credit: float, last: int) -> _Member:
        return _Member(name, Climber(name, 0), credit=credit, slices=last + 1, last=last)

    members = [member("a", 0.2, 7), member("b", 0.3, 6), member("c", 0.0, 2)]
    assert _next(members, 8, 2).name == "b"
    assert _next(members, 9, 2).name == "c"
    assert _next([*members, member("d", 0.0, -1)], 8, 2).name == "d"
    assert _next([member("a", 0.1, 7), member("b", 0.1, 6)], 8, 2).name == "b"


@dataclass
class Spender:
    """Score prompts without end."""

    spent: list[int] = field(default_factory=list, compare=False)

    def search(self, session: Any) -> None:
        first = session.remaining.calls
        self.spent.append(first)
        number = len(session.known)
        while True:
            number += 1
            session.score([session.task.seed_prompt.child(instruction=f"Try {number}.", origin="x")], 5)


def test_no_slice_passes_its_calls_and_all_slices_together_use_the_budget() -> None:
    spender = Spender()
    study = run_portfolio(Portfolio((spender, Climber("c", 0)), rounds=2), calls=600)
    assert len(spender.spent) == 2
    # 600 less the baseline (20) and the finals held back (6 x 15 + 2 x 25): a quarter of 440 is 110.
    assert spender.spent[0] == 110
    assert study.total.calls <= 600
    fixed = Spender()
    run_portfolio(Portfolio((fixed, Climber("c", 0)), rounds=2, slice=17))
    assert fixed.spent == [17, 17]


def test_the_end_of_the_runs_budget_is_no_end_of_a_slice() -> None:
    study = run_portfolio(Portfolio((Spender(),), rounds=3, slice=1000), calls=400)
    assert study.stopped == "budget"
    assert study.total.calls <= 400


def test_many_proposals_are_cut_so_that_some_calls_are_left_to_score_them() -> None:
    got: list[int] = []

    class Eager:
        def search(self, session: Any) -> None:
            replies = session.propose([[("user", "Write.")], [("user", "Write more.")]], 50)
            got.append(sum(map(len, replies)))

    run_portfolio(Portfolio((Eager(),), rounds=1, slice=40))
    assert got == [20]


@dataclass
class Broken:
    """Fail with what it was given."""

    error: Exception = field(default_factory=lambda: ModelError("searcher broken", "no instruction"))

    def search(self, session: Any) -> None:
        raise self.error


def test_a_searcher_that_fails_drops_out_and_is_told_of() -> None:
    heard: list[Any] = []
    log: list[tuple[str, Any]] = []
    study = run_portfolio(Portfolio((Broken(), Climber("climb", 3, log)), rounds=2), listen=heard.append)
    assert [name for name, _ in log] == ["climb"] * 3
    assert study.best.instruction == "Level 9"
    notes = [event.text for event in heard if isinstance(event, Notice)]
    assert "portfolio: Broken is out: searcher broken: no instruction" in notes


def test_when_all_have_failed_the_last_reason_is_raised_and_a_bad_key_stops_at_once() -> None:
    with pytest.raises(ModelError, match="searcher broken"):
        run_portfolio(Portfolio((Broken(), Broken())))
    with pytest.raises(AuthError):
        run_portfolio(Portfolio((Broken(AuthError("model", "refused")), Climber("c", 1))))
    with pytest.raises(ZeroDivisionError):
        run_portfolio(Portfolio((Broken(ZeroDivisionError()), Climber("c", 1))))


def test_by_default_guesses_reflection_and_demonstrations_share_a_budget() -> None:
    def write(request: GenerateRequest) -> str:
        return f"Use upper case letters {chance(f'{user_text(request)}{request.sample}'):.6f}."

    models = {"target": fake(target_reply, "target"), "proposer": fake(write, "proposer")}
    study = execute(make_setup(searcher=Portfolio(), budget=Budget(calls=900), models=models))
    origins = {candidate.prompt.origin.split("/")[0] for candidate in study.candidates}
    assert {"ape", "reflect", "demos"} <= origins
    assert study.total.calls <= 900
    assert study.best.instruction != "Do something."


def test_wrong_searchers_are_refused_before_anything_is_bought() -> None:
    with pytest.raises(PluginError, match="searcher 'apee': no such plug-in"):
        Portfolio(("apee",))
    with pytest.raises(PluginError, match="unknown option 'm'"):
        Portfolio(({"name": "ape", "m": 3},))
    with pytest.raises(ConfigError, match="holds none"):
        Portfolio(())
    with pytest.raises(ConfigError, match="not a searcher"):
        Portfolio((3,))


def test_limits_nest_and_let_the_run_s_own_end_pass() -> None:
    seen: list[Any] = []

    class Nested:
        def search(self, session: Any) -> None:
            prompts = iter(Prompt(f"Try {n}.") for n in range(99))
            with session.limit(30):
                with session.limit(50):
                    seen.append(session.remaining.calls)
                with session.limit(10):
                    session.score([next(prompts)], 10)
                    session.score([next(prompts)], 10)
                    seen.append("not reached")
                seen.append(session.remaining.calls)
                session.score([next(prompts)], 20)
                seen.append(session.remaining.calls)
            seen.append(session.remaining.calls)

    run_portfolio(Nested())  # type: ignore[arg-type]
    assert seen == [30, 20, 0, None]

    class Beyond:
        def search(self, session: Any) -> None:
            with session.limit(10_000):
                for n in range(99):
                    session.score([Prompt(f"Try {n}.")])
            seen.append("not reached either")

    assert run_portfolio(Beyond(), calls=300).stopped == "budget"  # type: ignore[arg-type]
    assert "not reached either" not in seen
    assert issubclass(BudgetExhausted, Exception)


def test_a_finished_run_takes_the_same_path_again_and_buys_nothing(tmp_path) -> None:
    """What a slice had no room for may have been bought by a later one."""
    made: list[GenerateRequest] = []

    def propose(request: GenerateRequest) -> str:
        it = chance(f"{user_text(request)}{request.sample}")
        return "Write it in capitals." if it < 0.1 else f"Use upper case letters {it:.3f}."

    models = {
        "target": fake(lambda r: made.append(r) or target_reply(r), "target"),
        "proposer": fake(lambda r: made.append(r) or propose(r), "proposer"),
    }
    sizes = Sizes(search=16, select=10, test=20)

    def run() -> Any:
        setup = make_setup(n=46, sizes=sizes, searcher=Portfolio(), models=models, budget=Budget(calls=260))
        return execute(setup, RunFolder(tmp_path / "run"))

    first = run()
    bought = len(made)
    again = run()
    assert len(made) == bought == first.total.calls
    assert (again.best, again.verdict) == (first.best, first.verdict)
    assert again.total.calls == first.total.calls
