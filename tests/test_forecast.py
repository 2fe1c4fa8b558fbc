"""What a run will probably take, against what it takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import pytest
from toys import TryAll, chance, fake, make_setup, proposer_reply, target_reply
from worlds import make_world

from promptopt.api import forecast
from promptopt.config import load_job
from promptopt.contracts.model import Capabilities, LikelihoodRequest, ModelIdentity
from promptopt.errors import ModelError
from promptopt.forecast import Forecast, foresee
from promptopt.habits import Habits
from promptopt.programs import SelfConsistency
from promptopt.prompt import Prompt
from promptopt.records import Budget, Message, Price
from promptopt.rehearsal import StandIn, rehearse
from promptopt.rewards.likelihood import LogLikelihood, OptionLikelihood
from promptopt.run import execute


def here(reply: Any, name: str) -> Any:
    """Return a model of this machine."""
    model = fake(reply, name)
    model.identity = ModelIdentity("local", name, "1")
    return model


def local(**changes: Any) -> Any:
    models = {"target": here(target_reply, "target"), "proposer": here(proposer_reply, "proposer")}
    return make_setup(models=models, **changes)


def expected(found: Forecast | str) -> Forecast:
    assert isinstance(found, Forecast), found
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"budget": Budget(calls=150)},
        {"samples": 2},
        {"prompt": Prompt("Do something.", program=SelfConsistency(n=3))},
        {"searcher": TryAll(4), "finalists": 2},
    ],
)
def test_calls_and_tokens_are_near_what_the_run_takes(changes: dict[str, Any]) -> None:
    found = expected(foresee(lambda: local(**changes)))
    total = execute(local(**changes)).total
    assert found.total.calls == pytest.approx(total.calls, rel=0.25)
    assert found.total.tokens == pytest.approx(total.tokens, rel=0.25)
    assert found.seconds is not None


def test_dollars_are_reckoned_by_the_prices_and_stay_under_the_cap() -> None:
    prices = {"target": Price(1000, 1000), "proposer": Price(1000, 1000)}
    found = expected(foresee(lambda: local(prices=prices)))
    assert found.total.usd == pytest.approx(found.total.tokens / 1000)
    capped = expected(foresee(lambda: local(prices=prices, budget=Budget(usd=2.0))))
    assert 0.5 < capped.total.usd <= 2.0


def test_models_elsewhere_are_asked_nothing_and_what_is_not_known_is_said() -> None:
    setups = [make_setup(), make_setup()]
    given = iter([*setups, make_setup()])
    found = expected(foresee(lambda: next(given)))
    assert sum(model.calls for setup in setups for model in setup.models.values()) == 0
    assert found.seconds is None
    assert any("seconds of target and proposer are not known" in note for note in found.notes)
    assert any("the price of target and proposer is not known" in note for note in found.notes)


def test_a_stated_latency_gives_the_seconds_of_waves_side_by_side() -> None:
    class Side:
        """A model elsewhere that answers ten at once."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.identity = inner, inner.identity
            self.capabilities = Capabilities(concurrency=10)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    def make() -> Any:
        models = {role: Side(model) for role, model in make_setup().models.items()}
        return make_setup(models=models, searcher=Nothing())

    found = expected(foresee(make, latency=2.0))
    # 20 search rows, 15 select rows and 25 test rows in waves of at most 10
    assert found.seconds == pytest.approx(2.0 * (2 + 2 + 3), abs=1.5)


@dataclass
class Nothing:
    """Propose nothing."""

    def search(self, session: Any) -> None:
        pass


class Picky:
    """Make nothing of any proposal."""

    def search(self, session: Any) -> None:
        session.propose([[Message("user", "Write an instruction.")]], 2)
        raise ModelError("searcher picky", "the proposals hold no instruction")


def test_a_search_that_cannot_be_rehearsed_is_said_not_to_be_known() -> None:
    found = foresee(lambda: local(searcher=Picky()))
    assert isinstance(found, str)
    assert "cannot be rehearsed" in found


@pytest.mark.parametrize("place", ["searcher", "entrants"])
def test_a_search_that_trains_is_not_rehearsed(place: str) -> None:
    @dataclass
    class Trainer:
        trains = "a model"

        def search(self, session: Any) -> None:
            raise AssertionError("it was rehearsed")

    given = (
        {"searcher": Trainer()} if place == "searcher" else {"entrants": {"try": TryAll(2), "rl": Trainer()}}
    )
    assert foresee(lambda: local(**given)) == (
        "the search trains a model, which cannot be rehearsed without training it"
    )


def test_the_seed_prompts_share_is_learned_and_prompts_differ_in_the_rehearsal() -> None:
    found = expected(foresee(local))
    assert any(
        "get 0% of the rows right" in note for note in found.notes
    )  # the toy's seed prompt does nothing
    stand_in = StandIn("target", Capabilities(), "Do it.", Habits(right=0.8))
    row = [[Message("user", f"Do it.\n\nInput: {i}")] for i in range(2000)]
    assert sum(map(stand_in._is_right, row)) / 2000 == pytest.approx(0.8, abs=0.04)
    shares = [
        sum(stand_in._is_right([Message("user", f"Rehearsal {k:08x}.\n\nInput: {i}")]) for i in range(300))
        for k in range(12)
    ]
    assert max(shares) - min(shares) > 30


def test_likelihoods_are_rehearsed_too() -> None:
    rehearsal = rehearse(make_setup(reward=LogLikelihood()), {"target": Habits(), "proposer": Habits()})
    assert rehearsal.spent["target"].calls > 20


def weighing() -> Any:
    """Return a model of this machine that gives log-likelihoods, by the row alone."""
    model = here(target_reply, "target")
    model.likelihood = lambda request: -9 * chance(request.messages[-1].content[-8:] + request.continuation)
    return model


def weighed(**changes: Any) -> Any:
    return make_setup(models={"target": weighing(), "proposer": here(proposer_reply, "proposer")}, **changes)


def test_real_valued_scores_of_the_trial_say_what_gain_can_be_seen() -> None:
    power = expected(foresee(lambda: weighed(reward=LogLikelihood()))).power
    task = weighed(reward=LogLikelihood()).task
    asked = [LikelihoodRequest(task.seed_prompt.render(row), row.answer) for row in task.splits.search]
    scores = [outcome.logprob for _, outcome in weighing().loglikelihood(asked)]
    assert power is not None
    assert power.discordance == pytest.approx(statistics.variance(scores))
    assert "on the 20 search rows tried" in power.line
    assert power.rows == 25


def test_scores_of_0_and_1_and_models_elsewhere_leave_the_power_to_the_plan() -> None:
    assert expected(foresee(local)).power is None
    assert expected(foresee(lambda: make_setup(reward=LogLikelihood()))).power is None


def test_options_are_judged_by_the_real_reward_in_the_trial() -> None:
    given = [{"input": f"q{i}", "options": ["a", "b" * (1 + i % 5)], "output": "a"} for i in range(60)]
    power = expected(foresee(lambda: weighed(reward=OptionLikelihood(value="probability"), rows=given))).power
    assert power is not None
    assert power.unit == "points"


def test_a_job_file_is_foreseen_without_a_call(tmp_path: Any) -> None:
    found = expected(forecast(load_job(make_world(tmp_path)), latency=0.1))
    assert found.total.calls > 100
