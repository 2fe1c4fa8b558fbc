"""The validation-test gap: how much better the winner looked on the rows it was chosen on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .finals import Finals
from .stats import format_number
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Gap:
    """Select rows against test rows, for the winner. Built by `validation_gap`.

    Attributes:
        select_mean: the winner on select rows.
        test_mean: the winner on test rows.
        mean: select mean minus test mean.
        select_gain: winner minus seed prompt on select rows.
        corrected_gain: that gain corrected for the choice (`reselect.reselect`); None without enough rows.
        test_gain: winner minus seed prompt on test rows.
        gain: select gain minus test gain.
        finalists: prompts the winner was chosen among, the seed prompt included.
    """

    select_mean: float
    test_mean: float
    mean: float
    select_gain: float
    corrected_gain: float | None
    test_gain: float
    gain: float
    finalists: int

    @property
    def line(self) -> str:
        """The gap in words."""
        corrected = ""
        if self.corrected_gain is not None:
            corrected = f" ({format_number(self.corrected_gain, sign=True)} corrected for the choice)"
        return (
            f"on the rows it was chosen on, the best of {self.finalists} had "
            f"{format_number(self.select_mean)}, a gain of {format_number(self.select_gain, sign=True)}"
            f"{corrected}; on the test rows {format_number(self.test_mean)}, "
            f"{format_number(self.test_gain, sign=True)}: a validation-test gap of "
            f"{format_number(self.mean, sign=True)} ({format_number(self.gain, sign=True)} of the gain)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with the line."""
        return {**asdict(self), "line": self.line}


def validation_gap(finals: Finals, verdict: Verdict) -> Gap | None:
    """Compare both splits; None when the seed prompt won, or a split has no scores or is no other split."""
    if verdict.same_prompt or not verdict.held_out or finals.gain is None:
        return None
    if verdict.best is None or verdict.difference is None:
        return None
    select_mean = sum(finals.winner_scores) / len(finals.winner_scores)
    return Gap(
        select_mean=select_mean,
        test_mean=verdict.best,
        mean=select_mean - verdict.best,
        select_gain=finals.gain,
        corrected_gain=finals.corrected_gain,
        test_gain=verdict.difference,
        gain=finals.gain - verdict.difference,
        finalists=sum(standing.mean is not None for standing in finals.standings),
    )
