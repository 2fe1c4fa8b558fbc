"""How a run went: stages, scores and notices as they came, each with what was spent by then.

A line of JSON each in the run's folder, so that another process can follow. A run that is taken up again
walks the same path (LAW 1) and writes the file anew.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from .events import Event, Listener, Notice, Scored, Stage, StageName, Tick, ignore
from .ledger import Spent
from .proof.stats import lower_bound, mean_interval
from .records import Budget

Kind = Literal["stage", "score", "tick", "notice"]
THINNING = 500
"""A line of mere progress is written when such a part of the time has passed again: files stay small."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a history.

    Attributes:
        kind: what happened.
        seconds: since the process began.
        searcher: whose turn it was; empty where one searches alone.
        stage: where the run, or that searcher, was.
        spent: of that searcher by then, all roles together.
        text: the notice.
        cells: of a stage: cells that it needs at most; None when not known.
        prompt: of a score, its prompt.
        task_reward: of a score: whether the task's own reward judged.
        n: of a score, its rows.
        mean: of a score; None when no row has one.
        bound: of a score, the lower bound of its mean (`proof.stats.lower_bound`); None: nothing can be said.
        best: of a score on search rows: whether it is the best of its searcher so far: the one whose interval
            begins highest, for a mean of few rows flatters.
        interval: of such a best mean, 95%.
        candidates: prompts scored so far.
        done: of a tick, calls of its batch that are answered.
        asked: of a tick, calls of its batch.
        remaining: of a tick, what is left of the budget.
    """

    kind: Kind
    seconds: float
    searcher: str = ""
    stage: StageName = "baseline"
    spent: Spent = Spent()
    text: str = ""
    cells: int | None = None
    prompt: str = ""
    task_reward: bool = True
    n: int = 0
    mean: float | None = None
    bound: float | None = None
    best: bool = False
    interval: tuple[float, float] | None = None
    candidates: int = 0
    done: int = 0
    asked: int = 0
    remaining: Budget = Budget()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; what is as by default is left out."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        lean = {name: value for name, value in plain.items() if value != _DEFAULTS.get(name)}
        lean["spent"] = list(self.spent)
        if "remaining" in lean:
            lean["remaining"] = [
                self.remaining.calls,
                self.remaining.tokens,
                self.remaining.usd,
                self.remaining.minutes,
            ]
        return lean

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Moment:
        """Read what `to_dict` wrote."""
        made = dict(data)
        made["spent"] = Spent(*made["spent"])
        if "remaining" in made:
            made["remaining"] = Budget(*made["remaining"])
        if made.get("interval") is not None:
            made["interval"] = tuple(made["interval"])
        return cls(**made)


_DEFAULTS = {
    name: getattr(Moment("tick", 0.0), name) for name in Moment.__slots__ if name not in ("kind", "seconds")
}


class History:
    """A listener that writes down what happens. If it cannot, it says so once: the run goes first."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, *, tell: Listener = ignore
    ) -> None:
        """Write to `path`, which is begun anew when entered; `tell` hears of what keeps it from that."""
        self._path, self._clock, self._tell = path, clock, tell
        self._begun = self._ticked = clock()
        self._stage = Stage("baseline")
        self._spent: dict[str, Spent] = {}
        self._best: dict[str, float] = {}
        self._candidates = 0
        self._broken = False

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    def __call__(self, event: Event) -> None:
        """Write down an event."""
        match event:
            case Stage():
                self._stage = event
                self._write("stage", cells=event.cells)
            case Tick():
                self._spent[self._stage.searcher] = sum(event.spent.values(), Spent())
                self._tick(event)
            case Scored():
                self._candidates = event.candidates
                self._write("score", **self._score(event))
            case Notice():
                self._write("notice", text=event.text)

    def _tick(self, event: Tick) -> None:
        now = self._clock()
        if now - self._ticked >= max(1.0, (now - self._begun) / THINNING):
            self._ticked = now
            self._write("tick", done=event.done, asked=event.asked, remaining=event.remaining)

    def _score(self, event: Scored) -> dict[str, Any]:
        evaluation = event.evaluation
        bound = lower_bound(list(evaluation.values.values()))
        found: dict[str, Any] = {
            "prompt": event.prompt.id,
            "task_reward": event.task_reward,
            "n": evaluation.n,
            "mean": evaluation.mean if evaluation.n else None,
            "bound": bound if math.isfinite(bound) else None,
        }
        if event.stage == "search" and event.task_reward and evaluation.n and self._is_best(bound):
            interval = mean_interval(list(evaluation.values.values()))
            found |= {"best": True, "interval": (interval.low, interval.high)}
        return found

    def _is_best(self, bound: float) -> bool:
        known = self._best.get(self._stage.searcher)
        if known is not None and bound <= known:
            return False
        self._best[self._stage.searcher] = bound
        return True

    def _write(self, kind: Kind, **more: Any) -> None:
        if self._broken:  # what came next would stand behind half a line
            return
        stage = self._stage
        moment = Moment(
            kind,
            round(self._clock() - self._begun, 3),
            stage.searcher,
            stage.name,
            self._spent.get(stage.searcher, Spent()),
            candidates=self._candidates,
            **more,
        )
        try:
            self._file.write(json.dumps(moment.to_dict(), ensure_ascii=True) + "\n")
            self._file.flush()
        except OSError as error:
            self._broken = True
            self._tell(Notice(f"{self._path.name} ends here: {error.strerror or error}"))


def read_history(path: Path) -> list[Moment]:
    """Return the moments of a run so far; empty when it kept none. A last line that is torn is left out."""
    return list(_moments(path))


def _moments(path: Path) -> Iterator[Moment]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:
        yield Moment.from_dict(json.loads(line))
