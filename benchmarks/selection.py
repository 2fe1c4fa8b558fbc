"""How many cells each selector spends, and how good the prompt is that it finds.

    python benchmarks/selection.py

Simulated pools: row difficulty is shared by all prompts, each prompt has a skill, and whether a prompt
gets a row right is a coin flip at logit(skill - difficulty + their private interaction). Regret: how far
the winner's true accuracy lies below the best prompt's. Bias: how far the winner's own score lies above
its true accuracy, which is why that score is never the result of a run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from promptopt.contracts.selector import Selector
from promptopt.selection.full import FullGrid
from promptopt.selection.halving import SuccessiveHalving
from promptopt.selection.table import select_from_table

DIFFICULTY, INTERACTION = 1.5, 0.8  # standard deviations in logits: two prompts' outcomes correlate at ~ .3


@dataclass(frozen=True)
class Pool:
    """A kind of prompt pool: skills are normal with this mean and spread, in logits."""

    name: str
    skill: float
    spread: float


POOLS = (Pool("spread", -1.0, 0.9), Pool("middling", 0.3, 0.5), Pool("hard to tell apart", 2.2, 0.35))


def draw(pool: Pool, prompts: int, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the true accuracies `[prompts]` and a table of outcomes `[prompts, rows]`."""
    skill = rng.normal(pool.skill, pool.spread, prompts)[:, None]
    # 400 equally likely quantiles of the row effect integrate it out.
    quantiles = np.sort(np.random.default_rng(0).normal(0, np.hypot(DIFFICULTY, INTERACTION), 4_000))[5::10]
    true = (1 / (1 + np.exp(-skill - quantiles))).mean(axis=1)
    logits = skill - rng.normal(0, DIFFICULTY, rows) + rng.normal(0, INTERACTION, (prompts, rows))
    return true, (rng.random((prompts, rows)) < 1 / (1 + np.exp(-logits))).astype(float)


def selectors(rows: int) -> list[tuple[str, Selector]]:
    """Return the selectors to compare."""
    named: list[tuple[str, Selector]] = [
        ("full grid", FullGrid()),
        ("halving (default)", SuccessiveHalving()),
    ]
    for eta in (1.5, 2, 4):
        for first in (1, rows // 8, rows // 4):
            label = "equal shares" if first == 1 else f"first {first}"
            named.append((f"halving eta {eta:g}, {label}", SuccessiveHalving(eta, first)))
    return named


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Cells against regret of the selectors, by simulation.")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"{options.prompts} prompts x {options.rows} rows, {options.repeats} repeats; in points of accuracy"
    )
    header = f"{'selector':<30}{'cells':>7}{'share':>7}"
    print(header + "".join(f"   {pool.name + ': regret':>26}{'bias':>6}" for pool in POOLS))
    pools = {
        pool: [
            draw(pool, options.prompts, options.rows, np.random.default_rng([options.seed, place, repeat]))
            for repeat in range(options.repeats)
        ]
        for place, pool in enumerate(POOLS)
    }
    for name, selector in selectors(options.rows):
        cells = 0
        columns = []
        for drawn in pools.values():
            regret, bias = [], []
            for true, table in drawn:
                (winner,), cells = select_from_table(selector, table)
                regret.append(100 * (true.max() - true[winner]))
                bias.append(100 * (table[winner].mean() - true[winner]))
            error = np.std(regret) / np.sqrt(len(regret))
            columns.append(f"   {f'{np.mean(regret):.2f} ±{error:.2f}':>26}{np.mean(bias):>+6.1f}")
        share = cells / (options.prompts * options.rows)
        print(f"{name:<30}{cells:>7}{share:>7.2f}" + "".join(columns), flush=True)


if __name__ == "__main__":
    main()
