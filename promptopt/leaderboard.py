"""The table that a competition of searchers ends in: what each found, what it is worth, what it took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .ledger import Spent
from .prompt import Prompt
from .proof.multiplicity import holm
from .proof.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One searcher of a competition.

    Attributes:
        searcher: its name.
        best: what it won with; None when it failed.
        verdict: that prompt against the seed prompt, on the test rows (or estimated, without a test split).
        p: the verdict's p-value, adjusted for the number of searchers (Holm); None when it failed.
        select_mean: of its prompt on the select rows.
        chosen: whether the run's winner is its prompt; decided on the select rows.
        cells: (prompt, row) outcomes it asked for, all splits.
        spent: as if it had run alone: an answer that another searcher had bought before counts here, too.
        stopped: whether it finished or its share of the budget ended it; None when it failed.
        failure: why it failed; empty when it did not.
    """

    searcher: str
    best: Prompt | None = None
    verdict: Verdict | None = None
    p: float | None = None
    select_mean: float | None = None
    chosen: bool = False
    cells: int = 0
    spent: Spent = Spent()
    stopped: Literal["finished", "budget"] | None = None
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: what `result.json` holds of it."""
        return {
            "searcher": self.searcher,
            "best": None if self.best is None else self.best.to_dict() | {"id": self.best.id},
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "p_adjusted": self.p,
            "select_mean": self.select_mean,
            "chosen": self.chosen,
            "cells": self.cells,
            "spent": self.spent._asdict(),
            "stopped": self.stopped,
            "failure": self.failure,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Entry:
        """Read what `to_dict` wrote; trained weights of its prompt are not looked for."""
        best, verdict = data["best"], data["verdict"]
        return cls(
            data["searcher"],
            None if best is None else Prompt.from_dict(best),
            None if verdict is None else Verdict.from_dict(verdict),
            data["p_adjusted"],
            data["select_mean"],
            data["chosen"],
            data["cells"],
            Spent(**data["spent"]),
            data["stopped"],
            data["failure"],
        )


def rank(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries with adjusted p-values: highest score first, failed ones last, ties as they came."""
    judged = [entry for entry in entries if entry.verdict is not None]
    adjusted = holm([entry.verdict.p for entry in judged if entry.verdict is not None])
    with_p = [replace(entry, p=p) for entry, p in zip(judged, adjusted, strict=True)]
    failed = [entry for entry in entries if entry.verdict is None]
    return (*sorted(with_p, key=lambda entry: -_score(entry)), *failed)


def _score(entry: Entry) -> float:
    scored = entry.verdict is not None and entry.verdict.best is not None
    return entry.verdict.best if scored else -math.inf  # type: ignore[union-attr,return-value]
