"""What is kept of very many cells: sums that can be added up, from which mean and interval follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from .proof.cutoff import Cutoff
from .records import Evaluation

Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Tally:
    """A prompt's cells on rows that nobody keeps.

    Attributes:
        rows: with at least one ok cell.
        total: sum of the rows' values.
        squares: sum of their squares.
        failed: cells without a score.
        unparsed: cells whose output held no readable answer.
        binary: whether each row's value is 0 or 1.
        cutoff: replies that the token limit ended, and what they lost.
    """

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    failed: int = 0
    unparsed: int = 0
    binary: bool = True
    cutoff: Cutoff = Cutoff()

    @classmethod
    def of(cls, evaluation: Evaluation) -> Tally:
        """Return the sums of an evaluation."""
        values = list(evaluation.values.values())
        return cls(
            len(values), math.fsum(values), math.fsum(v * v for v in values), evaluation.failed,
            evaluation.unparsed, evaluation.binary, Cutoff.of(evaluation),
        )  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """Read what `to_dict` wrote; a part of an earlier version does not say what was cut."""
        return cls(**{**data, "cutoff": Cutoff(**data.get("cutoff", {}))})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    def __add__(self, other: Tally) -> Tally:
        """Add the sums of other rows."""
        return Tally(
            self.rows + other.rows, self.total + other.total, self.squares + other.squares,
            self.failed + other.failed, self.unparsed + other.unparsed, self.binary and other.binary,
            self.cutoff + other.cutoff,
        )  # fmt: skip

    @property
    def mean(self) -> float:
        """Mean over the rows; NaN without any."""
        return self.total / self.rows if self.rows else math.nan

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the mean: Wilson's (1927) for 0 and 1, else the normal one."""
        n, mean = self.rows, self.mean
        if n < 2:
            return math.nan, math.nan
        if self.binary:
            centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
            half = Z / (1 + Z * Z / n) * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
            return max(0.0, centre - half), min(1.0, centre + half)
        half = Z * math.sqrt(max(0.0, self.squares - n * mean * mean) / (n - 1) / n)
        return mean - half, mean + half
