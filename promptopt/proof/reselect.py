"""The rule that names a winner among finalists, and what is left of its gain when it is applied honestly.

The rule (`pick`) works on scores alone: rows for all prompts, the seed prompt first. Repeating it on parts
of the rows, and reading each part's winner off the rows that it was not chosen on, gives the gain that this
way of choosing brings on fresh rows (`reselect`). The winner's own score cannot say that: it is the highest
of several, and luck is part of why. How far that estimate may be off for the prompt that won, `stretch` finds
out by playing it all in bootstrap worlds.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..errors import ContractError

ROUNDS = 200
FOLDS = (
    5  # each choice is made on four fifths of the rows: few are missing, and enough are left to read it off
)
WORLDS = 400
_DEALS = 4  # of each world's rows into folds; with more the intervals hardly get narrower
_LEVEL = 0.95
_TIE = 1e-9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Finalists:
    """Finalists' scores on shared rows, summed over the independent units of rows.

    Attributes:
        sums: sum of each prompt's scores over each unit, the seed prompt first `[prompts, units]`.
        sizes: rows of each unit `[units]`.
        costs: of each prompt, its characters or what an answer takes; the least wins in a band `[prompts]`.
        unit_of: the unit of each row `[rows]`.
    """

    sums: Floats
    sizes: Floats
    costs: Floats
    unit_of: Ints

    @classmethod
    def from_scores(
        cls,
        scores: Sequence[Sequence[float]],
        costs: Sequence[float],
        groups: Sequence[Hashable | None] | None = None,
    ) -> Finalists:
        """Add up scores `[prompts, rows]`; rows that share a group are one unit, None is one of its own."""
        table = np.asarray(scores, dtype=np.float64)
        keys = [
            (g is None, row if g is None else g) for row, g in enumerate(groups or [None] * table.shape[1])
        ]
        place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        unit_of = np.array([place[key] for key in keys], dtype=np.int64)
        sums = np.zeros((table.shape[0], len(place)))
        np.add.at(sums.T, unit_of, table.T)
        sizes = np.bincount(unit_of, minlength=len(place)).astype(np.float64)
        return cls(sums, sizes, np.asarray(costs, dtype=np.float64), unit_of)

    @property
    def units(self) -> int:
        """Number of independent units."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Reselection:
    """What choosing on parts of the rows brought on the rest.

    Attributes:
        means: score of the prompts chosen without a row, averaged over those choices `[rows]`; in units of
            several rows, the unit's mean.
        gains: the same, less the seed prompt's score `[rows]`.
        chosen: how often each prompt was chosen, as a share `[prompts]`.
        finalists: who was chosen among.
    """

    means: Floats
    gains: Floats
    chosen: Floats
    finalists: Finalists

    @property
    def gain(self) -> float:
        """The selection-aware estimate of the gain."""
        return float(self.gains.mean())


def pick(finalists: Finalists, weights: Floats) -> Ints:
    """Return the winner's position for each line of unit weights `[repeats, units]`.

    The leader is the highest mean. If no mean is above the seed prompt's, the seed prompt stays. Else the
    cheapest (by default: the shortest) wins among the prompts that are above the seed prompt and inside the
    noise band: behind the leader by no more than one paired standard error of the difference between the
    two (the one-standard-error rule of L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and
    Regression Trees, 1984, section 3.4.3, with paired rows). Equally cheap: the higher mean, then the
    earlier one.

    The seed prompt gets no benefit of the band: whether it is beaten is the test rows' question, and to
    keep it here on a narrow loss would leave most small gains unproven.
    """
    means, leads, bands = compare(finalists, weights)
    able = (means > means[:, :1] + _TIE) & (leads <= bands + _TIE)
    costs = np.where(able, finalists.costs, np.inf)
    cheapest = able & (costs == costs.min(axis=1, keepdims=True))
    best = np.where(cheapest, means, -np.inf).argmax(axis=1)
    winners: Ints = np.where(able.any(axis=1), best, 0)
    return winners


def compare(finalists: Finalists, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return means, leads of the leader over each, and their paired standard errors `[repeats, prompts]`."""
    sums, sizes = finalists.sums, finalists.sizes
    rows = weights @ sizes
    means: Floats = (weights @ sums.T) / rows[:, None]
    leader = means.argmax(axis=1)
    leads: Floats = means.max(axis=1, keepdims=True) - means
    drawn = weights.sum(axis=1)[:, None]
    own, sizes_squared = np.zeros_like(means), (weights @ sizes**2)[:, None]
    cross = np.zeros_like(means)
    for place in np.unique(leader):
        mine = leader == place
        difference = sums[place] - sums
        own[mine] = weights[mine] @ (difference**2).T
        cross[mine] = weights[mine] @ (difference * sizes).T
    # The linearised variance of a mean over units of unequal size; over single rows, the usual s**2 / n.
    around = np.maximum(own - 2 * leads * cross + leads**2 * sizes_squared, 0.0)
    bands: Floats = np.sqrt(drawn / np.maximum(drawn - 1, 1) * around) / rows[:, None]
    return means, leads, bands


def reselect(finalists: Finalists, *, seed: int, rounds: int = ROUNDS) -> Reselection:
    """Choose again on random four fifths of the units, read the winner off the rest, many times.

    Each round deals the units into five parts and leaves out each part once. The shortlist is frozen, choice
    and reading are on different rows, and what comes out is one number a row, which can be resampled: the
    plan of SIREN (Towards Reliable LLM Evaluation: Correcting the Winner's Curse in Adaptive Benchmarking,
    arXiv 2605.05973, 2026: a frozen post-search shortlist, repeated splits, an item-level bootstrap). Where
    it differs: the choice is the hard rule of `pick`, not a smooth one, and the interval is made by
    `stats.paired_interval` and `stretch`, not with Gaussian multipliers. That scores read off rows which the
    choice did not see are free of its bias is also the point of I. Tsamardinos, E. Greasidou and
    G. Borboudakis, Bootstrapping the Out-of-Sample Predictions for Efficient and Accurate Cross-Validation,
    Machine Learning 107, 2018.

    The estimate belongs to the way of choosing, not to the one prompt that won: it is right for that prompt
    on average over runs, up to choices that are a little worse for being made on fewer rows.

    Args:
        finalists: at least two units of rows.
        seed: of the dealing.
        rounds: how often all units are dealt.
    """
    units, folds = finalists.units, min(FOLDS, finalists.units)
    if units < 2:
        raise ContractError("reselect", "needs rows of two units or more", got=units)
    dealt = np.tile(np.arange(units) % folds, (rounds, 1))
    part = np.random.default_rng(seed).permuted(dealt, axis=1)
    left_out = np.concatenate([part == fold for fold in range(folds)]).astype(np.float64)
    winners = pick(finalists, 1.0 - left_out)
    hits = np.eye(len(finalists.sums))[winners]
    shares = left_out.T @ hits / rounds  # each unit is left out once a round
    per_row = (finalists.sums / finalists.sizes).T
    means = (shares * per_row).sum(axis=1)
    gains = means - per_row[:, 0]
    return Reselection(means[finalists.unit_of], gains[finalists.unit_of], hits.mean(axis=0), finalists)


def stretch(reselection: Reselection, *, seed: int) -> float:
    """Return how much wider than the rows' own an interval must be to hold for the one prompt that won.

    Rows resampled with their gains (`reselect`) show how uncertain the way of choosing is with its choices
    as they fell. Two things are missing: other rows would have led to other choices, and the winner's gain
    is not the average over choices. So the whole end of a run is played in bootstrap worlds, where the truth
    is known: rows are drawn with replacement, a winner is chosen, its gain is estimated by choosing again on
    parts of the rows drawn, and the error is that estimate less the winner's gain on all rows (the bootstrap
    of a root; B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5). Drawn
    copies of a row are dealt apart, for in such a world they are independent draws.

    Returns:
        The error that 95% of worlds stay below, over what a normal error of the rows' own standard error
        would stay below; at least 1.
    """
    finalists = reselection.finalists
    own = _standard_error(reselection)
    if own == 0:
        return 1.0
    rng = np.random.default_rng([seed, finalists.units])
    units = finalists.units
    gains = finalists.sums - finalists.sums[0]
    true = gains.sum(axis=1) / finalists.sizes.sum()
    drawn = rng.integers(units, size=(WORLDS, units))
    weights = _counts(drawn, units)
    estimates = np.zeros(WORLDS)
    for _ in range(_DEALS):
        drawn = rng.permuted(drawn, axis=1)
        for fold in range(min(FOLDS, units)):
            left_out = _counts(drawn[:, fold::FOLDS], units)
            chosen = pick(finalists, weights - left_out)
            estimates += np.einsum("wu,wu->w", gains[chosen], left_out)
    estimates /= _DEALS * (weights @ finalists.sizes)
    errors = np.abs(estimates - true[pick(finalists, weights)])
    normal = NormalDist().inv_cdf((1 + _LEVEL) / 2) * own
    return max(1.0, float(np.quantile(errors, _LEVEL)) / normal)


def _standard_error(reselection: Reselection) -> float:
    """Return the standard error of the mean gain over units of rows, choices taken as given."""
    units, unit_of = reselection.finalists.units, reselection.finalists.unit_of
    around = np.bincount(unit_of, weights=reselection.gains - reselection.gain, minlength=units)
    return float(np.sqrt(np.square(around).sum() * units / (units - 1)) / len(unit_of))


def _counts(drawn: Ints, units: int) -> Floats:
    """Count how often each line of `drawn` `[lines, draws]` holds each unit `[lines, units]`."""
    lines = len(drawn)
    flat = (drawn + units * np.arange(lines)[:, None]).ravel()
    return np.bincount(flat, minlength=lines * units).reshape(lines, units).astype(np.float64)
