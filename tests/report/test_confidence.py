from __future__ import annotations

import math
from pathlib import Path

import pytest
from toys import fake, make_setup, target_reply

from promptopt.contracts.model import Completion, GenerateRequest, LikelihoodRequest, ModelIdentity
from promptopt.programs import SelfConsistency
from promptopt.prompt import Prompt
from promptopt.report.reading import read_run
from promptopt.rewards.likelihood import OptionLikelihood
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.testing.model import FakeModel


def test_the_confidence_of_options_is_that_of_the_reward(tmp_path: Path) -> None:
    """Two options at -0.1 and -0.1 - d nats: the chosen one has a chance of 1 / (1 + exp(-d))."""

    def logprob(request: LikelihoodRequest) -> float:
        told = "capitals" in request.messages[-1].content
        return -0.1 if request.continuation.startswith("yes") == told else -1.1

    rows = [
        {"id": str(i), "input": f"w{i}", "output": f"yes {i}", "options": [f"no {i}", f"yes {i}"]}
        for i in range(60)
    ]
    folder = RunFolder(tmp_path / "run")
    models = {
        "target": FakeModel(target_reply, likelihood=logprob, identity=ModelIdentity("python", "t", "1")),
        "proposer": fake(lambda _: "Write it in capitals.", "proposer"),
    }
    execute(make_setup(rows=rows, reward=OptionLikelihood(), models=models), folder)
    before, after = read_run(folder.path).calibrations
    sure = 1 / (1 + math.exp(-1.0))
    assert before.of == "the chosen option"
    assert [b.confidence for b in before.reliability.bins] == [pytest.approx(sure)]
    assert before.reliability.overconfidence == pytest.approx(sure)  # yours is always wrong
    assert after.reliability.overconfidence == pytest.approx(sure - 1)
    assert after.reliability.n == 25


def test_replies_with_log_probabilities_have_a_confidence_and_others_none(tmp_path: Path) -> None:
    def reply(request: GenerateRequest) -> Completion:
        return Completion(target_reply(request), logprob=math.log(0.75) if request.logprobs else None)

    def run(name: str, program: SelfConsistency) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        models = {"target": fake(reply, "target"), "proposer": fake(lambda _: "Write it in capitals.", "p")}
        execute(make_setup(prompt=Prompt("Do.", program=program), models=models), folder)
        return folder

    weighted = run("weighted", SelfConsistency(n=1, vote="weighted"))
    found = read_run(weighted.path).calibrations
    assert [one.of for one in found] == ["the whole reply, a token on average"] * 2
    assert found[0].reliability.bins[0].confidence == pytest.approx(0.75)
    plain = run("plain", SelfConsistency(n=1))
    assert read_run(plain.path).calibrations == ()
