"""Numbers of lists of numbers: calibration, how graded a landscape of wordings is; and words of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import median

LOW, HIGH = 0.15, 0.85
BINS = 10
WORD = re.compile(r"[^\W\d_]+")


def softmax(logits: Sequence[float]) -> list[float]:
    """Return the probabilities of options with these log-probabilities (nats)."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def expected_calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width, by their size.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    members: dict[int, list[tuple[float, bool]]] = {}
    for pair in zip(confidence, right, strict=True):
        members.setdefault(min(int(pair[0] * bins), bins - 1), []).append(pair)
    gaps = [abs(math.fsum(c - r for c, r in pairs)) for pairs in members.values()]
    return math.fsum(gaps) / len(confidence)


def share_between(scores: Sequence[float], low: float = LOW, high: float = HIGH) -> float:
    """Return the share of scores that lie strictly between two shares of the best; 0 if none is above 0."""
    best = max(scores)
    return sum(low * best < score < high * best for score in scores) / len(scores)


def best_minus_median(scores: Sequence[float]) -> float:
    """Return how far the best score lies above the middle one."""
    return max(scores) - median(scores)


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one number."""
    return math.fsum(values) / len(values)


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters, so that `don't` is two."""
    return WORD.findall(text.lower())
