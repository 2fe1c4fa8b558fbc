"""Who is compared: the selectors, and what rivals do instead, under the same contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from promptopt.contracts.selector import ScoreRows, Selector
from promptopt.records import Evaluation
from promptopt.selection.full import FullGrid
from promptopt.selection.halving import SuccessiveHalving
from promptopt.selection.hyperband import Hyperband
from promptopt.selection.race import PairedRace
from promptopt.selection.ranking import best_first
from promptopt.selection.top_two import TopTwo
from promptopt.selection.upper_bounds import UpperBounds

from .pools import FastScorer, Floats, TableEvaluation
from .regret import Choose

RIVALS_SHARE = 1 / 7
"""What rivals with a free number of cells get: what the default selector spends on hard pools."""


@dataclass(frozen=True)
class WithoutCopies:
    """The default race, but of prompts that are alike on all rows met one stays, once that is safe enough.

    Two prompts that agree on n of N rows drawn at random may still differ by d rows of them, and would have
    shown nothing with probability C(N - d, n) / C(N, n). As soon as that is at most `level` for a lead of
    more than `tolerance`, all but the best ranked of a group of copies are dropped: on 500 rows, from 91 on.
    """

    level: float = 0.3
    tolerance: float = 0.01

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        ahead = math.floor(self.tolerance * rows) + 1

        def once(asked: Sequence[int], n: int) -> list[Evaluation]:
            evaluations = score(asked, n)
            if math.comb(rows - ahead, n) > self.level * math.comb(rows, n):
                return evaluations
            found: dict[bytes, Evaluation] = {}
            for evaluation in evaluations:
                found.setdefault(np.asarray(evaluation.row_values).tobytes(), evaluation)
            first = {id(evaluation) for evaluation in found.values()}
            dropped = TableEvaluation("copy", "table", row_values=np.full(n, np.nan), mean=float("nan"))
            return [evaluation if id(evaluation) in first else dropped for evaluation in evaluations]

        return PairedRace().select(once, candidates, rows, k)

    def cells(self, candidates: int, rows: int, k: int) -> int:
        return PairedRace().cells(candidates, rows, k)


SELECTORS: dict[str, Selector] = {
    "full grid": FullGrid(),
    "upper bounds, paired": UpperBounds(),
    "upper bounds, KL (share .1)": UpperBounds(bounds="kl"),
    "upper bounds, KL, proven": UpperBounds(bounds="kl", delta=0.05, share=1.0, batch=8, block=100),
    "halving eta 2": SuccessiveHalving(),
    "halving eta 2, equal shares": SuccessiveHalving(first=1),
    "race (adjusted .2, share .12)": PairedRace(),
    "race, copies dropped": WithoutCopies(),
    "race, share .08": PairedRace(share=0.08),
    "race, no cap on cells": PairedRace(share=1),
    "race, McNemar .2": PairedRace(alpha=0.2, test="mcnemar", share=1),
    "race, McNemar .05, family": PairedRace(alpha=0.05, test="mcnemar", family=True, share=1),
    "race, Bernstein .2": PairedRace(alpha=0.2, test="bernstein", share=1),
    "race, Bernstein .05, family": PairedRace(alpha=0.05, test="bernstein", family=True, share=1),
    "top-two Thompson": TopTwo(),
    "hyperband": Hyperband(),
}

SLOW = ("upper bounds", "top-two", "no cap", "McNemar", "Bernstein")
"""Nothing is claimed of these, and they take most of the time: measured on a third of the repeats."""

MAIN = (
    "full grid", "race (adjusted .2, share .12)", "race, McNemar .2", "halving eta 2",
    "upper bounds, paired", "upper bounds, KL (share .1)", "top-two Thompson", "hyperband",
)  # fmt: skip
"""One of each kind, for the null control."""


@dataclass(frozen=True)
class BestOf:
    """Every prompt meets the same first rows, once: plain best-of-n on shared rows."""

    share: float

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        n = max(1, round(self.share * rows))
        return best_first(range(candidates), score(range(candidates), n))[:k]

    def cells(self, candidates: int, rows: int, k: int) -> int:
        return candidates * max(1, round(self.share * rows))


@dataclass(frozen=True)
class CapoRace:
    """Drop a prompt that at least `k` others beat by a paired t test at `alpha`, block by block.

    T. Zehle et al., CAPO: Cost-Aware Prompt Optimization, AutoML 2025, with its alpha of .2 and blocks of
    30 rows; nothing corrects for the number of looks or of rivals.
    """

    alpha: float = 0.2
    block: int = 30

    def select(self, score: ScoreRows, candidates: int, rows: int, k: int) -> list[int]:
        alive, n = list(range(candidates)), 0
        critical = NormalDist().inv_cdf(1 - self.alpha)
        while n < rows and (len(alive) > k or not n):
            n = min(rows, n + self.block)
            evaluations = score(alive, n)
            values = np.array([evaluation.row_values for evaluation in evaluations])
            alive = [
                position
                for place, position in enumerate(alive)
                if _beaten(values, place, critical) < k or len(alive) <= k
            ]
        return best_first(alive, score(alive, n))[:k]

    def cells(self, candidates: int, rows: int, k: int) -> int:
        return candidates * rows


def ape_subset(share: float) -> Choose:
    """Score each prompt on a random subset of its own, as APE does: not paired."""

    def choose(table: Floats, rng: np.random.Generator) -> tuple[int, int, float]:
        candidates, rows = table.shape
        n = max(1, round(share * rows))
        means = [float(np.nanmean(line[rng.choice(rows, n, replace=False)])) for line in table]
        winner = int(np.argmax(means))
        return winner, candidates * n, means[winner]

    return choose


def chooser(selector: Selector) -> Choose:
    """Let a selector choose one prompt of a table."""

    def choose(table: Floats, _: np.random.Generator) -> tuple[int, int, float]:
        score = FastScorer(table)
        (winner,) = selector.select(score, *table.shape, 1)
        return winner, score.cells, float(np.nanmean(table[winner, : score.met[winner]]))

    return choose


def rivals(share: float) -> dict[str, Choose]:
    """Return what others do, those with a free number of cells at this share of the grid."""
    return {
        f"APE: a subset of its own, 1/{1 / share:.0f}": ape_subset(share),
        f"best of n on shared rows, 1/{1 / share:.0f}": chooser(BestOf(share)),
        "CAPO's race, alpha .2, blocks of 30": chooser(CapoRace()),
    }


def curves() -> dict[str, list[Choose]]:
    """Return each kind with ever more cells to spend."""
    return {
        "race": [
            chooser(PairedRace(share=s, first=f)) for s, f in ((0.05, 10), (0.08, 18), (0.12, 18), (1, 18))
        ],
        "halving eta 2": [chooser(SuccessiveHalving(first=first)) for first in (1, 32, 48, 80, 120)],
        "upper bounds, paired": [
            chooser(UpperBounds(tolerance=t, share=s))
            for t, s in ((0.03, 0.1), (0.01, 0.1), (0.01, 0.2), (0, 0.4))
        ],
        "upper bounds, KL": [chooser(UpperBounds(bounds="kl", share=s)) for s in (0.05, 0.15, 0.25, 0.4)],
        "top-two Thompson": [
            chooser(TopTwo(tolerance=t, delta=d, share=s))
            for t, d, s in ((0.02, 0.2, 0.1), (0.01, 0.05, 0.1), (0.01, 0.02, 0.2), (0, 0.02, 0.4))
        ],
        "hyperband": [
            chooser(Hyperband(brackets=b, first=f)) for b, f in ((1, 10), (2, 10), (3, 16), (4, 32))
        ],
        "best of n on shared rows": [chooser(BestOf(share)) for share in (1 / 20, 1 / 14, 1 / 7, 1 / 4)],
        "APE: a subset of its own": [ape_subset(share) for share in (1 / 20, 1 / 14, 1 / 7, 1 / 4)],
        "CAPO's race": [chooser(CapoRace(alpha)) for alpha in (0.3, 0.2, 0.1, 0.05, 0.02)],
    }


def _beaten(values: Floats, place: int, critical: float) -> int:
    """Count the rows of `values` [candidates, rows] that beat one of them by a paired test."""
    leads = values - values[place]
    n = np.maximum((~np.isnan(leads)).sum(axis=1), 2)
    means = np.nansum(leads, axis=1) / n
    errors = np.sqrt(np.maximum(np.nansum(np.square(leads), axis=1) / n - np.square(means), 0) / (n - 1))
    return int(np.count_nonzero(means > critical * errors)) - int(means[place] > critical * errors[place])
