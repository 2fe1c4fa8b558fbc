"""The neighbours of a point in a template's space: what differs in one choice."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from ._template_space import Axis, Number, Point, Space, Value, random_value

NEAR, SPREAD = 4, 0.2
"""Neighbours of a number, and how far off they lie: a standard deviation, as a share of its range."""


def neighbours(space: Space, point: Point, rng: random.Random) -> Iterator[dict[str, Value]]:
    """Iterate over points that differ in one axis, and in what depends on it, which is drawn at random.

    F. Hutter, H. Hoos and K. Leyton-Brown, Sequential Model-Based Optimization for General Algorithm
    Configuration (SMAC), LION 2011, section 4.3, the randomized one-exchange neighbourhood: all other
    alternatives of a slot or an order, `NEAR` numbers around a number.
    """
    for axis in space.open_axes:
        if axis.name not in point:
            continue
        for value in _other_values(axis, point[axis.name], rng):
            changed = {**point, axis.name: value}

            def choose(one: Axis, changed: Point = changed) -> Value:
                return changed[one.name] if one.name in changed else random_value(one, rng)

            yield space.draw(choose)


def _other_values(axis: Axis, value: Value, rng: random.Random) -> list[Value]:
    if isinstance(axis, Number):
        return [number for _ in range(NEAR) if (number := _near(axis, float(value), rng)) != value]
    return [other for other in axis.values if other != value]


def _near(axis: Number, value: float, rng: random.Random) -> Value:
    """Draw from a normal around a number, `SPREAD` of the range wide, within the range."""
    scale, back = (math.log, math.exp) if axis.log else (float, float)
    low, high = scale(axis.low), scale(axis.high)
    drawn = math.inf
    while not low <= drawn <= high:
        drawn = rng.gauss(scale(value), SPREAD * (high - low))
    if axis.step is None and not axis.whole:
        return min(max(back(drawn), axis.low), axis.high)  # the way there and back may round
    return min(axis.values, key=lambda number: abs(float(number) - back(drawn)))
