"""Score against prompt tokens, with the front of prompts that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup

from ...proof.stats import Interval, format_number
from ._svg import Frame, dot, element, path, round_out, stairs, svg

Kind = Literal["before", "after", "final", "other"]
RANK: tuple[Kind, ...] = ("other", "final", "before", "after")


class Spot(NamedTuple):
    """A prompt: tokens of a rendered prompt, score with its rows, what it is, whether it is on the front."""

    tokens: float
    mean: float
    n: int
    kind: Kind
    on_front: bool
    label: str
    interval: Interval | None = None


def tradeoff_chart(spots: Sequence[Spot]) -> Markup:
    """Draw prompts by what they cost and what they score; an empty picture when no tokens are known."""
    if not spots:
        return Markup("")
    frame = Frame.over(
        round_out([spot.tokens for spot in spots]),
        round_out([spot.mean for spot in spots], unit=True),
        "prompt tokens of an answer",
        "score",
    )
    front = sorted((spot for spot in spots if spot.on_front), key=lambda spot: spot.tokens)
    line = stairs([(frame.x(spot.tokens), frame.y(spot.mean)) for spot in front], frame.x.end)
    parts = [frame.ground(), element("path", d=path(line), class_="line front") if line else Markup("")]
    for spot in sorted(spots, key=lambda spot: RANK.index(spot.kind)):
        x, y = frame.x(spot.tokens), frame.y(spot.mean)
        spread = f" {spot.interval}" if spot.interval is not None else ""
        said = (
            f"{format_number(spot.mean)}{spread} on {spot.n:,} rows, {spot.tokens:,.0f} tokens: {spot.label}"
        )
        parts.append(dot(x, y, said, f"dot {spot.kind}", 3 if spot.kind == "other" else 5))
    return svg(*parts, label="Score against prompt tokens")
