"""The reliability diagram: how often answers are right, by how sure the model was of them."""

from __future__ import annotations

from markupsafe import Markup

from ...proof.calibration import Reliability
from ._svg import Frame, dot, element, svg


def reliability_chart(found: Reliability, class_: str) -> Markup:
    """Draw accuracy against confidence; on the diagonal a model is as right as it is sure."""
    frame = Frame.over((0.0, 1.0), (0.0, 1.0), "confidence", "share that is right", _percent, _percent)
    most = max(one.n for one in found.bins)
    x, y = frame.x, frame.y
    parts = [frame.ground(), element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="zero")]
    for one in found.bins:
        said = (
            f"{one.n:,} answer{'s' if one.n != 1 else ''} with confidence {one.low:.0%} to {one.high:.0%}: "
            f"sure {one.confidence:.0%}, right {one.accuracy:.0%} {one.interval}"
        )
        place = x(one.confidence)
        low, high = y(one.interval.low), y(one.interval.high)
        parts.append(element("line", x1=place, x2=place, y1=low, y2=high, class_=f"whisker {class_}"))
        parts.append(dot(place, y(one.accuracy), said, f"dot {class_}", 3 + 5 * (one.n / most) ** 0.5))
    return svg(*parts, label=f"Reliability diagram: expected calibration error {found.error:.3f}")


def _percent(value: float) -> str:
    return f"{value:.0%}"
