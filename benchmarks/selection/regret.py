"""How far below the best a choice falls, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .pools import Drawn, Floats

Choose = Callable[[Floats, np.random.Generator], tuple[int, int, float]]
"""From a table `[prompts, rows]` to the winner, the cells it took, the winner's mean on the rows it met."""

CLOSE = 1.0 + 1e-6  # points; sums of the same scores in another order differ in the last bits


@dataclass(frozen=True)
class Figures:
    """Means over repeats, in points of accuracy.

    Attributes:
        share: cells, as a share of the full grid.
        short: the winner's mean on all rows below the best mean on all rows.
        error: standard error of `short`.
        close: share of repeats with `short` at most 1.
        regret: the winner's true accuracy below the best true accuracy.
        truly_close: share of repeats with `regret` at most 1.
        bias: the winner's own mean, on the rows it met, above its true accuracy.
        milliseconds: of one choice.
    """

    share: float
    short: float
    error: float
    close: float
    regret: float
    truly_close: float
    bias: float
    milliseconds: float


def measure(choose: Choose, drawn: Sequence[Drawn], seed: int) -> Figures:
    """Choose in every pool drawn."""
    lines, seconds = [], 0.0
    for repeat, pool in enumerate(drawn):
        began = time.process_time()
        winner, cells, mean = choose(pool.table, np.random.default_rng([seed, repeat]))
        seconds += time.process_time() - began
        lines.append(
            (
                cells / pool.table.size,
                100 * (pool.means.max() - pool.means[winner]),
                100 * (pool.true.max() - pool.true[winner]),
                100 * (mean - pool.true[winner]),
            )
        )
    share, short, regret, bias = np.array(lines).T
    return Figures(
        share=float(share.mean()),
        short=float(short.mean()),
        error=float(short.std() / np.sqrt(len(short))),
        close=float(np.mean(short <= CLOSE)),
        regret=float(regret.mean()),
        truly_close=float(np.mean(regret <= CLOSE)),
        bias=float(bias.mean()),
        milliseconds=1000 * seconds / len(drawn),
    )
