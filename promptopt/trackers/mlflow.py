"""MLflow: a run of an experiment, by its client alone, so MLflow's global state stays the user's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..contracts.tracker import TrackedRun
from ._needs import need

KEY = "promptopt.run"
"""Tag by which an interrupted run is found again."""


@dataclass
class MLflow:
    """A run in an MLflow experiment: settings as parameters, curves as metrics, the verdict as a tag.

    Attributes:
        tracking_uri: of the server, or `sqlite:///FILE`; default: as MLflow finds it (`MLFLOW_TRACKING_URI`).
        experiment: its name; made if it is not there.
    """

    tracking_uri: str | None = None
    experiment: str = "promptopt"
    _client: Any = field(default=None, init=False, repr=False, compare=False)
    _run: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """See that mlflow is there."""
        need("mlflow", "mlflow")

    def begin(self, run: TrackedRun) -> None:
        """Open a run, or the one that an interrupted run of the same job has left."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self.tracking_uri)
        known = self._client.get_experiment_by_name(self.experiment)
        place = known.experiment_id if known else self._client.create_experiment(self.experiment)
        found = self._client.search_runs([place], f"tags.`{KEY}` = '{run.key}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        made = self._client.create_run(place, run_name=run.name, tags={KEY: run.key})
        self._run = made.info.run_id
        params = [Param(key, str(value)) for key, value in run.settings.items()]
        self._client.log_batch(self._run, params=params)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(k, v, now, step) for k, v in values.items()])

    def end(self, summary: Mapping[str, float | str] | None) -> None:
        """Log the result, and close the run."""
        for key, value in (summary or {}).items():
            if isinstance(value, str):
                self._client.set_tag(self._run, f"promptopt.{key}", value)
            else:
                self._client.log_metric(self._run, key, value)
        self._client.set_terminated(self._run, "KILLED" if summary is None else "FINISHED")
