"""A run in its folder: interrupted, stopped, taken up again, and what it leaves there."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toys import (
    Named,
    TryAll,
    fake,
    make_setup,
    proposer_reply,
    read_input,
    target_reply,
    user_text,
)

from promptopt.contracts.model import Failure
from promptopt.errors import JournalError, ModelError, StopRequested
from promptopt.events import Tick
from promptopt.prompt import Prompt
from promptopt.records import Budget
from promptopt.report.archive import Archive
from promptopt.run import execute
from promptopt.runfolder import RunFolder


def test_the_folder_holds_the_run(tmp_path):
    folder = RunFolder.create(tmp_path / "runs", "toy run")
    study = execute(make_setup(), folder)
    assert folder.path.name == "toy-run-001"
    assert (tmp_path / "runs" / "latest").resolve() == folder.path.resolve()
    result = folder.result()
    assert result["line"] == study.verdict.line
    assert Prompt.load(folder.path / "best" / "prompt.json") == study.best
    lines = (folder.path / "candidates.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [c.prompt.id for c in study.candidates]
    assert RunFolder.create(tmp_path / "runs", "toy run").path.name == "toy-run-002"


class Cut(Exception):
    """Stands for a kill between two calls."""


def cut_after(n, reply):
    count = [0]

    def answer(request):
        count[0] += 1
        if count[0] > n:
            raise Cut
        return reply(request)

    return answer


@pytest.mark.parametrize("after", [0, 1, 7, 19, 33, 60, 100, 140])
def test_a_run_cut_anywhere_goes_on_to_the_same_end(tmp_path, after):
    whole = execute(make_setup())
    folder = RunFolder(tmp_path / "run")
    models = {
        "target": fake(cut_after(after, target_reply), "target"),
        "proposer": fake(proposer_reply, "proposer"),
    }
    with pytest.raises(Cut):
        execute(make_setup(models=models), folder)
    resumed = execute(make_setup(), folder)
    for part in ("best", "verdict", "candidates"):
        assert resumed.to_dict()[part] == whole.to_dict()[part]
    assert resumed.total.calls == whole.total.calls + 1  # the call that was cut off may have been billed


def test_another_job_cannot_go_on_in_the_same_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(), folder)
    with pytest.raises(JournalError, match="another job or other rows"):
        execute(make_setup(n=61), folder)


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claimed(), pytest.raises(JournalError, match="another process"):
        execute(make_setup(), folder)


def test_failures_can_be_tried_again_on_resume(tmp_path):
    folder = RunFolder(tmp_path / "run")
    setup = make_setup()
    broken = {**setup.models, "target": fake(lambda _: Failure("server", "down"), "target")}
    with pytest.raises(ModelError):
        execute(replace(setup, models=broken), folder)
    with pytest.raises(ModelError):
        execute(make_setup(), folder)
    assert execute(make_setup(), folder, retry_failed=True).verdict.reliable


def test_answers_of_an_earlier_run_are_free(tmp_path):
    old = RunFolder(tmp_path / "old")
    first = execute(make_setup(), old)
    calls = []
    models = {
        "target": fake(lambda r: calls.append(r) or target_reply(r), "target"),
        "proposer": fake(lambda r: calls.append(r) or proposer_reply(r), "proposer"),
    }
    second = execute(make_setup(models=models), RunFolder(tmp_path / "new"), reuse=[old.path])
    assert not calls
    assert second.total.calls == 0
    assert second.verdict == first.verdict


def test_workdir_is_inside_the_folder(tmp_path):
    seen = []

    class Where(TryAll):
        def search(self, session):
            seen.append(session.workdir)
            assert session.can("target", "insert") is False

    execute(make_setup(searcher=Where()), RunFolder(tmp_path / "run"))
    execute(make_setup(searcher=Where()))
    assert seen[0] == Path(tmp_path / "run" / "work")
    assert not seen[1].exists()


def test_the_finalists_are_decided_once_in_the_life_of_a_run(tmp_path):
    def cut_in_the_proof(request):
        if read_input(user_text(request)) in tested and "capitals" in user_text(request):
            raise Cut
        return target_reply(request)

    texts = ("Say a.", "Say b.", "Say c.", "Use capitals.")
    budget = Budget(calls=260)
    whole = execute(make_setup(searcher=Named(*texts), budget=budget))
    tested = {e.inputs["input"] for e in make_setup().task.splits.open_test("to cut there")}
    folder = RunFolder(tmp_path / "run")
    models = {"target": fake(cut_in_the_proof, "target"), "proposer": fake(proposer_reply, "proposer")}
    with pytest.raises(Cut):
        execute(make_setup(searcher=Named(*texts), budget=budget, models=models), folder)
    resumed = execute(make_setup(searcher=Named(*texts), budget=budget), folder)
    assert resumed.best == whole.best
    assert [c.prompt for c in resumed.candidates if c.select] == [
        c.prompt for c in whole.candidates if c.select
    ]


def test_another_model_cannot_go_on_with_a_run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(), folder)
    models = {"target": fake(target_reply, "another"), "proposer": fake(proposer_reply, "proposer")}
    with pytest.raises(JournalError, match="another model"):
        execute(make_setup(models=models), folder)


def test_a_stop_file_ends_a_run_and_keeps_what_was_under_way(tmp_path):
    folder = RunFolder(tmp_path / "run")
    asked = []

    def reply(request):
        asked.append(request)
        if len(asked) == 50:
            folder.stop_file.touch()
        time.sleep(0.005)
        return target_reply(request)

    models = {**make_setup().models, "target": fake(reply, "target")}
    with pytest.raises(StopRequested):
        execute(make_setup(models=models), folder)
    bought = len(asked)
    assert 50 <= bought < 150
    assert folder.state == "interrupted"
    with Archive(folder.journal) as archive:
        assert archive.lost() == {}
        assert archive.calls()["target"][0] == bought
    study = execute(make_setup(models=models), folder)  # a stop asked for earlier is over
    assert study.verdict.reliable
    assert len(asked) == len({(r.messages, r.sample) for r in asked})


def test_a_stop_ends_a_competition_rather_than_one_searcher(tmp_path):
    folder = RunFolder(tmp_path / "run")

    def reply(request):
        folder.stop_file.touch()
        time.sleep(0.3)  # longer than between two looks
        return target_reply(request)

    models = {**make_setup().models, "target": fake(reply, "target")}
    with pytest.raises(StopRequested):
        execute(make_setup(models=models, entrants={"one": TryAll(1), "two": TryAll(2)}), folder)


def test_the_rows_in_the_folder_are_sealed_until_the_test_rows_are_opened(tmp_path):
    folder, splits = RunFolder(tmp_path / "run"), []

    class Peeks:
        def search(self, session):
            splits.append({split for split, _ in folder.rows().values()})
            TryAll().search(session)

    execute(make_setup(searcher=Peeks()), folder)
    assert splits == [{"search", "select"}]
    rows = folder.rows()
    assert {split for split, _ in rows.values()} == {"search", "select", "test"}
    assert len(rows) == 60
    assert rows["7"][1].answer == "HEN7"


def test_training_is_told_while_it_goes_on_and_can_be_stopped(tmp_path):
    class Trains:
        def search(self, session):
            for _ in range(400):
                time.sleep(0.01)
                session.spend(8, 100)

    seen = []
    folder = RunFolder(tmp_path / "run")

    def listen(event):
        if isinstance(event, Tick) and "trainer" in event.spent:
            seen.append(event.spent["trainer"].calls)
            if len(seen) == 20:
                folder.stop_file.touch()

    with pytest.raises(StopRequested):
        execute(make_setup(searcher=Trains()), folder, listen=listen)
    assert seen[:3] == [8, 16, 24]
    assert 20 <= len(seen) < 400
