"""Fitness: what a prompt scores on rows that all of a search share, and drawing in proportion to it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from promptopt.records import Evaluation


def fitness(evaluation: Evaluation) -> float:
    """Return the mean score; minus infinity where too many cells failed to compare it with others."""
    return evaluation.mean if evaluation.comparable else -math.inf


def roulette(rng: random.Random, scores: Sequence[float]) -> int:
    """Draw a place with a chance in proportion to its score (fitness-proportionate selection).

    Log-likelihoods and other scores that can be negative are counted from the lowest of them. What cannot be
    compared is drawn only where nothing else is, and without any merit all have the same chance.
    """
    known = [score for score in scores if math.isfinite(score)]
    floor = min([0.0, *known])
    weights = [score - floor if math.isfinite(score) else 0.0 for score in scores]
    if not any(weights):
        weights = [1.0 if math.isfinite(score) else 0.0 for score in scores] if known else [1.0] * len(scores)
    return rng.choices(range(len(scores)), weights)[0]
