"""The verdict in plain words: what to do, and why, for someone who has not read how the statistics work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..proof.stats import format_number, format_p
from ..proof.verdict import Verdict
from ..runfolder import State
from .summary import Summary

Tone = Literal["good", "flat", "open"]


@dataclass(frozen=True, slots=True)
class Words:
    """A verdict for people: `headline` says what to do, `detail` why; `tone` is how glad one may be."""

    headline: str
    detail: str
    tone: Tone


def summary_words(summary: Summary) -> Words:
    """Put a run's verdict into words."""
    return verdict_words(
        summary.verdict,
        binary=summary.binary,
        tried=len(summary.candidates),
        state=summary.state,
        folder=summary.folder,
    )


def verdict_words(verdict: Verdict | None, *, binary: bool, tried: int, state: State, folder: Path) -> Words:
    """Put a verdict into words.

    Args:
        verdict: None while there is none.
        binary: scores are 0 or 1: means are shares of right answers.
        tried: prompts, the seed prompt included.
        state: of the run.
        folder: where it is kept, for the command that goes on with it.
    """
    if verdict is None:
        return _unfinished(tried, state, folder)
    rows = f"{verdict.n:,} row{'s' if verdict.n != 1 else ''}"
    if verdict.best is None or verdict.baseline is None or verdict.interval is None:
        return Words("No verdict.", "No row has a score of both prompts.", "open")
    if not verdict.comparable:
        return Words(
            "No verdict: too many answers failed.",
            f"On {rows} too many answers never came back, so the two prompts cannot be compared.",
            "open",
        )
    if verdict.same_prompt:
        others = tried - 1
        said = f"None of the {others:,} others tried" if others > 1 else "Nothing that was tried"
        return Words(
            "Keep your prompt.",
            f"{said} was above it on the rows for choosing. It "
            f"{_scores(verdict.baseline, binary)} {_place(verdict, rows, binary)}.",
            "flat",
        )
    return _compared(verdict, binary, rows)


def _compared(verdict: Verdict, binary: bool, rows: str) -> Words:
    if verdict.best is None or verdict.baseline is None or verdict.interval is None:
        raise ValueError("a verdict without scores")
    told = (
        f"The new prompt {_scores(verdict.best, binary)} {_place(verdict, rows, binary)}; "
        f"yours {_scores(verdict.baseline, binary, short=True)}."
    )
    gain = f"{_points(verdict.difference or 0.0, binary)} ({_range(verdict, binary)}, {format_p(verdict.p)})"
    if verdict.reliable:
        return Words("Use the new prompt.", f"{told} The gain is {gain}.", "good")
    if verdict.likely:
        return Words(
            "The new prompt is probably better, but this is no proof.",
            f"{told} The gain is estimated at {gain}, on rows that the winner was chosen on.",
            "open",
        )
    worse = (verdict.difference or 0.0) < 0
    return Words(
        "Keep your prompt.",
        f"{told} The difference is {gain}: "
        + ("the best that was found is no better." if worse else "chance alone could make it."),
        "flat",
    )


def _unfinished(tried: int, state: State, folder: Path) -> Words:
    doing = "under way" if state == "running" else "interrupted"
    found = f"{tried:,} prompt{'s' if tried != 1 else ''}"
    more = "" if state == "running" else f" Go on with: promptopt resume {folder}"
    return Words(
        f"No verdict yet: this run is {doing}.",
        f"{found} tried so far. What is best on the rows for searching flatters itself; "
        f"the verdict is spoken on rows that nobody has touched.{more}",
        "open",
    )


def _scores(mean: float, binary: bool, *, short: bool = False) -> str:
    if binary:
        return f"on {mean:.0%}" if short else f"is right on {mean:.0%}"
    return format_number(mean) if short else f"scores {format_number(mean)}"


def _points(gain: float, binary: bool) -> str:
    if not binary:
        return format_number(gain, sign=True)
    points = 100 * gain
    return f"{points:+.0f} point{'s' if abs(round(points)) != 1 else ''}"


def _range(verdict: Verdict, binary: bool) -> str:
    interval = verdict.interval
    if interval is None:
        raise ValueError("a verdict without an interval")
    low, high = interval.low, interval.high
    ends = f"{100 * low:+.0f} to {100 * high:+.0f}" if binary else f"{low:+.3g} to {high:+.3g}"
    return f"between {ends} with {interval.level:.0%} confidence"


def _place(verdict: Verdict, rows: str, binary: bool) -> str:
    return f"{'of' if binary else 'on'} {rows}{' that nobody had touched' if verdict.held_out else ''}"
