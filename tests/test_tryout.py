"""What replies of a tried model are worth."""

from dataclasses import replace

from toys import make_setup

from promptopt.contracts.model import Completion, Failure, GenerateRequest
from promptopt.programs import SelfConsistency
from promptopt.prompt import Prompt
from promptopt.template import Template
from promptopt.tryout import requests_of, scores, seed_scores


def test_replies_are_judged_row_by_row_as_far_as_they_go():
    setup = make_setup()
    rows = setup.task.splits.search[:4]
    outcomes = [Completion(rows[0].answer), Completion("no"), Failure("error")]
    assert scores(setup, rows, outcomes) == [1.0, 0.0, None]
    assert seed_scores(setup, outcomes) == [1.0, 0.0]


def test_a_reward_that_chokes_scores_nothing():
    class Choking:
        needs = "text"

        def __call__(self, example, output):
            raise ValueError("no")

        def extract(self, text):
            return text

    setup = make_setup(reward=Choking())
    assert scores(setup, setup.task.splits.search[:1], [Completion("x")]) == [None]


def test_only_prompts_that_make_one_call_and_can_be_rendered_are_asked():
    setup = make_setup()
    rows = setup.task.splits.search[:3]
    ((one,), *_) = asked = requests_of(setup, Prompt("Say it."), rows)
    assert len(asked) == 3
    assert isinstance(one, GenerateRequest)
    assert one.decoding == setup.decoding
    assert requests_of(setup, replace(Prompt("Say it."), program=SelfConsistency(n=3)), rows) == []
    assert requests_of(setup, Prompt("x", template=Template(user="{{nobody}}")), rows) == []
