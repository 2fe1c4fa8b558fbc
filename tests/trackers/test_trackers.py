"""The built-in trackers, each read back by its own tool; all on this machine."""

import json
import socket
import sys

import pytest
from toys import make_setup

from promptopt import tracking
from promptopt.errors import MissingExtra
from promptopt.plugins import build, installed
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.trackers.tensorboard import Board

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def _nothing_leaves(monkeypatch):
    """Refuse every connection to another machine, and keep the tools from reporting home."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_ERROR_REPORTING": "false",
        "DO_NOT_TRACK": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracking, "PATIENCE", 240.0)  # a busy machine is no failure of a tracker
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def run_with(tracker, folder, events=None):
    return execute(make_setup(trackers=[tracker]), RunFolder(folder), listen=(events or []).append)


def test_tensorboard_shows_the_curves(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    study = run_with(build("trackers", "tensorboard"), tmp_path / "run")
    board = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    best = [event.value for event in board.Scalars("search/best")]
    assert best == sorted(best)
    assert len(best) > 1
    assert board.Scalars("result/gain")[0].value == pytest.approx(study.verdict.difference)
    assert board.Scalars("test/mean")[-1].step == study.total.calls


def test_what_comes_after_the_purged_step_counts_no_more(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = Board(tmp_path)
    for step in range(4):
        first.add(step, {"x": 1.0})
    first.close()
    again = Board(tmp_path, purge=2)
    again.add(2, {"x": 2.0})
    again.close()
    board = events.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in board.Scalars("x")] == [(0, 1.0), (1, 1.0), (2, 2.0)]


def test_mlflow_keeps_settings_curves_and_verdict(tmp_path):
    pytest.importorskip("mlflow")
    import mlflow
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    before = mlflow.get_tracking_uri()
    events = []
    study = run_with(build("trackers", "mlflow", {"tracking_uri": uri}), tmp_path / "run", events)
    assert mlflow.get_tracking_uri() == before
    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("promptopt").experiment_id
    (run,) = client.search_runs([place])
    assert run.info.status == "FINISHED"
    assert run.data.params["target"] == "python/target"
    assert run.data.metrics["result/gain"] == pytest.approx(study.verdict.difference)
    assert run.data.tags["promptopt.verdict"] == study.verdict.line
    curve = client.get_metric_history(run.info.run_id, "search/best")
    assert [point.value for point in curve] == sorted(point.value for point in curve)
    assert "capitals" not in json.dumps(run.to_dictionary())  # no prompt is sent


def test_mlflow_goes_on_with_the_run_that_was_interrupted(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from promptopt.tracking import about

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    told = about(make_setup(), tmp_path / "run")
    assert (
        told.key == about(make_setup(), tmp_path / "run").key != about(make_setup(), tmp_path / "other").key
    )
    for summary in (None, {"result/best": 1.0, "verdict": "v"}):
        tracker = build("trackers", "mlflow", {"tracking_uri": uri})
        tracker.begin(told)
        tracker.log(1, {"x": 1.0})
        tracker.end(summary)
    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("promptopt").experiment_id
    (run,) = client.search_runs([place])
    assert (run.info.status, run.data.tags["promptopt.verdict"]) == ("FINISHED", "v")
    assert len(client.get_metric_history(run.info.run_id, "x")) == 2


def test_wandb_keeps_the_curves_offline(tmp_path):
    pytest.importorskip("wandb")
    events = []
    study = run_with(build("trackers", "wandb", {"mode": "offline"}), tmp_path / "run", events)
    assert [event for event in events if "tracker" in getattr(event, "text", "")] == []
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    data = file.read_bytes()
    for kept in ("search/best", "result/gain", "python/target", study.verdict.line):
        assert kept.encode() in data
    for kept_back in (b"capitals", b"requirements.txt", sys.prefix.encode()):
        assert kept_back not in data  # neither prompts, nor what machine this is
    assert b"not told" in data  # as the name of the host


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_a_missing_package_is_named_with_its_cure(name, monkeypatch):
    monkeypatch.setattr("promptopt.trackers._needs.find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r'pip install "promptopt\[track\]"'):
        build("trackers", name)


def test_the_three_are_there():
    assert list(installed("trackers")) == ["mlflow", "tensorboard", "wandb"]
