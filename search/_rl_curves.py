"""The curves of a training run: a line a step, TensorBoard files, the result; and when to stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from promptopt.contracts.searcher import Session
from promptopt.proof.stats import format_number
from promptopt.trackers.tensorboard import Board

from ._rl_judge import Judged
from ._rl_log import StepLog
from ._rl_options import Training

WINDOW = 5
"""Steps whose mean score is compared with earlier ones, to tell a plateau from noise."""

GAIN = 0.005
"""A mean score that is higher by less has not risen."""


class Curves:
    """Everything measured, step by step.

    Attributes:
        points: one a finished step: `score`, `best`, `usable`, `unique`, `spread`, `words` of the proposals
            (see `Judged`), and `kl`, `entropy`, `tokens`, `gradient` of the policy where the trainer tells.
        stopped: what ended training before its last step; empty when nothing did.
    """

    def __init__(self, folder: Path, training: Training, batch: int) -> None:
        """Name the files; nothing is created yet."""
        self.points: list[dict[str, float]] = []
        self.stopped = ""
        self._training = training
        self._steps = StepLog(folder / "steps.jsonl")
        self._curves = StepLog(folder / "curves.jsonl")
        self._folder = folder
        self._pending: dict[int, dict[str, float]] = {}
        self._board: Board | None = None

    def begin(self, steps: int) -> Iterator[tuple[int, list[str | None], list[float | None]]]:
        """Forget what came after `steps` steps, and yield (step, texts, rewards) of what came before."""
        self.points = [record["point"] for record in self._curves.keep(steps)]
        self._board = _board(self._folder / "tensorboard", steps)
        for record in self._steps.keep(steps):
            yield record["step"], record["texts"], record["rewards"]

    def judged(self, step: int, texts: Sequence[str | None], judged: Judged) -> None:
        """Write down a step's proposals and what they earned."""
        self._pending[step] = dict(judged.curves)
        self._steps.append({"step": step, "texts": list(texts), "rewards": list(judged.rewards)})

    def learned(self, step: int, measures: dict[str, float]) -> str | None:
        """Write down what the trainer measured in a step; return why to stop, or None."""
        point = self._pending.pop(step) | measures
        self.points.append(point)
        self._curves.append({"step": step, "point": point})
        if self._board is not None:
            self._board.add(step, {f"rl/{name}": value for name, value in point.items()})
        self.stopped = self._why_stop()
        return self.stopped or None

    def tell(self, session: Session, algorithm: str, steps: int) -> None:
        """Report the curves of a run that was to take so many steps."""
        if self._board is not None:
            self._board.close()
        if not self.points:
            return
        first, last = self.points[:WINDOW], self.points[-WINDOW:]
        if not self.stopped and len(self.points) < steps:
            self.stopped = "its budget"
        ends = f", ended by {self.stopped}" if self.stopped else ""
        session.report(
            f"rl: {len(self.points)} steps of {algorithm}{ends}; a proposal scored "
            f"{format_number(fmean(point['score'] for point in first))} on average at first and "
            f"{format_number(fmean(point['score'] for point in last))} at last",
            {"curves": self.points, "stopped": self.stopped},
        )

    def _why_stop(self) -> str:
        collapse, patience = self._training.collapse, self._training.patience
        if len(self.points) >= collapse and not any(point["spread"] for point in self.points[-collapse:]):
            return "collapse (no group differs)"
        scores = [point["score"] for point in self.points]
        means = [fmean(scores[at - WINDOW : at]) for at in range(WINDOW, len(scores) + 1)]
        if len(means) > patience and max(means[-patience:]) < max(means[:-patience]) + GAIN:
            return "a plateau"
        return ""


def _board(folder: Path, steps: int) -> Board | None:
    """Return a board that goes on after `steps` steps, or None where tensorboard is missing."""
    try:
        return Board(folder, purge=steps)
    except ImportError:
        return None
