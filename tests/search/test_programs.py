"""The searcher `programs`: which programs it tries, and what it keeps."""

from __future__ import annotations

from typing import Any

import pytest
from toys import fake, make_setup, proposer_reply, read_input

from promptopt.contracts.model import GenerateRequest
from promptopt.errors import ConfigError, UnsupportedError
from promptopt.programs import ChainOfThought, SelfConsistency
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Budget, FrozenMap
from promptopt.run import execute
from promptopt.search.programs import Programs
from promptopt.testing.searcher import check_searcher


def test_it_keeps_the_contract() -> None:
    check_searcher(Programs(), cuts=4)


def target(request: GenerateRequest) -> str:
    """Be right only after having reasoned."""
    word = read_input(request.messages[0].content)
    return word.upper() if len(request.messages) > 1 else word


def run_programs(searcher: Programs, **changes: Any) -> Any:
    models = {"target": fake(target, "target"), "proposer": fake(proposer_reply, "proposer")}
    return execute(make_setup(searcher=searcher, models=models, **changes))


def test_the_program_that_is_right_wins_and_the_prompt_stays_as_it_is() -> None:
    study = run_programs(Programs())
    assert study.best.program == ChainOfThought()
    assert (study.best.instruction, study.best.origin) == ("Do something.", "programs/chain_of_thought")
    assert study.best.parents == (study.seed_prompt.id,)
    assert study.verdict.reliable
    names = [candidate.prompt.program.name for candidate in study.candidates]
    assert names == ["single", "chain_of_thought", "self_consistency", "least_to_most"]


def test_reasoning_by_example_is_tried_where_there_are_examples() -> None:
    demo = Demonstration(FrozenMap({"input": "ant"}), "Think of ant in capitals. The answer is ANT.")
    study = run_programs(Programs(("few_shot_chain_of_thought",)), prompt=Prompt("Do it.", (demo,)))
    names = [candidate.prompt.program.name for candidate in study.candidates]
    assert names == ["single", "few_shot_chain_of_thought"]


def test_programs_of_more_calls_are_held_back_for_so_that_the_budget_reaches_the_verdict() -> None:
    """Two calls a cell: 6 x 15 select and 2 x 25 test cells take twice the calls they would with one."""
    study = run_programs(Programs(("chain_of_thought",)), budget=Budget(calls=230))
    assert study.best.program == ChainOfThought()
    assert study.verdict.n == 25
    assert study.total.calls <= 230


def test_a_program_that_the_budget_cannot_prove_ends_no_search_and_is_no_finalist() -> None:
    """Least-to-most takes up to 6 calls a cell: 2 x 15 select and 2 x 25 test cells are 480 calls at most."""
    study = run_programs(Programs(("least_to_most", "chain_of_thought")), budget=Budget(calls=330))
    assert [c.prompt.program.name for c in study.candidates if c.search] == [
        "single", "least_to_most", "chain_of_thought",
    ]  # fmt: skip
    assert study.best.program == ChainOfThought()
    assert {c.prompt.program.name for c in study.candidates if c.select} == {"single", "chain_of_thought"}
    assert study.verdict.n == 25
    assert study.total.calls <= 330


def test_options_are_those_of_the_program_and_mistakes_stop_before_anything_is_bought() -> None:
    study = run_programs(Programs(({"name": "self_consistency", "n": 3},)))
    assert SelfConsistency(3) in [candidate.prompt.program for candidate in study.candidates]
    for given, message in (("votes", "unknown program 'votes'"), (3, "not a program")):
        with pytest.raises(ConfigError, match=message):
            Programs((given,))


def test_a_weighted_vote_of_a_target_without_likelihoods_stops_the_search() -> None:
    with pytest.raises(UnsupportedError, match="tells no log-probabilities"):
        run_programs(Programs(({"name": "self_consistency", "vote": "weighted"},)))
