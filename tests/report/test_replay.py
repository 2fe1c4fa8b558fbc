"""Every cell's calls are found again, exactly as they were sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judges import honest, judged, question
from toys import fake, make_setup, target_reply

from promptopt.contracts.model import Completion, GenerateRequest, LikelihoodRequest, ModelIdentity
from promptopt.programs import ChainOfThought, LeastToMost, SelfConsistency, Single
from promptopt.prompt import Prompt
from promptopt.report.archive import Archive
from promptopt.report.replay import Replay
from promptopt.rewards.judge import Judge
from promptopt.rewards.likelihood import LogLikelihood, OptionLikelihood
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.testing.model import FakeModel

HERE = ModelIdentity("python", "target", "1")


class Remembering:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, request: GenerateRequest) -> Any:
        self.asked.append(request.messages)
        return target_reply(request) if "Input: " in request.messages[-1].content else "so"


@pytest.mark.parametrize(
    "program",
    [Single(), Single(temperature=0.5), ChainOfThought(), SelfConsistency(n=3), LeastToMost(most=2)],
)
def test_the_calls_of_every_cell_are_those_that_were_sent(tmp_path: Path, program: Any) -> None:
    target, folder = Remembering(), RunFolder(tmp_path / "run")
    setup = make_setup(prompt=Prompt("Do something.", program=program))
    study = execute(
        make_setup(
            prompt=Prompt("Do something.", program=program),
            models={**setup.models, "target": FakeModel(target, identity=HERE)},
        ),
        folder,
    )
    rows, found = folder.rows(), []
    with Archive(folder.journal) as archive:
        replay = Replay(archive)
        assert replay.able
        for split in ("search", "select", "test"):
            for cell in archive.cells(study.best.id, split, "exact"):
                calls = replay.calls(study.best, rows[cell.example][1], cell.sample)
                assert calls
                last = calls[-1].outcome
                assert isinstance(last, Completion)
                assert isinstance(program, SelfConsistency) or last.text == cell.output
                found += [tuple(map(tuple, call.request["messages"])) for call in calls]
    sent = {tuple(map(tuple, messages)) for messages in target.asked}
    assert set(found) <= sent
    assert len(found) >= 60 * (1 if isinstance(program, Single) else 2)


def likelihood_run(folder: RunFolder, reward: Any) -> Any:
    def chance_of(request: LikelihoodRequest) -> float:
        told = "capitals" in request.messages[-1].content
        return -0.1 if request.continuation.startswith("yes") == told else -3.0

    rows = [
        {"id": str(i), "input": f"w{i}", "output": f"yes {i}", "options": [f"no {i}", f"yes {i}"]}
        for i in range(60)
    ]
    target = FakeModel(target_reply, likelihood=chance_of, identity=HERE)
    models = {"target": target, "proposer": fake(lambda _: "Write it in capitals.", "proposer")}
    return execute(make_setup(rows=rows, reward=reward, models=models), folder)


def test_the_likelihoods_of_options_and_of_an_answer_are_found(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "options")
    study = likelihood_run(folder, OptionLikelihood())
    row = folder.rows()["3"][1]
    with Archive(folder.journal) as archive:
        calls = Replay(archive).calls(study.best, row)
    assert [call.request["continuation"] for call in calls] == ["no 3", "yes 3"]
    assert [call.outcome.logprob for call in calls] == [-3.0, -0.1]  # type: ignore[union-attr]
    folder = RunFolder(tmp_path / "answer")
    study = likelihood_run(folder, LogLikelihood())
    with Archive(folder.journal) as archive:
        (call,) = Replay(archive).calls(study.best, folder.rows()["3"][1])
        assert call.request["continuation"] == "yes 3"
        other = Prompt("never asked")
        assert Replay(archive).calls(other, folder.rows()["3"][1]) == ()


def test_what_the_judge_was_asked_about_a_cell_is_found_with_its_second_question(tmp_path: Path) -> None:
    def hesitant(request: GenerateRequest) -> str:
        return honest(question(request)) if len(request.messages) > 2 else "Well."

    setup, folder = judged(), RunFolder(tmp_path / "run")
    study = execute(replace(setup, models={**setup.models, "judge": fake(hesitant, "judge")}), folder)
    with Archive(folder.journal) as archive:
        replay = Replay(archive)
        (cell, *_) = archive.cells(study.seed_prompt.id, "test", "exact")
        row = folder.rows()[cell.example][1]
        found = replay.opinions(setup.task.reward, row, cell.output)  # type: ignore[arg-type]
        assert [call.role for call in found] == ["judge", "judge"]
        first, second = (call.outcome for call in found)
        assert first == Completion("Well.", usage=first.usage)  # type: ignore[union-attr]
        assert "as it is" in second.text  # type: ignore[union-attr]
        assert replay.opinions(Judge("Other criteria."), row, cell.output) == ()
    plain = RunFolder(tmp_path / "plain")
    execute(make_setup(), plain)
    with Archive(plain.journal) as archive:
        assert Replay(archive).opinions(setup.task.reward, row, "x") == ()  # type: ignore[arg-type]
