"""Power: how small a gain so many rows can show, and how many rows a gain needs; it knows no prompt.

The comparison is paired, so what counts is how much two prompts differ row by row: `discordance`, the mean
squared difference of their scores on a row. For 0/1 scores that is the share of rows which only one of the
two gets right. The number of rows that shows a mean difference of `gain` is

    n = (z_{1-alpha/2} sqrt(discordance) + z_{power} sqrt(discordance - gain**2))**2 / gain**2

(R. J. Connor, Sample Size for Testing Differences in Proportions for the Paired-Sample Design, Biometrics
43(1), 1987, page 209; with the variance of any paired difference in place of that of a 0/1 one it is the
usual two-sided z-test). +5 points need 312 rows at a discordance of 10% and 626 at 20%, +10 points 77 and
155. The exact test of the verdict needs a few rows more: `benchmarks/verdicts.py` measures its power.

Two 0/1 scores cannot differ by more on average than they differ at all: where a gain exceeds the
discordance given, the discordance is taken to be the gain. Without that rule 60 rows at 10% would be said
to show 11 points, which 10% of rows cannot make. Where the discordance was seen together with a gain, a
smaller gain is taken to come with less of it: with what is left when the gain seen is taken away (`churn`)
and the smaller gain is put in its place.

Real-valued scores, log-likelihoods say, name no scale before they are seen. Before a run the statement is
then made in standard deviations of the row-by-row difference (`unscaled_power`), or, where some scores of
one prompt are at hand, from theirs (`rehearsed_power`): scores of two prompts that correlate at r differ
with a variance of 2 (1 - r) times that of the scores, and r is taken to be 1/2, so that differences spread
as the scores do. Means are taken to be alike; a mean square is then a variance.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

from ..errors import BadInput
from .stats import format_number

ALPHA = 0.05
POWER = 0.8
DISCORDANCE = 0.1
"""Assumed before anything is known: two wordings of one task disagree on a tenth of the rows."""
MIN_UNITS = 6
"""The smallest n whose best case, all rows better, has an exact p of 2 * .5**n < ALPHA."""
CORRELATION = 0.5
"""Assumed of the scores of two wordings on the same rows, before both are seen."""
_GOALS = (0.05, 0.02, 0.01, 0.005)
_GOALS_IN_DEVIATIONS = (0.2, 0.1, 0.05, 0.02)
_EXACT_BELOW = 200  # "about 77 rows", but "about 310"

Unit = Literal["points", "reward", "deviations"]


def rows_needed(
    gain: float, discordance: float = DISCORDANCE, *, power: float = POWER, binary: bool = True
) -> int:
    """Return the independent rows that show a gain; formula and source in the module docstring.

    Args:
        gain: mean difference to be seen, above 0.
        discordance: mean squared difference of the two scores on a row.
        power: chance of seeing it.
        binary: scores are 0 or 1, so that the discordance is at least the gain.

    Raises:
        BadInput: a number out of its range.
    """
    if not 0 < gain < math.inf or (binary and gain > 1):
        raise BadInput("power.gain", "must be above 0, and at most 1 for 0/1 scores", got=gain)
    if not 0 <= discordance < math.inf or not 0 < power < 1:
        raise BadInput(
            "power", "needs a discordance of at least 0 and a power in (0, 1)", got=(discordance, power)
        )
    return math.ceil(_rows(gain, discordance, discordance, power, binary) - 1e-9)


def smallest_gain(
    rows: int,
    discordance: float = DISCORDANCE,
    *,
    churn: float | None = None,
    power: float = POWER,
    binary: bool = True,
) -> float:
    """Return the smallest gain that so many independent rows show; infinite when they show none.

    It is where `rows_needed` equals `rows`, found by bisection (the need falls as the gain grows).

    Args:
        rows: independent rows.
        discordance: mean squared difference of the two scores on a row.
        churn: the part of it that is not the gain it was seen with; None is all of it.
        power: chance of seeing the gain.
        binary: scores are 0 or 1.
    """
    rest = discordance if churn is None else churn
    if rows < MIN_UNITS:
        return math.inf
    low, high = 0.0, 1.0  # a gain of 1 in 0/1 scores, nothing else, needs 4 rows
    while _rows(high, discordance, rest, power, binary) > rows:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        short = _rows(middle, discordance, rest, power, binary) > rows
        low, high = (middle, high) if short else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class Power:
    """What a number of rows can and cannot show.

    Attributes:
        rows: independent rows (groups count once).
        split: which rows: test or select.
        discordance: mean squared difference of two scores on a row.
        churn: the part of it that is not the gain it was seen with.
        observed: where the discordance was seen; empty when it is assumed.
        binary: scores are 0 or 1.
        unit: of gains: points where scores lie in [0, 1], else that of the reward; standard deviations of
            the row-by-row difference where no score has been seen.
        rehearsed: the discordance was reckoned from scores of one prompt alone.
        smallest: the smallest gain seen with 80% power; infinite when none is.
        goal: a smaller gain, for comparison: a round one, or half of `smallest` in the reward's own unit.
        needed: rows that show `goal`.
    """

    rows: int
    split: str
    discordance: float
    churn: float
    observed: str
    binary: bool
    unit: Unit
    smallest: float
    goal: float | None
    needed: int | None
    rehearsed: bool = False

    @property
    def line(self) -> str:
        """The statement in words."""
        rows = f"with {self.rows:,} {self.split} row{'s' if self.rows != 1 else ''}"
        seen = "no gain" if math.isinf(self.smallest) else f"a gain under {self._amount(self.smallest)}"
        text = f"{rows} {seen} can{'' if math.isinf(self.smallest) else 'not'} be seen"
        if self.needed is not None and self.goal is not None:
            text += f"; you need about {_about(self.needed)} rows for {self._amount(self.goal)}"
        return f"{text} ({POWER:.0%} power at two-sided {f'{ALPHA:g}'.lstrip('0')}; {self._basis()})"

    def _amount(self, gain: float) -> str:
        if self.unit == "reward":
            return format_number(gain)
        if self.unit == "deviations":
            return f"{format_number(gain)} standard deviations"
        points = 100 * gain
        text = f"{points:.0f}" if points >= 1 else f"{points:.1g}"
        return f"{text} point{'s' if text != '1' else ''}"

    def _basis(self) -> str:
        if self.unit == "deviations":
            return "those of the difference between the two prompts on a row; no score tells them yet"
        if self.rehearsed:
            spread = format_number(math.sqrt(self.discordance))
            return (
                f"your prompt's scores have a standard deviation of {spread} on the {self.observed}, and "
                f"those of the two prompts are taken to correlate at {CORRELATION:g}"
            )
        if not self.observed:
            return f"assuming that the two prompts differ on {self.discordance:.0%} of rows"
        if self.binary:
            apart = f"{self.churn:.0%} apart from the gain"
            return f"the two prompts differ on {self.discordance:.0%} of the {self.observed}, {apart}"
        spread = format_number(math.sqrt(self.churn))
        return f"differences have a standard deviation of {spread} on the {self.observed}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with the line; an infinite smallest gain is null."""
        smallest = None if math.isinf(self.smallest) else self.smallest
        return {**asdict(self), "smallest": smallest, "line": self.line}


def assumed_power(rows: int, split: str = "test") -> Power:
    """Return what can be said before anything is scored, for scores of 0 or 1."""
    return _power(rows, split, DISCORDANCE, DISCORDANCE, binary=True, unit="points")


def unscaled_power(rows: int, split: str = "test") -> Power:
    """Return what can be said before anything is scored, for scores on a scale that is not known."""
    return _power(rows, split, 1.0, 1.0, binary=False, unit="deviations")


def rehearsed_power(scores: Sequence[float], *, rows: int, split: str, observed: str) -> Power | None:
    """Return what can be said of real-valued scores once one prompt has some.

    Args:
        scores: of one prompt, a row each.
        rows: independent rows of the proof.
        split: which rows those are.
        observed: which rows the scores are from, in words.

    Returns:
        None for scores that are all 0 or 1, where the mean says nothing of how often prompts differ, and
        for scores that do not differ.
    """
    if set(scores) <= {0.0, 1.0} or max(scores) == min(scores):
        return None
    variance = 2 * (1 - CORRELATION) * statistics.variance(scores)
    power = _power(rows, split, variance, variance, binary=False, unit=_unit(scores), observed=observed)
    return replace(power, rehearsed=True)


def observed_power(
    before: Sequence[float], after: Sequence[float], *, rows: int, split: str, observed: str
) -> Power | None:
    """Return what can be said once two prompts have met the same rows; None when they never differ.

    Args:
        before: scores of the one prompt.
        after: scores of the other on the same rows.
        rows: independent rows of the proof.
        split: which rows those are.
        observed: which rows the scores are from, in words.
    """
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if not any(differences):
        return None
    values = {*before, *after}
    binary = values <= {0.0, 1.0}
    discordance = math.fsum(d * d for d in differences) / len(differences)
    gain = abs(math.fsum(differences)) / len(differences)
    churn = max(discordance - (gain if binary else gain**2), 0.0)
    return _power(rows, split, discordance, churn, binary=binary, unit=_unit(values), observed=observed)


def _unit(values: Iterable[float]) -> Unit:
    return "points" if all(0 <= value <= 1 for value in values) else "reward"


def _power(
    rows: int, split: str, discordance: float, churn: float, *, binary: bool, unit: Unit, observed: str = ""
) -> Power:
    smallest = smallest_gain(rows, discordance, churn=churn, binary=binary)
    half = () if math.isinf(smallest) else (smallest / 2,)
    goals = {"points": _GOALS, "deviations": _GOALS_IN_DEVIATIONS, "reward": half}[unit]
    goal = next((goal for goal in goals if goal < 0.95 * smallest), None)
    needed = None if goal is None else math.ceil(_rows(goal, discordance, churn, POWER, binary) - 1e-9)
    return Power(rows, split, discordance, churn, observed, binary, unit, smallest, goal, needed)


def _rows(gain: float, discordance: float, churn: float, power: float, binary: bool) -> float:
    own = gain if binary else gain**2
    spread = max(own, min(discordance, churn + own))
    root = _z(1 - ALPHA / 2) * math.sqrt(spread) + _z(power) * math.sqrt(max(spread - gain**2, 0.0))
    return (root / gain) ** 2


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _about(rows: int) -> str:
    return f"{rows if rows < _EXACT_BELOW else 5 * round(rows / 5):,}"
