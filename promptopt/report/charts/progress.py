"""Best so far against what was spent: one searcher with its interval band, or several in a race."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from markupsafe import Markup

from ...ledger import Spent
from ...proof.stats import format_number
from ..summary import Curve, Step
from ._svg import Frame, brief, dot, element, path, round_out, stairs, svg

Against = Literal["calls", "tokens", "usd", "seconds"]
NAMES: dict[Against, str] = {
    "calls": "model calls",
    "tokens": "tokens",
    "usd": "US dollars",
    "seconds": "seconds of waiting for models",
}
MOST_DOTS = 600
"""Prompts that are drawn; of more, an even choice."""
COLOURS = 8


def amount(spent: Spent, against: Against) -> float:
    """Return one of the ways to count what was spent."""
    return float(
        {"calls": spent.calls, "tokens": spent.tokens, "usd": spent.usd, "seconds": spent.seconds}[against]
    )


def second_axis(curves: Sequence[Curve]) -> Against:
    """Return what to count besides calls: dollars; tokens where nothing costs any; time where none count."""
    if any(curve.end.usd for curve in curves):
        return "usd"
    return "tokens" if any(curve.end.tokens for curve in curves) else "seconds"


def progress_chart(
    curves: Sequence[Curve], against: Against, *, labels: Mapping[str, str] | None = None
) -> Markup:
    """Draw the best score on search rows so far against calls, tokens, dollars or seconds.

    Args:
        curves: at least one, with steps.
        against: what is counted.
        labels: of prompts, by their ids, for those who point at a dot.
    """
    drawn = [curve for curve in curves if curve.steps]
    if not drawn:
        return Markup("")
    steps = [step for curve in drawn for step in (*curve.steps, *curve.scored)]
    heights = [step.mean for step in steps] + [
        end for s in steps if s.interval for end in (s.interval.low, s.interval.high)
    ]
    most = max(max(amount(curve.end, against) for curve in drawn), *(amount(s.spent, against) for s in steps))
    frame = Frame.over(
        (0.0, most or 1.0),
        round_out(heights, unit=True),
        NAMES[against],
        "score on search rows",
        _dollars if against == "usd" else brief,
    )
    named = labels or {}
    alone = len(drawn) == 1
    parts = [frame.ground()]
    for place, curve in enumerate(drawn):
        if alone:
            parts += [_band(frame, curve, against), _dots(frame, curve, against, named)]
        # Where lines lie on each other, each is narrower than the one below.
        width = None if alone else 2 + 3 * (1 - place / len(drawn))
        colour = "after" if alone else f"c{place % COLOURS}"
        parts.append(_line(frame, curve, against, named, colour, width))
    best = ", ".join(
        f"{curve.searcher or 'best so far'} {format_number(curve.steps[-1].mean)}" for curve in drawn
    )
    return svg(*parts, label=f"Best score so far against {NAMES[against]}: {best}")


def _place(frame: Frame, against: Against) -> Callable[[Step, float], tuple[float, float]]:
    return lambda step, height: (frame.x(amount(step.spent, against)), frame.y(height))


def _band(frame: Frame, curve: Curve, against: Against) -> Markup:
    place, end = _place(frame, against), frame.x(amount(curve.end, against))
    known = [(step, step.interval) for step in curve.steps if step.interval is not None]
    if not known:
        return Markup("")
    upper = stairs([place(step, interval.high) for step, interval in known], end)
    lower = stairs([place(step, interval.low) for step, interval in known], end)
    return element("path", d=path([*upper, *reversed(lower)], closed=True), class_="band")


def _dots(frame: Frame, curve: Curve, against: Against, labels: Mapping[str, str]) -> Markup:
    place, stride = _place(frame, against), -(-len(curve.scored) // MOST_DOTS) or 1
    return Markup("").join(
        dot(*place(step, step.mean), _said(step, labels), "dot other", 2.5) for step in curve.scored[::stride]
    )


def _line(
    frame: Frame,
    curve: Curve,
    against: Against,
    labels: Mapping[str, str],
    class_: str,
    width: float | None,
) -> Markup:
    place = _place(frame, against)
    points = [place(step, step.mean) for step in curve.steps]
    walked = stairs(points, frame.x(amount(curve.end, against)))
    dots = [
        dot(*point, f"{curve.searcher} {_said(step, labels)}".strip(), f"dot {class_}", 4)
        for point, step in zip(points, curve.steps, strict=True)
    ]
    return element(
        "g",
        element(
            "path",
            d=path(walked),
            class_=f"line {class_}",
            style=None if width is None else f"stroke-width:{width:.1f}",
        ),
        *dots,
    )


def _said(step: Step, labels: Mapping[str, str]) -> str:
    spread = f" {step.interval}" if step.interval is not None else ""
    text = f"{format_number(step.mean)}{spread} on {step.n:,} rows after {step.spent.calls:,} calls"
    return f"{text}: {labels[step.prompt][:160]}" if step.prompt in labels else text


def _dollars(value: float) -> str:
    return f"${value:.2f}" if value >= 0.1 or not value else f"${value:.3g}"
