"""Calibration: is an answer that the model gives 80% right in 80 of 100 cases?

Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2: the reliability diagram
over equal-width bins (equations 1 and 2) and the expected calibration error (equation 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import BadInput
from .stats import Interval, mean_interval

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose confidence lies in (low, high]; the first bin holds 0, too.

    Attributes:
        low: lower end of the confidences.
        high: upper end.
        n: answers.
        confidence: their mean confidence.
        accuracy: the share that is right.
        interval: of the accuracy.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well confidences fit. Built by `reliability`.

    Attributes:
        n: answers.
        bins: those that hold an answer, in order.
        error: expected calibration error: mean distance of accuracy and confidence, bins weighed by answers.
        overconfidence: mean confidence minus accuracy; above 0: the model promises too much.
    """

    n: int
    bins: tuple[Bin, ...]
    error: float
    overconfidence: float


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> Reliability:
    """Sort answers into bins of equal width by their confidence.

    Args:
        confidences: of at least one answer, each in [0, 1].
        right: whether it was right.
        bins: their number.

    Raises:
        BadInput: no answers, or a confidence that is none.
    """
    if not confidences or len(confidences) != len(right):
        raise BadInput(
            "reliability", "needs a confidence and a truth an answer", got=(len(confidences), len(right))
        )
    if wrong := [value for value in confidences if not 0 <= value <= 1]:
        raise BadInput("reliability", "a confidence lies in [0, 1]", got=wrong[0])
    sorted_in: dict[int, list[int]] = {}
    for place, value in enumerate(confidences):
        sorted_in.setdefault(max(0, math.ceil(value * bins) - 1), []).append(place)
    found = []
    for number, places in sorted(sorted_in.items()):
        hits = [float(right[place]) for place in places]
        found.append(
            Bin(
                number / bins,
                (number + 1) / bins,
                len(places),
                math.fsum(confidences[place] for place in places) / len(places),
                math.fsum(hits) / len(hits),
                mean_interval(hits),
            )
        )
    n = len(confidences)
    return Reliability(
        n,
        tuple(found),
        math.fsum(one.n * abs(one.accuracy - one.confidence) for one in found) / n,
        math.fsum(one.n * (one.confidence - one.accuracy) for one in found) / n,
    )
