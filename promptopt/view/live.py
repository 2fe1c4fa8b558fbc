"""A run while it goes on: what its history says now, and a stream that tells when that has changed."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import sleep, to_thread

from ..history import Moment, read_history
from ..ledger import Spent
from ..progress import DOING
from ..prompt import Prompt
from ..report.archive import Archive
from ..report.progression import curves
from ..report.spelling import label
from ..report.summary import Curve
from ..runfolder import RunFolder, State

PERIOD = 0.5
"""Seconds between two looks."""
SILENCE = 15.0
"""Seconds after which a stream says that it is still there."""


@dataclass(frozen=True, slots=True)
class Known:
    """A prompt of the run, and what it scored on search rows; `mean` is None where nothing is known."""

    id: str
    label: str
    origin: str
    mean: float | None = None
    n: int = 0
    bound: float = -math.inf


@dataclass(frozen=True, slots=True)
class Now:
    """Where a run is.

    Attributes:
        state: running, interrupted or done.
        stopping: whether somebody asked it to stop.
        doing: its stage in words.
        searcher: whose turn it is.
        share: how much of the stage, or of the budget, is used, 0 to 1; None when not known.
        candidates: prompts scored.
        spent: by all searchers so far.
        seconds: since the process began.
        curves: of each searcher.
        notices: the latest, newest first.
        prompts: those scored so far; first those whose interval begins highest.
    """

    state: State
    stopping: bool
    doing: str
    searcher: str
    share: float | None
    candidates: int
    spent: Spent
    seconds: float
    curves: tuple[Curve, ...]
    notices: tuple[str, ...]
    prompts: tuple[Known, ...]


def look(folder: RunFolder) -> Now:
    """Return where a run is."""
    history = read_history(folder.history_file)
    last = history[-1] if history else Moment("stage", 0.0)
    spent = {moment.searcher: moment.spent for moment in history}
    drawn = curves(history)
    return Now(
        folder.state,
        folder.stop_file.exists(),
        DOING[last.stage],
        last.searcher,
        _share(history),
        last.candidates,
        sum(spent.values(), Spent()),
        last.seconds,
        drawn,
        tuple(moment.text for moment in reversed(history) if moment.kind == "notice")[:8],
        _prompts(folder, drawn),
    )


def _prompts(folder: RunFolder, drawn: Sequence[Curve]) -> tuple[Known, ...]:
    if not folder.journal.exists():
        return ()
    with Archive(folder.journal) as archive:
        contents = archive.prompts()
    scores = {step.prompt: step for curve in drawn for step in curve.scored}
    found = []
    for content in contents:
        prompt = Prompt.from_dict(content)
        step = scores.get(prompt.id)
        score = (None, 0) if step is None else (step.mean, step.n, step.bound)
        found.append(Known(prompt.id, label(prompt), prompt.origin, *score))
    return tuple(sorted(found, key=lambda known: -known.bound))


def _share(history: list[Moment]) -> float | None:
    """Return how much of the scarcest part of the budget is used, as the last tick said."""
    tick = next((moment for moment in reversed(history) if moment.kind == "tick"), None)
    if tick is None:
        return None
    used, left = tick.spent, tick.remaining
    pairs = (
        (used.calls, left.calls),
        (used.tokens, left.tokens),
        (used.usd, left.usd),
        (tick.seconds / 60, left.minutes),
    )
    shares = [have / (have + rest) for have, rest in pairs if rest is not None and have + rest > 0]
    return max(shares, default=None)


async def stream(look_at: Callable[[], tuple[object, Callable[[], str], bool]]) -> AsyncIterator[str]:
    """Yield server-sent events: a piece of page whenever it has changed, and `end` when no more will come.

    Args:
        look_at: returns a mark that changes with the page, what renders it, and whether this is its end.
    """
    seen: object = None
    silent = 0.0
    while True:
        begun = time.monotonic()
        mark, render, over = await to_thread.run_sync(look_at)
        if mark != seen:
            seen, silent = mark, 0.0
            text = await to_thread.run_sync(render)
            yield "".join(f"data: {line}\n" for line in text.split("\n")) + "\n"
        if over:
            yield "event: end\ndata:\n\n"
            return
        if silent >= SILENCE:
            silent = 0.0
            yield ": still here\n\n"
        pause = max(PERIOD, 4 * (time.monotonic() - begun))  # a large run must not keep this machine busy
        await sleep(pause)
        silent += pause


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
