"""Show a run while it goes on: a live panel on a terminal, plain lines everywhere else.

A `Tally` adds up the run's events; the two views only draw what it holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from .events import Event, Notice, Scored, Stage, StageName, Tick
from .ledger import Spent
from .prompt import Prompt
from .records import Budget, Evaluation
from .visible import one_line

if TYPE_CHECKING:  # rich is only needed where there is a terminal
    from rich.console import Console, RenderableType

HEARTBEAT = 10.0
"""Seconds after which a plain view says again how far the run is."""
WIDTH = 80
DOING: dict[StageName, str] = {
    "baseline": "scoring your prompt",
    "search": "searching",
    "select": "choosing among the finalists",
    "test": "proving on held-out rows",
    "done": "done",
}


class Progress(Protocol):
    """A view of a run: open it, hand it the events, close it."""

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        ...

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""
        ...


def progress_for(stream: TextIO, title: str, *, quiet: bool = False) -> Progress:
    """Return the view that fits a stream."""
    if quiet:
        return Silent()
    moves = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Live(title) if moves else Plain(stream)


@dataclass
class Tally:
    """What the events of a run add up to.

    Attributes:
        stage: where the run is.
        searcher: whose stage it is, where several compete.
        stage_cells: cells the stage needs at most; None when not known.
        stage_seen: cells scored in this stage.
        cells: cells scored in all, by any reward.
        candidates: prompts scored so far.
        baseline: the seed prompt on search rows.
        best: the best prompt so far with its evaluation: the one whose interval begins highest.
        done, asked: calls of the batch under way.
        trained: passes of training so far.
        under_way: of those, answered cells that are not scored yet.
        spent: all roles together.
        remaining: what is left of the budget.
    """

    clock: Callable[[], float] = time.monotonic
    stage: StageName = "baseline"
    searcher: str = ""
    stage_cells: int | None = None
    stage_seen: int = 0
    cells: int = 0
    candidates: int = 0
    baseline: Evaluation | None = None
    best: tuple[Prompt, Evaluation] | None = None
    done: int = 0
    asked: int = 0
    under_way: int = 0
    trained: int = 0
    spent: Spent = Spent()
    remaining: Budget = Budget()
    started: float = field(default=0.0)
    stage_started: float = 0.0
    _counted: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self.stage_started = self.clock()

    def add(self, event: Event) -> bool:
        """Take note of an event; return whether there is a new best prompt."""
        match event:
            case Stage():
                self.stage, self.stage_cells, self.stage_seen = event.name, event.cells, 0
                self.searcher = event.searcher
                self.done = self.asked = self.under_way = 0
                self.stage_started = self.clock()
            case Tick():
                self.done, self.asked = event.done, event.asked
                self.under_way = event.done if event.role == "target" else 0
                self.spent = sum(event.spent.values(), Spent())
                self.remaining = event.remaining
                self.trained = event.spent.get("trainer", Spent()).calls
            case Scored():
                return self._scored(event)
            case Notice():
                pass
        return False

    def _scored(self, event: Scored) -> bool:
        key = (event.stage, event.prompt.id, event.evaluation.reward)
        new = len(event.evaluation.cells) - self._counted.get(key, 0)
        self._counted[key] = len(event.evaluation.cells)
        self.cells += new
        self.under_way = 0
        self.stage_seen += new
        self.candidates = event.candidates
        if event.stage != "search" or not event.task_reward or not event.evaluation.n:
            return False
        if self.baseline is None:
            self.baseline = event.evaluation
        bound = _bound(event.evaluation)
        if self.best is None or bound > _bound(self.best[1]):
            self.best = (event.prompt, event.evaluation)
            return True
        return False

    @property
    def seconds(self) -> float:
        """Since the first event."""
        return self.clock() - self.started

    @property
    def rate(self) -> float:
        """Cells per second, over the run; those of the batch under way count as they come in."""
        return (self.cells + self.under_way) / max(self.seconds, 0.001)

    @property
    def share(self) -> float | None:
        """How much of the stage is done, 0 to 1: its cells, or the scarcest part of the budget."""
        if self.stage_cells:
            return min(1.0, (self.stage_seen + self.under_way) / self.stage_cells)
        used = (
            (self.spent.calls, self.remaining.calls),
            (self.spent.tokens, self.remaining.tokens),
            (self.spent.usd, self.remaining.usd),
            (self.seconds / 60, self.remaining.minutes),
        )
        shares = [spent / (spent + left) for spent, left in used if left is not None and spent + left > 0]
        return max(shares, default=None)

    @property
    def seconds_left(self) -> float | None:
        """Estimated for the stage; None while nothing can be said."""
        share = self.share
        if not share:
            return None
        taken = self.clock() - self.stage_started if self.stage_cells else self.seconds
        return taken * (1 - share) / share


class Silent:
    """Show nothing."""

    def __call__(self, event: Event) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class Plain:
    """Print a line for every stage, every new best prompt and every notice, and now and then in between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._tally = Tally(clock)
        self._last = clock()
        self._news = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def __call__(self, event: Event) -> None:
        """Print what the event is worth."""
        tally = self._tally
        if self._news and not isinstance(event, Scored):
            self._say_best()
        better = tally.add(event)
        match event:
            case Stage(name="done"):
                pass
            case Stage():
                cells = f", {count(event.cells)} cells at most" if event.cells else ""
                whose = f"{event.searcher}, " if event.searcher else ""
                self._say(f"{whose}{event.name}: {DOING[event.name]}{cells}")
            case Notice():
                self._say(f"note: {one_line(event.text)}")
            case Scored() if better and tally.baseline is event.evaluation:
                self._say(f"baseline: {scored(event.evaluation)}")
            case Scored() if better:
                self._news = True  # others of the same batch may be better still
            case _ if tally.clock() - self._last > HEARTBEAT:
                self._say(f"{tally.stage}: {', '.join(_state(tally))}")

    def _say_best(self) -> None:
        self._news = False
        tally = self._tally
        if tally.best is not None:
            self._say(
                f"best so far: {scored(tally.best[1])}; {candidates(tally)}, {amounts(tally.spent)}, "
                f"{clock_text(tally.seconds)}"
            )

    def _say(self, text: str) -> None:
        self._last = self._tally.clock()
        self._stream.write(f"{one_line(text)}\n")
        self._stream.flush()


class Live:
    """A panel at the foot of the terminal; notices scroll by above it."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        """Draw on `console`, or on the terminal."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self._title = title
        self._tally = Tally()
        self._console = console or Console()
        self._live = RichLive(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the panel away."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take note; the panel redraws itself."""
        self._tally.add(event)
        if isinstance(event, Notice):
            self._console.print(
                f"note: {one_line(event.text)}", style="yellow", markup=False, highlight=False
            )

    def render(self) -> RenderableType:
        """Return the panel."""
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        width = min(self._console.width, 110)
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(style="dim", width=10)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        baseline = Text(scored(tally.baseline)) if tally.baseline is not None else Text("…")
        grid.add_row("yours", baseline)
        if tally.best is not None and tally.best[1] is not tally.baseline:
            prompt, evaluation = tally.best
            grid.add_row("best", Text(scored(evaluation), style="bold green"))
            grid.add_row("", Text(one_line(prompt.label), style="italic"))
        grid.add_row("so far", Text(", ".join(_state(tally))))
        grid.add_row("spent", Text(f"{amounts(tally.spent)}, {clock_text(tally.seconds)}{_left(tally)}"))
        share = tally.share
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=None, pulse=share is None)
        grid.add_row("", bar)
        whose = f" · {tally.searcher}" if tally.searcher else ""
        title = Text.assemble((self._title, "bold"), f"{whose} · {DOING[tally.stage]}")
        return Panel(grid, title=title, title_align="left", width=width, border_style="blue")


# --- words -------------------------------------------------------------------------------------------


@lru_cache(maxsize=128)  # the interval of real-valued scores is a bootstrap: too slow for every frame
def scored(evaluation: Evaluation) -> str:
    """Return `0.58 [.50,.65] on 120 rows`, with what went wrong."""
    from .proof.stats import format_number, mean_interval

    if not evaluation.n:
        return "no row has a score"
    text = f"{format_number(evaluation.mean)} {mean_interval(list(evaluation.values.values()))}"
    text += f" on {count(evaluation.n)} row{'s' if evaluation.n != 1 else ''}"
    if evaluation.failed:
        text += f", {count(evaluation.failed)} cell{'s' if evaluation.failed != 1 else ''} failed"
    return text


@lru_cache(maxsize=128)
def _bound(evaluation: Evaluation) -> float:
    from .proof.stats import lower_bound

    return lower_bound(list(evaluation.values.values()))


def amounts(spent: Spent) -> str:
    """Return `2,431 calls, 120k tokens` and the dollars, if any."""
    text = f"{count(spent.calls)} call{'s' if spent.calls != 1 else ''}, {tokens_text(spent.tokens)} tokens"
    return f"{text}, {usd_text(spent.usd)}" if spent.usd else text


def candidates(tally: Tally) -> str:
    """Return `31 candidates`."""
    return f"{count(tally.candidates)} candidate{'s' if tally.candidates != 1 else ''}"


def count(number: int) -> str:
    """Return a number with thousands separated."""
    return f"{number:,}"


def tokens_text(number: float) -> str:
    """Return a number of tokens, rounded: `950`, `12.3k`, `4.1M`."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 100 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def usd_text(amount: float) -> str:
    """Return US dollars with as many digits as matter."""
    return f"${amount:.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def clock_text(seconds: float) -> str:
    """Return `0:42` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _state(tally: Tally) -> list[str]:
    parts = [candidates(tally), f"{tally.rate:.0f} cells/s"]
    if tally.asked > tally.done:
        parts.append(f"batch {count(tally.done)}/{count(tally.asked)}")
    if tally.trained:
        parts.append(f"{count(tally.trained)} training passes")
    return parts


def _left(tally: Tally) -> str:
    left = tally.seconds_left
    if left is None or tally.stage == "done":
        return ""
    # A budget says when a search must end; most end before that.
    return f", {'about' if tally.stage_cells else 'at most'} {clock_text(left)} left"
