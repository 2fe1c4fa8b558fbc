"""The one order in which evaluations are ranked."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Evaluation


def best_first(candidates: Sequence[int], evaluations: Sequence[Evaluation]) -> list[int]:
    """Return `candidates` (positions, one an evaluation), best first.

    Comparable evaluations come before all others, then the higher mean wins, then the lower position.
    Means are taken over each prompt's own ok rows: a failed cell counts neither for nor against it, and
    `comparable` bounds how many may be missing.
    """

    def rank(pair: tuple[int, Evaluation]) -> tuple[bool, float, int]:
        position, evaluation = pair
        return not evaluation.comparable, -evaluation.mean if evaluation.n else float("inf"), position

    return [position for position, _ in sorted(zip(candidates, evaluations, strict=True), key=rank)]
