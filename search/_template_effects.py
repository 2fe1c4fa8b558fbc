"""Which choices mattered: main effects, what two choices do together, and both in words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptopt.proof.stats import format_number

from ._template_space import Axis, Number, Point, Space, Value, random_value

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ABSENT = "(not there)"
DRAWS = 2000
SHUFFLES = 999
MOST_LEVELS = 5
PENALTIES = tuple(10.0**power for power in np.arange(-2, 2.1, 0.5))
SMALL = 0.05
"""A share of the variance that is not worth a word of its own."""


@dataclass(frozen=True)
class Tried:
    """A point, its value, and how many rows the value rests on."""

    point: Point
    value: float
    rows: int


@dataclass(frozen=True)
class Effect:
    """What an axis does.

    Attributes:
        name: of the axis.
        share: of the variance of the scores over the space, all other axes drawn at random.
        levels: by level, its score against the mean, shrunk; and in how many trials it was seen.
    """

    name: str
    share: float
    levels: Mapping[str, tuple[float, int]]

    @property
    def span(self) -> tuple[str, str, float]:
        """The best level, the worst, and how far they are apart."""
        ranked = sorted(self.levels, key=lambda level: -self.levels[level][0])
        return ranked[0], ranked[-1], self.levels[ranked[0]][0] - self.levels[ranked[-1]][0]


@dataclass(frozen=True)
class Interaction:
    """What two axes do together beyond their sum: a share of the variance, and a permutation p-value."""

    names: tuple[str, str]
    share: float
    p: float


@dataclass(frozen=True)
class Effects:
    """Main effects and interactions, largest first; `rest` is the share of chance and of combinations."""

    trials: int
    main: tuple[Effect, ...]
    pairs: tuple[Interaction, ...]
    rest: float


def effects(space: Space, tried: Sequence[Tried], seed: int = 0) -> Effects | None:
    """Fit score = mean + one effect an axis, and look for pairs in what is left over.

    The fit is a ridge regression on the levels of all axes, weighted by rows met, its penalty chosen by
    generalized cross-validation (G. Golub, M. Heath and G. Wahba, Technometrics 21(2), 1979). An axis's share
    is the variance of its effect over random points of the space, as in a functional ANOVA (F. Hutter, H.
    Hoos and K. Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014), by
    the sum of these variances and that of the residuals. Noise counts as unexplained, so shares are no
    overstatement. A pair's share is the variance component between its combinations among the residuals.

    Returns:
        None when there are too few trials for the number of alternatives.
    """
    axes = [axis for axis in space.open_axes if len({t.point.get(axis.name) for t in tried}) > 1]
    codes = {axis.name: _Code(axis, [t.point.get(axis.name) for t in tried]) for axis in axes}
    columns = sum(len(code.levels) for code in codes.values())
    if not axes or len(tried) < columns + 5:
        return None
    seen = {name: code.of([t.point for t in tried]) for name, code in codes.items()}
    y = np.array([t.value for t in tried])
    weights = np.array([float(t.rows) for t in tried])
    weights /= weights.mean()
    design = np.hstack([np.eye(len(codes[name].levels))[seen[name]] for name in codes])
    fit, left, freedom = _ridge(design, y, weights)
    noise = float(weights @ left**2 / max(1.0, len(y) - freedom))
    rng = random.Random(seed)
    drawn = [space.draw(lambda axis: random_value(axis, rng)) for _ in range(DRAWS)]
    variances: dict[str, float] = {}
    parts: dict[str, Floats] = {}
    at = 0
    for name, code in codes.items():
        part = fit[at : at + len(code.levels)]
        at += len(code.levels)
        over = part[code.of(drawn)]
        parts[name] = part - over.mean()
        variances[name] = float(over.var())
    total = sum(variances.values()) + noise
    if total < 1e-12:
        return None
    main = tuple(
        Effect(
            name,
            variances[name] / total,
            {
                level: (float(parts[name][place]), int((seen[name] == place).sum()))
                for place, level in enumerate(code.levels)
            },
        )
        for name, code in codes.items()
    )
    pairs = _pairs(codes, seen, left, total, np.random.default_rng(seed))
    return Effects(len(tried), tuple(sorted(main, key=lambda e: -e.share)), pairs, noise / total)


class _Code:
    """The levels of an axis: its values, or of a number with many values, ranges of them."""

    def __init__(self, axis: Axis, values: Sequence[Value | None]) -> None:
        self._name = axis.name
        known = [value for value in values if value is not None]
        kinds = sorted(set(known)) if isinstance(axis, Number) else [v for v in axis.values if v in known]
        self._edges: Floats | None = None
        if isinstance(axis, Number) and len(kinds) > MOST_LEVELS:
            numbers = np.array([float(value) for value in known])
            self._edges = np.unique(np.quantile(numbers, np.linspace(0, 1, MOST_LEVELS)[1:-1]))
            ends = [axis.low, *self._edges, axis.high]
            named = [f"{low:g} to {high:g}" for low, high in pairwise(ends)]
        else:
            named = [str(kind) for kind in kinds]
        self._places = {kind: place for place, kind in enumerate(kinds)}
        self.levels = [*named, ABSENT] if None in values else named

    def of(self, points: Sequence[Point]) -> Ints:
        """Return the level of each point `[points]`; what was never seen counts as the last one."""
        return np.array([self._level(point.get(self._name)) for point in points], dtype=np.int64)

    def _level(self, value: Value | None) -> int:
        if value is None:
            return len(self.levels) - 1
        if self._edges is not None:
            return int(np.searchsorted(self._edges, float(value), side="left"))
        return self._places.get(value, len(self.levels) - 1)


def _ridge(design: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, float]:
    """Return coefficients, residuals, and the degrees of freedom that the fit has used."""
    root = np.sqrt(weights)
    mean = float(weights @ y / weights.sum())
    centre = weights @ design / weights.sum()
    x = (design - centre) * root[:, None]
    target = (y - mean) * root
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    best: tuple[float, Floats, float] | None = None
    for penalty in PENALTIES:
        shrink = s**2 / (s**2 + penalty)
        freedom = float(shrink.sum()) + 1
        left = target - u @ (shrink * (u.T @ target))
        score = float(left @ left) / (len(y) - freedom) ** 2
        if best is None or score < best[0] - 1e-15:
            best = (score, vt.T @ (shrink / np.maximum(s, 1e-12) * (u.T @ target)), freedom)
    assert best is not None
    fit = best[1]
    return fit, y - mean - (design - centre) @ fit, best[2]


def _pairs(
    codes: Mapping[str, _Code], seen: Mapping[str, Ints], left: Floats, total: float, rng: np.random.Generator
) -> tuple[Interaction, ...]:
    found = []
    shuffled = np.array([rng.permutation(left) for _ in range(SHUFFLES)])
    for first, second in combinations(codes, 2):
        both = seen[first] * len(codes[second].levels) + seen[second]
        cells, group = np.unique(both, return_inverse=True)
        if not 1 < len(cells) < len(left):
            continue
        share = max(0.0, _between(left[None], group, len(cells))[0]) / total
        chance = _between(shuffled, group, len(cells)) / total
        p = (1 + int((chance >= share).sum())) / (1 + SHUFFLES)
        found.append(Interaction((first, second), share, p))
    return tuple(sorted(found, key=lambda pair: -pair.share))


def _between(values: Floats, group: Ints, cells: int) -> Floats:
    """Return the variance component between groups of `[samples, trials]`, by moments.

    S. Searle, G. Casella and C. McCulloch, Variance Components, 1992, section 3.6: one-way random effects.
    """
    member = np.eye(cells)[group]
    sizes = member.sum(axis=0)
    n = values.shape[1]
    means = values @ member / sizes
    grand = values.mean(axis=1, keepdims=True)
    between = (sizes * (means - grand) ** 2).sum(axis=1) / (cells - 1)
    within = (values**2).sum(axis=1) - (sizes * means**2).sum(axis=1)
    size = (n - (sizes**2).sum() / n) / (cells - 1)
    return np.asarray((between - within / (n - cells)) / size)


# --- in words --------------------------------------------------------------------------------------------


def sentences(found: Effects) -> list[str]:
    """Return what was found, one line for the slots and one for each pair that matters together."""
    large = [effect for effect in found.main if effect.share >= SMALL]
    if not large:
        lines = [
            f"no slot stands out over {found.trials} prompts: each explains less than {SMALL:.0%} of the "
            "variance of the scores"
        ]
    else:
        lines = [
            f"over {found.trials} prompts "
            + ", ".join(
                f"{effect.name} explains {effect.share:.0%}" + (" of the variance" if not place else "")
                for place, effect in enumerate(large)
            )
            + f"; chance and combinations {found.rest:.0%}"
        ]
        lines += [_level_line(effect) for effect in large[:3]]
    level = 0.05 / max(1, len(found.pairs))
    for pair in found.pairs:
        if pair.p <= max(level, 1 / (1 + SHUFFLES)) and pair.share >= SMALL / 2:
            first, second = pair.names
            lines.append(
                f"{first} and {second} act together: {pair.share:.0%} of the variance (p = {pair.p:.3f})"
            )
    return lines


def _level_line(effect: Effect) -> str:
    best, worst, gap = effect.span
    return f"{effect.name}: {_short(best)} does best, {format_number(gap, sign=True)} over {_short(worst)}"


def _short(label: str, most: int = 50) -> str:
    text = " ".join(label.split())
    return f'"{text}"' if len(text) <= most else f'"{text[: most - 1]}…"'


def as_data(found: Effects, ped_anova: Mapping[str, float]) -> dict[str, Any]:
    """Return plain JSON data."""
    return {
        "trials": found.trials,
        "axes": [
            {
                "name": effect.name,
                "share": round(effect.share, 4),
                "ped_anova": round(ped_anova[effect.name], 4) if effect.name in ped_anova else None,
                "levels": [
                    {"level": level, "effect": round(value, 4), "trials": seen}
                    for level, (value, seen) in effect.levels.items()
                ],
            }
            for effect in found.main
        ],
        "interactions": [
            {"axes": list(pair.names), "share": round(pair.share, 4), "p": pair.p} for pair in found.pairs
        ],
        "unexplained": round(found.rest, 4),
    }
