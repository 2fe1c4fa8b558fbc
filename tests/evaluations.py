"""Evaluations made from bare scores, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.records import Cell, Evaluation, Score


def evaluation(prompt: str, values: Sequence[float | None], reward: str = "exact_match") -> Evaluation:
    """One cell a row; None is a failed cell."""
    cells = [
        Cell(prompt, str(row), status="failed", reason="timeout")
        if value is None
        else Cell(prompt, str(row), score=Score(float(value)))
        for row, value in enumerate(values)
    ]
    return Evaluation(prompt, reward, tuple(cells))
