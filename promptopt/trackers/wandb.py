"""Weights & Biases: a run of a project, without W&B's own looks at code, machine and output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..contracts.tracker import TrackedRun
from ._needs import need


@dataclass
class WandB:
    """A run in a W&B project: settings as config, curves, the result as summary.

    Attributes:
        project: its name.
        entity: user or team; default: yours.
        mode: `online` sends (key from `WANDB_API_KEY` or `wandb login`), `offline` keeps files to sync later.
        folder: where wandb keeps its files; default: the run's folder.
    """

    project: str = "promptopt"
    entity: str | None = None
    mode: Literal["online", "offline"] = "online"
    folder: str = ""
    _run: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """See that wandb is there."""
        need("wandb", "wandb")

    def begin(self, run: TrackedRun) -> None:
        """Open a run, or go on with that of an interrupted run of the same job."""
        import wandb

        quiet = wandb.Settings(
            silent=True, console="off", save_code=False, disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
            disable_job_creation=True, host="not told",
        )  # fmt: skip
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=run.name,
            id=run.key,
            resume="allow" if self.mode == "online" else None,
            config=dict(run.settings),
            mode=self.mode,
            dir=self.folder or (None if run.folder is None else str(run.folder)),
            reinit="create_new",
            settings=quiet,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics."""
        self._run.log(dict(values), step=step)

    def end(self, summary: Mapping[str, float | str] | None) -> None:
        """Write the summary, and send what is left."""
        self._run.summary.update(dict(summary or {}))
        self._run.finish(exit_code=int(summary is None))
