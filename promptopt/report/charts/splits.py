"""From search over select to test: what seed prompt and winner score on rows ever less looked at."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from ...proof.stats import format_number
from ..summary import Score
from ._svg import HEIGHT, Frame, Scale, element, path, round_out, svg

SPLITS = ("search", "select", "test")


def splits_chart(before: Mapping[str, Score], after: Mapping[str, Score]) -> Markup:
    """Draw the scores of two prompts by split, with intervals where they are known."""
    scores = [score for its in (before, after) for score in its.values() if score.mean is not None]
    if not scores:
        return Markup("")
    heights = [s.mean for s in scores if s.mean is not None] + [
        end for s in scores if s.interval for end in (s.interval.low, s.interval.high)
    ]
    frame = Frame.over((-0.4, 2.4), round_out(heights, unit=True), "", "score")
    bare = Frame(Scale(0, 0, frame.x.start, frame.x.end), frame.y, "", "score", lambda _: "")
    names = [
        element("text", name, x=frame.x(place), y=HEIGHT - 20, text_anchor="middle", class_="label")
        for place, name in enumerate(SPLITS)
    ]
    drawn = [_one(frame, before, "before", "yours", -0.07), _one(frame, after, "after", "new", 0.07)]
    return svg(bare.ground(), *names, *drawn, label="Scores on search, select and test rows")


def _one(frame: Frame, its: Mapping[str, Score], class_: str, name: str, shift: float) -> Markup:
    points, marks = [], []
    for place, split in enumerate(SPLITS):
        score = its.get(split)
        if score is None or score.mean is None:
            continue
        x, y = frame.x(place + shift), frame.y(score.mean)
        points.append((x, y))
        spread = ""
        if score.interval is not None:
            spread = f" {score.interval}"
            low, high = frame.y(score.interval.low), frame.y(score.interval.high)
            marks.append(element("line", x1=x, x2=x, y1=low, y2=high, class_=f"whisker {class_}"))
        said = f"{name} on {score.n:,} {split} rows: {format_number(score.mean)}{spread}"
        marks.append(element("circle", element("title", said), cx=x, cy=y, r=5, class_=f"dot {class_}"))
        anchor, away = ("end", -9) if shift < 0 else ("start", 9)
        marks.append(
            element(
                "text", format_number(score.mean), x=x + away, y=y + 4, text_anchor=anchor, class_="value"
            )
        )
    return element("g", element("path", d=path(points), class_=f"line {class_} thin"), *marks)
