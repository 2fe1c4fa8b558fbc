"""Elements, scales and frames of SVG charts. All text is escaped here, by markupsafe, and nowhere else.

Colours are classes that the page's style sheet fills in, so that one chart suits light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from ...visible import visible

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 40


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """Return an element; `class_` and `stroke_width` name the attributes `class` and `stroke-width`."""
    named = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    told = Markup("").join(
        Markup(' {}="{}"').format(Markup(key), _text(value)) for key, value in named if value is not None
    )
    inside = Markup("").join(child if isinstance(child, Markup) else _text(child) for child in children)
    return Markup("<{}{}>{}</{}>").format(Markup(name), told, inside, Markup(name))


def _text(value: object) -> Markup:
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(visible(str(value)))


def svg(*children: Markup, label: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """Return a picture that is as wide as its place; `label` says in words what it shows."""
    return element(
        "svg",
        element("title", label),
        *children,
        viewBox=f"0 0 {width} {height}",
        role="img",
        class_="chart",
        preserveAspectRatio="xMinYMin meet",
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """A line of numbers on the page: `low` stands at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a number stands."""
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between two ends, at most `most` of them.

    Source: P. Heckbert, Nice Numbers for Graph Labels, Graphics Gems, 1990.
    """
    if not high > low:
        return [low]
    for power in range(math.floor(math.log10((high - low) / most)), 20):
        for step in (1.0, 2.0, 2.5, 5.0):
            size = step * 10.0**power
            first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
            if last - first + 1 <= most:
                return [number * size for number in range(first, last + 1)]
    return [low, high]


def round_out(values: Sequence[float], *, zero: bool = False, unit: bool = False) -> tuple[float, float]:
    """Return ends that hold all values with a little room; `zero` begins at 0, `unit` stays within [0, 1]."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if unit and low >= 0 and high <= 1:
        return 0.0, 1.0
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if zero else low - room), high + room


def brief(value: float) -> str:
    """Return a number for an axis: `0.5`, `1,200`, `40k`, `3M`."""
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e6 if letter == 'M' else 1e3):.3g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Frame:
    """The ground of a chart: two axes with grid lines, numbers and names.

    Attributes:
        x: numbers from left to right.
        y: numbers from bottom to top.
        x_name: what stands below.
        y_name: what stands above the upright axis.
        write_x: how the numbers below are written.
        write_y: how those at the side are.
        marks: ground, in order; built on the way.
    """

    x: Scale
    y: Scale
    x_name: str
    y_name: str
    write_x: Callable[[float], str] = brief
    write_y: Callable[[float], str] = brief
    marks: list[Markup] = field(default_factory=list)

    @classmethod
    def over(
        cls,
        xs: tuple[float, float],
        ys: tuple[float, float],
        x_name: str,
        y_name: str,
        write_x: Callable[[float], str] = brief,
        write_y: Callable[[float], str] = brief,
    ) -> Frame:
        """Return the frame that holds these ends."""
        return cls(
            Scale(*xs, LEFT, WIDTH - RIGHT),
            Scale(*ys, HEIGHT - BOTTOM, TOP + 10),
            x_name,
            y_name,
            write_x,
            write_y,
        )

    def ground(self) -> Markup:
        """Return grid, axes and names."""
        x, y = self.x, self.y
        lines = []
        for value in ticks(y.low, y.high):
            lines.append(element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="grid"))
            lines.append(
                element(
                    "text",
                    self.write_y(value),
                    x=x.start - 6,
                    y=y(value) + 4,
                    text_anchor="end",
                    class_="tick",
                )
            )
        for value in ticks(x.low, x.high):
            lines.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, class_="axis"))
            lines.append(
                element(
                    "text",
                    self.write_x(value),
                    x=x(value),
                    y=y.start + 17,
                    text_anchor="end" if x(value) > x.end - 8 else "middle",
                    class_="tick",
                )
            )
        lines.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
        lines.append(
            element(
                "text",
                self.x_name,
                x=(x.start + x.end) / 2,
                y=HEIGHT - 6,
                text_anchor="middle",
                class_="name",
            )
        )
        lines.append(element("text", self.y_name, x=4, y=12, class_="name"))
        return Markup("").join(lines)


def path(points: Sequence[tuple[float, float]], *, closed: bool = False) -> str:
    """Return the `d` of a line through points."""
    told = " ".join(f"{'L' if place else 'M'}{x:.1f},{y:.1f}" for place, (x, y) in enumerate(points))
    return f"{told}Z" if closed else told


def stairs(points: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Return a line that keeps each height up to the next point, the last one up to `end`."""
    walked: list[tuple[float, float]] = []
    for x, y in points:
        if walked:
            walked.append((x, walked[-1][1]))
        walked.append((x, y))
    return [*walked, (max(end, walked[-1][0]), walked[-1][1])] if walked else []


def dot(x: float, y: float, title: str, class_: str, r: float = 4) -> Markup:
    """Return a dot that says what it is when pointed at."""
    return element("circle", element("title", title), cx=x, cy=y, r=r, class_=class_)
