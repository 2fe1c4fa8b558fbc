"""Pools of prompts: score tables drawn from a model of how prompts and rows differ, or recorded."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptopt.errors import DataError
from promptopt.records import Evaluation

Floats = NDArray[np.float64]

DIFFICULTY, INTERACTION = 1.5, 0.8  # standard deviations in logits: two prompts' outcomes correlate at ~ .3
NEAR = 0.01 + 1e-9
TABLES = Path(__file__).parents[1] / "tables"


@dataclass(frozen=True)
class Drawn:
    """One pool: what each prompt is truly worth, and its scores.

    Attributes:
        true: accuracy `[prompts]` on endless rows.
        table: scores `[prompts, rows]` in the order in which rows are met.
    """

    true: Floats
    table: Floats

    @property
    def near(self) -> int:
        """How many prompts are truly within a point of the best, itself included."""
        return int((self.true >= self.true.max() - NEAR).sum())

    @cached_property
    def means(self) -> Floats:
        """What the full grid would know."""
        return np.asarray(np.nanmean(self.table, axis=1))


@dataclass(frozen=True)
class Pool:
    """A kind of pool, to draw from."""

    name: str
    draw: Callable[[int, int, np.random.Generator], Drawn]

    def drawn(self, repeats: int, prompts: int, rows: int, seed: int) -> list[Drawn]:
        """Draw pools; the same seed gives the same ones."""
        key = [seed, *self.name.encode()]
        return [self.draw(prompts, rows, np.random.default_rng([*key, repeat])) for repeat in range(repeats)]


def logit_pool(skill: float, spread: float) -> Callable[[int, int, np.random.Generator], Drawn]:
    """Row difficulty is shared by all prompts, skills are normal, each pair has a taste of its own."""
    # 400 equally likely quantiles of the row effect integrate it out.
    noise = np.random.default_rng(0).normal(0, np.hypot(DIFFICULTY, INTERACTION), 4_000)
    quantiles = np.sort(noise)[5::10]

    def draw(prompts: int, rows: int, rng: np.random.Generator) -> Drawn:
        skills = rng.normal(skill, spread, prompts)[:, None]
        logits = skills - rng.normal(0, DIFFICULTY, rows) + rng.normal(0, INTERACTION, (prompts, rows))
        return Drawn((1 / (1 + np.exp(-skills - quantiles))).mean(axis=1), _flip(_chance(logits), rng))

    return draw


def beta_pool(mean: float, spread: float) -> Callable[[int, int, np.random.Generator], Drawn]:
    """Accuracies are beta with this mean and standard deviation; rows are independent coins: no pairing."""
    size = mean * (1 - mean) / spread**2 - 1

    def draw(prompts: int, rows: int, rng: np.random.Generator) -> Drawn:
        true = rng.beta(mean * size, (1 - mean) * size, prompts)
        return Drawn(true, _flip(np.repeat(true[:, None], rows, axis=1), rng))

    return draw


def graded_pool(skill: float, spread: float) -> Callable[[int, int, np.random.Generator], Drawn]:
    """Return a pool like `logit_pool`, but of graded scores (token F1, say), not of right and wrong."""
    quantiles = np.sort(np.random.default_rng(0).normal(0, np.hypot(DIFFICULTY, INTERACTION), 4_000))[5::10]

    def draw(prompts: int, rows: int, rng: np.random.Generator) -> Drawn:
        skills = rng.normal(skill, spread, prompts)[:, None]
        logits = skills - rng.normal(0, DIFFICULTY, rows) + rng.normal(0, INTERACTION, (prompts, rows))
        chance = _chance(logits)
        return Drawn(
            (1 / (1 + np.exp(-skills - quantiles))).mean(axis=1), rng.beta(2 * chance, 2 - 2 * chance)
        )

    return draw


def table_pool(path: Path, near: int | None = None) -> Pool:
    """Draw prompts and rows, rows with replacement, from a recorded table; its means are the truth.

    Args:
        path: of the table.
        near: of the prompts within a point of the best keep only so many: the others would be its copies.
    """
    recorded = read_table(path)
    if near is not None:
        means = np.nanmean(recorded, axis=1)
        recorded = np.delete(recorded, np.flatnonzero(means >= means.max() - NEAR)[near:], axis=0)

    def draw(prompts: int, rows: int, rng: np.random.Generator) -> Drawn:
        count = prompts if near is None else min(prompts, len(recorded))
        chosen = rng.choice(len(recorded), count, replace=count > len(recorded))
        order = rng.choice(recorded.shape[1], rows, replace=True)
        return Drawn(np.nanmean(recorded, axis=1)[chosen], recorded[np.ix_(chosen, order)])

    return Pool(path.name.split(".")[0], draw)


def read_table(path: Path) -> Floats:
    """Read scores `[prompts, rows]`: gzipped CSV, one prompt a line after its name, empty for a failed cell.

    Raises:
        DataError: not such a file.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        _, *lines = csv.reader(stream)
    try:
        table = np.array([[float(cell) if cell else np.nan for cell in line[1:]] for line in lines])
    except ValueError as error:
        raise DataError(str(path), f"is no score table: {error}") from error
    if table.ndim != 2 or not table.size:
        raise DataError(str(path), "is no score table", got=table.shape)
    return table


def find_tables(given: Sequence[Path]) -> list[Path]:
    """Return the tables given, or those in benchmarks/tables."""
    return list(given) or sorted(TABLES.glob("*.csv.gz"))


POOLS = (
    Pool("hard beta", beta_pool(0.85, 0.08)),
    Pool("hard logit", logit_pool(2.6, 0.6)),
    Pool("hard graded", graded_pool(2.6, 0.6)),
    Pool("close logit", logit_pool(2.6, 0.35)),
    Pool("spread beta", beta_pool(0.5, 0.22)),
    Pool("spread logit", logit_pool(-1.0, 0.9)),
)
"""Hard: mean .85, standard deviation .05 to .08; close: .035; spread: mean .35 to .5, .13 to .22."""


@dataclass(frozen=True)
class TableEvaluation(Evaluation):
    """An evaluation that reads its figures off a table, since making 500 cells takes longer than choosing."""

    row_values: Floats = field(default_factory=lambda: np.zeros(0))  # type: ignore[assignment]
    n: int = 0  # type: ignore[assignment]
    mean: float = 0.0  # type: ignore[assignment]

    @property
    def comparable(self) -> bool:
        failed = len(self.row_values) - self.n
        return self.n > 0 and failed <= self.MAX_FAILED * len(self.row_values)


class FastScorer:
    """Answer a selector out of a table, as `TableScorer` does, and count the cells."""

    def __init__(self, table: Floats) -> None:
        self._table = table
        self._counts = np.cumsum(~np.isnan(table), axis=1)
        self._sums = np.cumsum(np.nan_to_num(table), axis=1)
        self.met = np.zeros(len(table), dtype=int)

    @property
    def cells(self) -> int:
        return int(self.met.sum())

    def __call__(self, candidates: Sequence[int], n: int) -> list[Evaluation]:
        places = np.asarray(candidates, dtype=int)
        self.met[places] = np.maximum(self.met[places], n)
        counts = self._counts[places, n - 1].tolist()
        sums = self._sums[places, n - 1].tolist()
        return [
            TableEvaluation(
                str(place), "table", row_values=self._table[place, :n], n=count,
                mean=total / count if count else float("nan"),
            )
            for place, count, total in zip(places.tolist(), counts, sums, strict=True)
        ]  # fmt: skip


def _chance(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _flip(chance: Floats, rng: np.random.Generator) -> Floats:
    return (rng.random(chance.shape) < chance).astype(np.float64)
