from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import pytest
from rich.console import Console

from promptopt.events import Event, Notice, Scored, Stage, StageName, Tick
from promptopt.ledger import Spent
from promptopt.progress import (
    Live,
    Plain,
    Silent,
    Tally,
    amounts,
    clock_text,
    progress_for,
    scored,
    tokens_text,
    usd_text,
)
from promptopt.prompt import Prompt
from promptopt.records import Budget, Cell, Evaluation, Score


def evaluation(
    prompt: Prompt, right: int, n: int, failed: int = 0, reward: str = "exact_match"
) -> Evaluation:
    cells = [Cell(prompt.id, str(i), score=Score(float(i < right))) for i in range(n)]
    cells += [Cell(prompt.id, str(n + i), status="failed", reason="timeout") for i in range(failed)]
    return Evaluation(prompt.id, reward, tuple(cells))


def hit(
    name: str, right: int, n: int, stage: StageName = "search", candidates: int = 1, task: bool = True
) -> Scored:
    prompt = Prompt(name)
    return Scored(stage, prompt, evaluation(prompt, right, n), task, candidates)


def clock(step: float = 1.0) -> Callable[[], float]:
    ticks = itertools.count(0.0, step)
    return lambda: next(ticks)


RUN: list[Event] = [
    Stage("baseline", 20),
    Tick("target", 20, 20, {"target": Spent(20, 400, 40)}, Budget(calls=180)),
    hit("mine", 5, 20),
    Stage("search"),
    hit("lucky", 2, 2, candidates=2),
    Notice("one line\nand another"),
    hit("better", 12, 20, candidates=3),
    hit("best", 15, 20, candidates=4),
    Tick("target", 1, 9, {"target": Spent(60, 1000, 100), "proposer": Spent(40, 10, 10)}, Budget(calls=100)),
    Stage("select", 40),
    hit("best", 3, 4, stage="select", candidates=4),
    Stage("done"),
]


def test_the_best_prompt_is_the_one_whose_interval_begins_highest() -> None:
    tally = Tally()
    news = [tally.add(event) for event in RUN]
    assert tally.best is not None
    assert tally.best[0].instruction == "best"
    assert tally.baseline is not None
    assert tally.baseline.mean == 0.25
    # 2 of 2 begins at .34, 12 of 20 at .39, 15 of 20 at .53.
    assert [news[place] for place in (4, 6, 7)] == [True, True, True]
    assert tally.add(hit("flash", 3, 3, candidates=4)) is False  # .44
    assert tally.candidates == 4
    assert tally.spent.calls == 100


def test_search_signals_do_not_count_as_scores() -> None:
    tally = Tally()
    tally.add(hit("signal", 9, 9, task=False))
    assert tally.best is None


def test_cells_are_counted_once_though_evaluations_are_cumulative() -> None:
    tally = Tally()
    tally.add(hit("a", 1, 4))
    tally.add(hit("a", 1, 10))
    tally.add(hit("a", 1, 10))
    assert tally.cells == 10


def test_what_is_left_is_told_from_the_scarcest_cap_or_the_cells_of_the_stage() -> None:
    now = [0.0]
    tally = Tally(clock=lambda: now[0])
    tally.add(Stage("search"))
    assert tally.seconds_left is None
    now[0] = 10.0
    tally.add(Tick("target", 1, 2, {"target": Spent(25, 0, 0, 0.5)}, Budget(calls=75, usd=0.5)))
    assert tally.share == pytest.approx(0.5)
    assert tally.seconds_left == pytest.approx(10.0)
    tally.add(Stage("test", 100))
    now[0] = 14.0
    tally.add(Tick("target", 20, 100))
    assert tally.seconds_left == pytest.approx(16.0)


def test_plain_lines_tell_stages_the_best_of_a_batch_and_notices() -> None:
    out = io.StringIO()
    with Plain(out, clock(0.01)) as view:
        for event in RUN:
            view(event)
    lines = out.getvalue().splitlines()
    assert lines[0] == "baseline: scoring your prompt, 20 cells at most"
    assert lines[1] == "baseline: 0.25 [.11,.47] on 20 rows"
    assert "note: one line and another" in lines
    assert [line for line in lines if line.startswith("best so far: 0.75")] != []
    assert [line for line in lines if line.startswith("best so far: 0.60")] == []
    assert lines[-1] == "select: choosing among the finalists, 40 cells at most"


def test_plain_lines_show_a_sign_of_life_now_and_then() -> None:
    out = io.StringIO()
    view = Plain(out, clock(11.0))
    view(Tick("target", 3, 9))
    assert out.getvalue() == "baseline: 0 candidates, 0 cells/s, batch 3/9\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_panel_fits_the_terminal_at_every_moment(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    live = Live("a [bold]job", console)
    long = Prompt("Write the second letter. " * 20 + "[/red]\n\x1b[31m")
    for event in [*RUN, Scored("search", long, evaluation(long, 20, 20, failed=1), True, 5)]:
        live(event)
        with console.capture() as capture:
            console.print(live.render())
        lines = capture.get().splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= 8
    assert "\x1b[31m" not in capture.get()
    if width >= 80:
        assert "1.00 [.84,1.00] on 20 rows, 1 cell failed" in capture.get()
        assert "a [bold]job" in capture.get()


def test_a_live_view_starts_and_leaves_nothing_behind() -> None:
    out = io.StringIO()
    console = Console(width=80, file=out, force_terminal=True)
    with Live("job", console) as view:
        for event in RUN:
            view(event)
    assert "note: one line and another" in out.getvalue()


def test_the_view_fits_the_stream() -> None:
    assert isinstance(progress_for(io.StringIO(), "x"), Plain)
    assert isinstance(progress_for(io.StringIO(), "x", quiet=True), Silent)


def test_words() -> None:
    assert amounts(Spent(1, 900, 50)) == "1 call, 950 tokens"
    assert amounts(Spent(1234, 4_000_000, 100_000, 1.5)) == "1,234 calls, 4.1M tokens, $1.50"
    assert [tokens_text(n) for n in (0, 999, 12_345, 120_400)] == ["0", "999", "12.3k", "120k"]
    assert [usd_text(x) for x in (0, 0.00123, 12.345)] == ["$0.00", "$0.0012", "$12.35"]
    assert [clock_text(s) for s in (0, 42.9, 61, 3723)] == ["0:00", "0:42", "1:01", "1:02:03"]
    assert scored(Evaluation("p", "r", ())) == "no row has a score"


def test_training_shows_its_passes_though_no_call_is_under_way() -> None:
    out = io.StringIO()
    view = Plain(out, clock(11.0))
    view(Stage("search"))
    view(Tick("trainer", 0, 0, {"target": Spent(20, 5, 5), "trainer": Spent(1280, 90_000)}, Budget()))
    assert out.getvalue().splitlines()[-1] == "search: 0 candidates, 0 cells/s, 1,280 training passes"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_for(Terminal(), "x"), Plain)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_for(Terminal(), "x"), Live)
