"""Tell trackers of a run, and keep what becomes of them away from it.

Each tracker works in a thread of its own, off a queue: one that raises is let go with one notice, one that
hangs is left behind at the end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

from .contracts.tracker import TrackedRun, Tracker
from .errors import shorten
from .events import Event, Listener, Notice, Scored
from .ledger import Spent
from .progress import Tally
from .records import digest
from .redact import redact
from .setup import Setup
from .study import Study

WAITING = 10_000
"""Measurements that may wait for a slow tracker; further ones are dropped."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for its trackers."""


@contextmanager
def tracked(setup: Setup, folder: Path | None, listen: Listener) -> Iterator[tuple[Listener, Finish]]:
    """Hand a run's events to its trackers.

    Yields:
        The listener that the run is to be given, and the function to call with its study.
    """
    if not setup.trackers:
        yield listen, _nothing
        return
    tracking = _Tracking(listen, [_Worker(tracker) for tracker in setup.trackers])
    told = about(setup, folder)
    tracking.send(lambda tracker: tracker.begin(told))
    ends: list[Mapping[str, float | str]] = []
    try:
        yield tracking, lambda study: ends.append(summary(study))
    finally:
        end = ends[-1] if ends else None
        tracking.send(lambda tracker: tracker.end(end))
        tracking.close()


Finish = Callable[[Study], None]


def _nothing(study: Study) -> None:
    pass


def about(setup: Setup, folder: Path | None) -> TrackedRun:
    """Return what trackers are told of a run."""
    splits = setup.task.splits
    settings: dict[str, str | int | float] = {
        **{role: f"{m.identity.endpoint}/{m.identity.model}" for role, m in setup.models.items()},
        "reward": setup.task.reward_name,
        "search": ", ".join(setup.entrants) or type(setup.searcher).__name__,
        "selector": type(setup.selector).__name__,
        "seed": setup.seed,
        "samples": setup.samples,
        **{f"budget.{name}": cap for name, cap in asdict(setup.budget).items() if cap is not None},
        "rows.search": len(splits.search),
        "rows.select": len(splits.select),
        "rows.test": splits.n_test,
    }
    plain = {key: redact(value) if isinstance(value, str) else value for key, value in settings.items()}
    place = str(uuid4()) if folder is None else str(folder.resolve())
    return TrackedRun(setup.name, digest([setup.fingerprint, place]), folder, plain)


def summary(study: Study) -> dict[str, float | str]:
    """Return a study's result in numbers, and its verdict in words."""
    verdict, spent = study.verdict, study.total
    numbers = {
        "baseline": verdict.baseline, "best": verdict.best, "gain": verdict.difference, "p": verdict.p,
        "reliable": float(verdict.reliable), "candidates": float(len(study.candidates)),
        "seconds": study.seconds, **_spent(spent),
    }  # fmt: skip
    told: dict[str, float | str] = {f"result/{key}": float(v) for key, v in numbers.items() if v is not None}
    return told | {"verdict": redact(verdict.line)}


def _spent(spent: Spent) -> dict[str, float]:
    return {"calls": float(spent.calls), "tokens": float(spent.tokens), "usd": float(spent.usd)}


@dataclass
class _Worker:
    """A tracker and its thread.

    `failure` says why it was let go, and is taken by whoever tells of it.
    """

    tracker: Tracker
    failure: str = ""
    gone: bool = False
    _wishes: queue.Queue[Callable[[Tracker], None] | None] = field(
        default_factory=lambda: queue.Queue(WAITING)
    )
    _thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return type(self.tracker).__name__

    def send(self, wish: Callable[[Tracker], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)
            self._thread.start()
        if not self.gone:
            with suppress(queue.Full):
                self._wishes.put_nowait(wish)

    def close(self, patience: float) -> None:
        """Wait for what is on the way, but not for ever."""
        if self._thread is None:
            return
        if not self.gone:
            with suppress(queue.Full):
                self._wishes.put(None, timeout=patience)
        self._thread.join(0 if self.gone else patience)
        if self._thread.is_alive() and not self.failure and not self.gone:
            self.failure = f"has not ended after {patience:g} s and is left behind"

    def _work(self) -> None:
        while (wish := self._wishes.get()) is not None:
            try:
                wish(self.tracker)
            except Exception as error:  # anybody's code, and never the run's business
                self.failure = f"{type(error).__name__}: {shorten(redact(str(error)))}"
                self.gone = True
                return


class _Tracking:
    """A listener that passes events on, and what they add up to to the trackers."""

    def __init__(self, listen: Listener, workers: Sequence[_Worker]) -> None:
        self._listen = listen
        self._workers = workers
        self._tally = Tally()
        self._before = 0  # calls of searchers that had their turn earlier
        self._step = 0

    def __call__(self, event: Event) -> None:
        searcher, calls = self._tally.searcher, self._tally.spent.calls
        self._tally.add(event)
        if self._tally.searcher != searcher:
            self._before += calls
            self._tally.spent = Spent()
        if isinstance(event, Scored) and event.task_reward and event.evaluation.n:
            step = self._step = max(self._step, self._before + self._tally.spent.calls)
            values = self._values(event)
            self.send(lambda tracker: tracker.log(step, values))
        self._listen(event)
        self._tell()

    def _values(self, event: Scored) -> dict[str, float]:
        tally = self._tally
        prefix = f"{tally.searcher}/" if tally.searcher else ""
        values = {f"{event.stage}/mean": event.evaluation.mean, "candidates": float(event.candidates)}
        if event.stage == "search" and tally.best is not None:
            values["search/best"] = tally.best[1].mean
        values |= {f"spent/{key}": value for key, value in _spent(tally.spent).items()}
        return {f"{prefix}{key}": value for key, value in values.items()}

    def send(self, wish: Callable[[Tracker], None]) -> None:
        for worker in self._workers:
            worker.send(wish)

    def close(self) -> None:
        for worker in self._workers:
            worker.close(PATIENCE)
        self._tell()

    def _tell(self) -> None:
        """Say once of each tracker that it was lost: in the run's own thread, where its listener belongs."""
        for worker in self._workers:
            if worker.failure:
                self._listen(Notice(f"tracker {worker.name}: {worker.failure}; the run goes on without it"))
                worker.failure = ""
