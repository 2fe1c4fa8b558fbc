"""The verdict as a picture: both means with their intervals, and the difference against nothing."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from ...proof.stats import Interval, format_number
from ._svg import Scale, element, round_out, svg, ticks

HEIGHT = 208
LEFT, RIGHT = 78, 18


Estimate = tuple[float, Interval]
"""A mean and its interval."""


def verdict_chart(
    before: Estimate,
    after: Estimate,
    gain: Estimate,
    *,
    binary: bool,
    names: tuple[str, str, str] = ("yours", "new", "new − yours"),
    label: str = "",
) -> Markup:
    """Draw two means and their paired difference.

    Args:
        before: of the prompt to beat.
        after: of the other one.
        gain: the paired difference.
        binary: scores are 0 or 1: means are shares, differences are points.
        names: of the two, and of their difference.
        label: what the picture shows, in words.
    """
    ends = round_out([end for _, i in (before, after) for end in (i.low, i.high)], unit=True)
    scores, gains = Scale(*ends, LEFT, 420 - RIGHT), _around_zero(gain[1])
    write = _percent if binary else format_number
    signed = _points if binary else _signed
    rows = [
        _row(scores, 28, names[0], before, "before", write),
        _row(scores, 62, names[1], after, "after", write),
        _ruler(scores, 92, write, "score"),
        element("line", x1=gains(0), x2=gains(0), y1=126, y2=178, class_="zero"),
        _row(gains, 150, names[2], gain, "gain", signed),
        _ruler(gains, 178, signed, "points" if binary else "gain"),
    ]
    return svg(*rows, label=label or "Scores and their difference, with intervals", height=HEIGHT)


def _around_zero(interval: Interval) -> Scale:
    low, high = round_out([interval.low, interval.high, 0.0])
    return Scale(low, high, LEFT, 420 - RIGHT)


def _ruler(scale: Scale, y: float, write: Callable[[float], str], name: str) -> Markup:
    marks = [element("line", x1=scale.start, x2=scale.end, y1=y, y2=y, class_="axis")]
    for value in ticks(scale.low, scale.high):
        marks.append(element("line", x1=scale(value), x2=scale(value), y1=y, y2=y + 4, class_="axis"))
        marks.append(
            element("text", write(value), x=scale(value), y=y + 16, text_anchor="middle", class_="tick")
        )
    marks.append(element("text", name, x=4, y=y + 16, class_="name"))
    return Markup("").join(marks)


def _row(
    scale: Scale,
    y: float,
    name: str,
    estimate: Estimate,
    class_: str,
    write: Callable[[float], str],
) -> Markup:
    mean, interval = estimate
    low, high = scale(interval.low), scale(interval.high)
    spread = f"{write(interval.low)} to {write(interval.high)}"
    said = f"{name}: {write(mean)}, {interval.level:.0%} interval {spread}"
    ends = [element("line", x1=x, x2=x, y1=y - 6, y2=y + 6, class_=f"whisker {class_}") for x in (low, high)]
    return element(
        "g",
        element("title", said),
        element("text", name, x=4, y=y + 4, class_="label"),
        element("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {class_}"),
        *ends,
        element("circle", cx=scale(mean), cy=y, r=6, class_=f"dot {class_}"),
        element("text", write(mean), x=scale(mean), y=y - 10, text_anchor="middle", class_="value"),
    )


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _points(value: float) -> str:
    return f"{100 * value:+.0f}" if round(100 * value) else "0"


def _signed(value: float) -> str:
    return format_number(value, sign=True) if value else "0"
