"""Trackers hear of a run in order, and whatever they break is not the run's business."""

import threading
import time
from dataclasses import dataclass, field

import pytest
from toys import make_setup, proposer_reply, rows, target_reply
from worlds import JOB, make_world

import promptopt as po
from promptopt import tracking
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.errors import BadInput, ConfigError
from promptopt.events import Notice
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.testing.model import FakeModel


@dataclass
class Noting:
    """Keeps all it is told, and the thread it is told in."""

    told: list = field(default_factory=list)
    threads: set = field(default_factory=set)

    def begin(self, run):
        self.threads.add(threading.current_thread())
        self.told.append(("begin", run))

    def log(self, step, values):
        self.threads.add(threading.current_thread())
        self.told.append(("log", step, values))

    def end(self, summary):
        self.told.append(("end", summary))


@dataclass
class Breaking(Noting):
    """Breaks at one of its methods."""

    at: str = "begin"

    def _maybe(self, here):
        if here == self.at:
            raise ConnectionError("no way to https://me:s3cret@host/ with sk-abcdefghijklmnop")

    def begin(self, run):
        self._maybe("begin")

    def log(self, step, values):
        self._maybe("log")

    def end(self, summary):
        self._maybe("end")


def test_a_tracker_hears_the_whole_run_in_order_and_in_a_thread_of_its_own(tmp_path):
    tracker = Noting()
    study = execute(make_setup(trackers=[tracker]), RunFolder(tmp_path / "run"))
    kinds = [kind for kind, *_ in tracker.told]
    assert kinds == ["begin", *["log"] * (len(kinds) - 2), "end"]
    (_, run), (_, summary) = tracker.told[0], tracker.told[-1]
    assert (run.name, run.folder) == ("toy", tmp_path / "run")
    assert run.settings["target"] == "python/target"
    assert run.settings["rows.test"] == 25
    steps = [step for kind, step, *_ in tracker.told if kind == "log"]
    assert steps == sorted(steps)
    assert steps[-1] == study.total.calls
    curves = [values for kind, _, *rest in tracker.told for values in rest if kind == "log"]
    best = [values["search/best"] for values in curves if "search/best" in values]
    assert best[0] < best[-1] == max(best)
    assert any("test/mean" in values for values in curves)
    assert summary["result/best"] == study.verdict.best
    assert summary["verdict"] == study.verdict.line
    assert summary["result/calls"] == study.total.calls
    assert len(tracker.threads) == 1
    assert tracker.threads != {threading.current_thread()}


@pytest.mark.parametrize("at", ["begin", "log", "end"])
def test_a_tracker_that_breaks_is_told_of_once_and_changes_nothing(at):
    events = []
    broken, whole = Breaking(at=at), Noting()
    study = execute(make_setup(trackers=[broken, whole]), listen=events.append)
    assert study.verdict == execute(make_setup()).verdict
    (said,) = [event.text for event in events if isinstance(event, Notice) and "tracker" in event.text]
    assert said.startswith("tracker Breaking: ConnectionError: ")
    assert said.endswith("; the run goes on without it")
    assert "s3cret" not in said
    assert "abcdefghijklmnop" not in said
    assert whole.told[-1][0] == "end"


def test_a_tracker_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    monkeypatch.setattr(tracking, "WAITING", 2)
    free = threading.Event()

    class Hanging(Noting):
        def log(self, step, values):
            free.wait(30)

    events = []
    started = time.monotonic()
    study = execute(make_setup(trackers=[Hanging()]), listen=events.append)
    assert time.monotonic() - started < 20
    assert study.verdict == execute(make_setup()).verdict
    assert [event.text for event in events if isinstance(event, Notice) and "tracker" in event.text] == [
        "tracker Hanging: has not ended after 0.2 s and is left behind; the run goes on without it"
    ]
    free.set()


def test_an_interrupted_run_closes_its_trackers():
    tracker = Noting()

    def reply(request):
        if "capitals" in request.messages[-1].content:
            raise KeyboardInterrupt
        return target_reply(request)

    models = {"target": FakeModel(reply), "proposer": FakeModel(proposer_reply)}
    with pytest.raises(KeyboardInterrupt):
        execute(make_setup(trackers=[tracker], models=models))
    assert tracker.told[-1] == ("end", None)


def test_searchers_that_compete_have_curves_of_their_own():
    tracker = Noting()
    po.optimize(
        prompt="Do something.", train=rows(), target=FakeModel(target_reply), folder=None,
        proposer=FakeModel(proposer_reply), reward=lambda example, text: float(text == example.answer),
        search=["seed_only", "paraphrases"], trackers=[tracker],
    )  # fmt: skip
    logs = [(step, set(values)) for kind, step, *rest in tracker.told for values in rest if kind == "log"]
    names = set().union(*(names for _, names in logs))
    assert {"seed_only/search/best", "paraphrases/search/best"} <= names
    steps = [step for step, _ in logs]
    assert steps == sorted(steps)


def test_nothing_is_tracked_unless_it_is_asked_for(tmp_path):
    before = set(threading.enumerate())
    execute(make_setup(), RunFolder(tmp_path / "run"))
    fresh = set(threading.enumerate()) - before
    assert not [thread for thread in fresh if thread.name.startswith("tracker ")]
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_job_names_its_trackers_and_may_be_resumed_with_others(tmp_path, capsys):
    make_world(tmp_path, JOB + "trackers: [tensorboard, {name: mlflow, experiment: mine}]\n")
    job = load_job(tmp_path)
    assert [spec.name for spec in job.trackers] == ["tensorboard", "mlflow"]
    assert main(["validate", str(tmp_path)]) == 0
    assert "track    tensorboard, mlflow\n" in capsys.readouterr().out
    make_world(tmp_path, JOB + "trackers: tensorboard\n")
    assert load_job(tmp_path).trackers[0].name == "tensorboard"
    assert make_setup(lock={"trackers": ["a"]}).fingerprint == make_setup(lock={}).fingerprint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trackers: [tensorbord]", "unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        ("trackers: [{name: mlflow, experment: x}]", "did you mean 'experiment'"),
        ("trackers: [{name: wandb, mode: of}]", "should be 'online' or 'offline'"),
        ("trackers: [{name: wandb, api_key: abc}]", "holds a secret"),
        ("trackers: [{name: mlflow, tracking_uri: 'https://me:pw@host'}]", "holds a secret"),
    ],
)
def test_mistakes_are_found_before_anything_is_bought(tmp_path, line, said):
    make_world(tmp_path, f"{JOB}{line}\n")
    with pytest.raises(BadInput, match=said) as caught:
        load_job(tmp_path)
    assert "line 9" in str(caught.value)
    assert isinstance(caught.value, ConfigError) or "tracker" in str(caught.value)
