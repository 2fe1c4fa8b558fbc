"""Is the verdict true? Coverage, false alarms, power and the validation-test gap, by simulation.

    python benchmarks/verdicts.py

Rows differ in difficulty, prompts in skill; a prompt gets a row right by a coin flip at logit(skill -
difficulty + their private interaction). Real-valued scores are a Beta(2, 1) number where the prompt is
right and 0 elsewhere; clustered rows share, five by five, difficulty and interaction. The true gain is
that of the whole population. Exit code 1 says that a figure left its band.

Intervals and permutation tests draw 2,000 resamples here and 10,000 in a run.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

import numpy as np

from promptopt.prompt import Prompt
from promptopt.proof import stats
from promptopt.proof.finals import Finals, decide
from promptopt.proof.power import rows_needed
from promptopt.proof.reselect import Finalists, pick, reselect
from promptopt.proof.stats import mcnemar_exact, paired_interval
from promptopt.proof.verdict import judge, judge_reused
from promptopt.records import Cell, Evaluation, Score

DIFFICULTY, INTERACTION = 1.5, 0.8
CLUSTER = 5
BETA_MEAN = 2 / 3
_EFFECTS = np.sort(np.random.default_rng(0).normal(0, math.hypot(DIFFICULTY, INTERACTION), 40_000))[5::10]


@dataclass(frozen=True)
class World:
    """A kind of scores."""

    name: str
    real: bool = False
    clustered: bool = False

    def draw(self, skills: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
        """Return scores `[prompts, rows]`."""
        each = CLUSTER if self.clustered else 1
        units = math.ceil(rows / each)
        effect = rng.normal(0, INTERACTION, (len(skills), units)) - rng.normal(0, DIFFICULTY, units)
        logits = skills[:, None] + np.repeat(effect, each, axis=1)[:, :rows]
        right = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
        return right * rng.beta(2, 1, right.shape) if self.real else right.astype(float)

    def true(self, skills: np.ndarray) -> np.ndarray:
        """Return true means `[prompts]`."""
        means = (1 / (1 + np.exp(-skills[:, None] - _EFFECTS))).mean(axis=1)
        return means * BETA_MEAN if self.real else means

    def groups(self, rows: int) -> dict[str, str | None]:
        """Return the group of each row."""
        return {str(row): f"g{row // CLUSTER}" if self.clustered else None for row in range(rows)}


WORLDS = (
    World("binary"),
    World("real-valued", real=True),
    World("binary, clustered", clustered=True),
    World("real-valued, clustered", real=True, clustered=True),
)


def evaluation(prompt: str, scores: np.ndarray) -> Evaluation:
    cells = (Cell(prompt, str(row), score=Score(value)) for row, value in enumerate(scores.tolist()))
    return Evaluation(prompt, "score", tuple(cells))


def coverage(runs: int, seed: int) -> bool:
    print(
        f"\ncoverage of the 95% interval of winner minus seed prompt, {runs} runs a figure (wanted: 93-97%)"
    )
    print(f"{'scores':<26}" + "".join(f"{f'n {n}':>9}" for n in (60, 100, 300)))
    fine = True
    skills = np.array([0.0, 0.6])
    for place, world in enumerate(WORLDS):
        figures = []
        before, after = world.true(skills)
        for n in (60, 100, 300):
            groups = list(world.groups(n).values()) if world.clustered else None
            hits = 0
            for run in range(runs):
                scores = world.draw(skills, n, np.random.default_rng([seed, place, n, run]))
                hits += (after - before) in paired_interval(scores[1] - scores[0], seed=run, groups=groups)
            figures.append(hits / runs)
        fine &= all(0.93 <= figure <= 0.97 for figure in figures)
        print(f"{world.name:<26}" + "".join(f"{figure:>9.1%}" for figure in figures), flush=True)
    return fine


@dataclass(frozen=True)
class Pool:
    """A seed prompt of skill 0 and finalists around it."""

    name: str
    skill: float
    spread: float


POOLS = (Pool("all equal", 0.0, 0.0), Pool("close", 0.15, 0.2), Pool("spread", 0.4, 0.5))
PROMPTS = [Prompt("x" * length) for length in (50, 60, 80, 100, 150, 200)]


def play(pool: Pool, world: World, n: int, run: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return skills and select scores of the seed prompt and five finalists."""
    rng = np.random.default_rng([seed, n, run, 7])
    skills = np.concatenate([[0.0], rng.normal(pool.skill, pool.spread, len(PROMPTS) - 1)])
    return skills, world.draw(skills, n, rng)


def finals_of(
    table: np.ndarray, run: int, groups: dict[str, str | None] | None = None
) -> tuple[Finals, list[Evaluation]]:
    """Decide as a run does."""
    evaluations = [evaluation(p.id, line) for p, line in zip(PROMPTS, table, strict=True)]
    return decide(PROMPTS, evaluations, seed=run, groups=groups), evaluations


def gaps(runs: int, seed: int) -> bool:
    print(f"\nreported gain minus true gain of the winner, in points ± standard error, {runs} runs each")
    print("(best of 5 finalists and the seed prompt; wanted for the verdict: within ±0.5)")
    columns = ("select gain", "corrected for the choice", "verdict, on test rows", "seed stays")
    print(f"{'finalists':<11}{'rows':>5}" + "".join(f"{column:>26}" for column in columns))
    world, fine = WORLDS[0], True
    for pool in POOLS:
        for n in (60, 100, 300):
            naive, corrected, proven, stays = [], [], [], 0
            for run in range(runs):
                skills, table = play(pool, world, n, run, seed)
                finalists = Finalists.from_scores(table, [prompt.length for prompt in PROMPTS])
                winner = int(pick(finalists, np.ones((1, n)))[0])
                true = np.diff(world.true(skills[[0, winner]]))[0]
                test = world.draw(skills[[0, winner]], n, np.random.default_rng([seed, n, run, 8]))
                stays += winner == 0
                naive.append(np.mean(table[winner] - table[0]) - true)
                corrected.append(reselect(finalists, seed=run, rounds=50).gain - true)
                proven.append((test[1] - test[0]).mean() - true if winner else 0.0)
            cells = [f"{100 * np.mean(x):+.2f} ±{100 * np.std(x) / math.sqrt(runs):.2f}"
                     for x in (naive, corrected, proven)]  # fmt: skip
            fine &= abs(np.mean(proven)) <= 0.005
            cells.append(f"{stays / runs:.0%}")
            print(f"{pool.name:<11}{n:>5}" + "".join(f"{cell:>26}" for cell in cells), flush=True)
    return fine


def alarms(runs: int, seed: int) -> bool:
    print(f"\nfalse alarms where all prompts are equal, {runs} runs each (wanted: at most 5%)")
    print(f"{'scores':<26}{'test split, 100 rows':>22}{'no test split, 100 rows':>26}")
    fine, n = True, 100
    for world in WORLDS:
        groups = world.groups(n)
        cried = likely = 0
        for run in range(runs):
            skills, table = play(POOLS[0], world, n, run, seed)
            found, evaluations = finals_of(table, run, groups)
            test = world.draw(skills[:2], n, np.random.default_rng([seed, n, run, 8]))
            if found.winner != PROMPTS[0].id:
                two = evaluation(PROMPTS[0].id, test[0]), evaluation(found.winner, test[1])
                cried += judge(*two, seed=run, groups=groups).reliable
                likely += judge_reused(found, evaluations[0], seed=run, groups=groups).likely
        fine &= max(cried, likely) <= 0.05 * runs
        print(f"{world.name:<26}{cried / runs:>22.1%}{likely / runs:>26.1%}", flush=True)
    return fine


def reused(runs: int, seed: int) -> bool:
    print(
        "\nno test split: how often the 95% interval covers the true gain of the prompt that won, where it is"
    )
    print(f"not the seed prompt; in brackets, true gain below and above the interval; {runs} runs each")
    print("(wanted: 93-97%; where finalists hardly differ it errs to the safe side)")
    print(f"{'finalists':<11}{'scores':<22}" + "".join(f"{f'n {n}':>19}" for n in (30, 60, 100)))
    fine = True
    for pool, world in [*((pool, WORLDS[0]) for pool in POOLS), (POOLS[2], WORLDS[1]), (POOLS[2], WORLDS[2])]:
        shown = []
        for n in (30, 60, 100):
            below, above = missed(pool, world, n, runs, seed)
            fine &= below + above <= 0.07
            shown.append(f"{1 - below - above:.1%} ({100 * below:.1f}, {100 * above:.1f})")
        print(f"{pool.name:<11}{world.name:<22}" + "".join(f"{text:>19}" for text in shown), flush=True)
    return fine


def missed(pool: Pool, world: World, n: int, runs: int, seed: int) -> tuple[float, float]:
    """Return how often the true gain of a winner lies below and above the interval without a test split."""
    sides, groups = [], world.groups(n)
    for run in range(runs):
        skills, table = play(pool, world, n, run, seed)
        found, evaluations = finals_of(table, run, groups)
        winner = [p.id for p in PROMPTS].index(found.winner)
        if winner:
            true = np.diff(world.true(skills[[0, winner]]))[0]
            interval = judge_reused(found, evaluations[0], seed=run, groups=groups).interval
            sides.append((true < interval.low, true > interval.high))
    below, above = np.mean(sides, axis=0)
    return float(below), float(above)


def power(runs: int, seed: int) -> bool:
    print("\npower at the rows that the power statement asks for (80% by its formula)")
    print(f"{'gain':<9}{'discordance':>12}{'rows':>7}{'found by McNemar':>18}{'and by the interval':>21}")
    for gain, discordance in ((0.05, 0.1), (0.05, 0.2), (0.1, 0.1), (0.1, 0.2)):
        n = rows_needed(gain, discordance)
        rng = np.random.default_rng([seed, n])
        up, down = (discordance + gain) / 2, (discordance - gain) / 2
        drawn = rng.multinomial(n, [up, down, 1 - up - down], runs).tolist()
        tested = both = 0
        for run, (better, worse, same) in enumerate(drawn):
            significant = better > worse and mcnemar_exact(worse, better) < 0.05
            tested += significant
            if significant:
                differences = [1.0] * better + [-1.0] * worse + [0.0] * same
                both += paired_interval(differences, seed=run).low > 0
        print(
            f"{gain:<+9.2f}{discordance:>12.0%}{n:>7}{tested / runs:>18.1%}{both / runs:>21.1%}", flush=True
        )
    return True  # a formula for many rows: nothing is promised of it to the percent


PARTS = {"coverage": coverage, "gaps": gaps, "alarms": alarms, "reused": reused, "power": power}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(description="Coverage, gap, false alarms and power of the verdict.")
    made.add_argument("--parts", default=",".join(PARTS), help="some of these")
    made.add_argument("--runs", type=int, default=1_000)
    made.add_argument("--seed", type=int, default=0)
    return made


def main() -> int:
    """Print the tables."""
    options = parser().parse_args()
    stats.RESAMPLES = 2_000
    started = time.monotonic()
    held = [PARTS[part](options.runs, options.seed) for part in options.parts.split(",")]
    print(f"\n{'all figures are in their bands' if all(held) else 'A FIGURE LEFT ITS BAND'}", end="")
    print(f" ({time.monotonic() - started:.0f} seconds)")
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
