"""Models of this machine, tried on what a run will ask."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from toys import fake, make_setup, proposer_reply, read_input, target_reply, user_text

from promptopt.contracts.model import Capabilities, GenerateRequest, ModelIdentity, Request
from promptopt.habits import Habits
from promptopt.records import Message
from promptopt.rehearsal import PROPOSED, StandIn, rehearse
from promptopt.search.demos import Demos
from promptopt.trial import MOST, Trial, _line, _spread, _variety


def here(reply: Any, name: str) -> Any:
    model = fake(reply, name)
    model.identity = ModelIdentity("local", name, "1")
    return model


def local() -> Any:
    return make_setup(
        models={"target": here(target_reply, "target"), "proposer": here(proposer_reply, "proposer")}
    )


HABITS = {"target": Habits(), "proposer": Habits()}


def test_the_target_is_tried_on_what_the_proposer_really_says() -> None:
    setup = local()
    trial = Trial(setup)
    first = trial.first(rehearse(local(), HABITS), HABITS)
    assert first["proposer"].instruction < 40  # "Write it in capitals.", not 80 bytes
    assert first["proposer"].variety is not None
    asked = setup.models["target"].requests
    del asked[:]
    trial.throughout(rehearse(local(), HABITS | first), HABITS | first)
    texts = [request.messages[-1].content for request in asked]
    assert not any(PROPOSED.search(text) for text in texts)
    assert any(text.startswith(("Write it in capitals", "Use upper case")) for text in texts)


def test_each_proposal_has_a_text_of_its_own_until_all_pairs_are_used_up() -> None:
    trial = Trial(local())
    trial._texts = ["write the first one down", "say what it is", "give me the last word of it"]
    found = [trial._proposal(f"{number:08x}") for number in range(6)]
    assert len(set(found)) == 6
    assert trial._proposal("00000004") == found[4]


def follows_examples(request: GenerateRequest) -> str:
    """Write capitals once two examples show it."""
    text = user_text(request)
    word = read_input(text)
    return word.upper() if text.count("Input: ") > 2 else word


def with_demonstrations(method: Literal["random", "bootstrap"] = "random") -> Any:
    return make_setup(models={"target": here(follows_examples, "target")}, searcher=Demos(method))


def test_prompts_that_a_run_may_make_meet_the_first_rows() -> None:
    habits = {"target": Habits()}
    setup = with_demonstrations()
    trial = Trial(setup)
    habits |= trial.first(rehearse(with_demonstrations(), habits), habits)
    found = trial.throughout(rehearse(with_demonstrations(), habits), habits)["target"]
    seed, *others = found.tried
    assert seed.right == 0
    assert {one.right / one.rows for one in others} == {0.0, 1.0}  # one example shown, or more
    assert found.right_with(round(max(one.size for one in others))) > 0.9
    again = rehearse(with_demonstrations(), {"target": found})
    best = max(again.prompts, key=lambda prompt: len(prompt.demonstrations))
    row = setup.task.splits.search[0]
    stand_in = StandIn("target", Capabilities(), "", found)
    assert stand_in._is_right(best.render(row))
    assert not stand_in._is_right(setup.task.seed_prompt.render(row))


def test_a_prompt_that_shows_what_a_stand_in_said_is_not_tried() -> None:
    rehearsed = rehearse(with_demonstrations("bootstrap"), {"target": Habits(right=0.9)})
    assert [prompt for prompt in rehearsed.prompts if prompt.demonstrations] == []
    assert len(rehearse(with_demonstrations(), {"target": Habits()}).prompts) > 4


def test_models_elsewhere_are_not_tried() -> None:
    setup = make_setup()
    trial = Trial(setup)
    assert trial.models == {}
    assert trial.first(rehearse(make_setup(), HABITS), HABITS) == {}
    assert all(model.calls == 0 for model in setup.models.values())


def requests(number: int) -> list[Request]:
    return [GenerateRequest((Message("user", str(place)),)) for place in range(number)]


def test_batches_are_met_as_often_as_their_calls() -> None:
    batches = [requests(4), requests(96), requests(100)]
    met = [len(batch) for batch in _spread(batches, MOST)]
    assert met[:2] == [96, 100] or met[:2] == [96, 100][::-1]
    parts = list(_spread(batches, 10))
    assert all(len(part) <= 10 for part in parts)
    assert len(parts) > 10
    assert list(_spread([], 10)) == []


@pytest.mark.parametrize(("drawn", "different", "texts"), [(10, 10, None), (30, 4, 4), (20, 15, 31)])
def test_how_many_texts_there_are_is_told_by_how_many_of_those_drawn_differ(
    drawn: int, different: int, texts: int | None
) -> None:
    found = _variety(drawn, different)
    assert found == texts or (found is not None and texts is not None and abs(found - texts) <= 3)


def test_a_batch_and_its_calls_take_their_own_shares() -> None:
    assert _line([(8, 0.18), (16, 0.26), (128, 1.38)]) == pytest.approx((0.1, 0.01))
    assert _line([(10, 0.5)]) == (0.0, 0.05)
    assert _line([(10, 1.0), (100, 1.0), (20, 2.0)])[1] > 0
