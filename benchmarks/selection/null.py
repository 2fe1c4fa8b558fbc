"""The null control: all prompts are equal; how often does a run claim an improvement?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptopt.contracts.selector import Selector
from promptopt.proof.reselect import Finalists, pick
from promptopt.proof.verdict import judge
from promptopt.records import Cell, Evaluation, Score

from .contenders import MAIN, SELECTORS, CapoRace
from .pools import DIFFICULTY, INTERACTION, FastScorer, Floats

PROMPTS, SEARCH, SELECT, TEST, FINALISTS = 20, 100, 100, 200, 5
SEED_PROMPT = 0

SEARCHERS: dict[str, Selector] = {
    **{name: SELECTORS[name] for name in MAIN},
    "CAPO's race, alpha .2, blocks of 30": CapoRace(),
}


@dataclass(frozen=True)
class Claims:
    """Shares of runs that claim an improvement.

    Attributes:
        finals: five finalists and the seed prompt meet on the select rows, the winner is judged on test rows.
        without: the selector's winner is judged on test rows.
        untested: the selector's winner is judged on the search rows that it met, as by those who have no
            test rows.
    """

    finals: float
    without: float
    untested: float


def claims(selector: Selector, runs: int, seed: int) -> Claims:
    """Run the end of `runs` runs on pools of equal prompts."""
    counts = np.zeros(3)
    for run in range(runs):
        table = equal_prompts(np.random.default_rng([seed, run]))
        search, select, test = np.split(table, [SEARCH, SEARCH + SELECT], axis=1)
        score = FastScorer(search)
        ranked = selector.select(score, PROMPTS, SEARCH, FINALISTS)
        winner = final(select, [place for place in ranked if place != SEED_PROMPT])
        counts += (
            claimed(test, winner, run),
            claimed(test, ranked[0], run),
            claimed(search[:, : score.met[ranked[0]]], ranked[0], run),
        )
    return Claims(*(counts / runs).tolist())


def equal_prompts(rng: np.random.Generator) -> Floats:
    """Return a table `[prompts, rows]` of prompts of one skill that differ in their luck alone."""
    rows = SEARCH + SELECT + TEST
    logits = 0.5 - rng.normal(0, DIFFICULTY, rows) + rng.normal(0, INTERACTION, (PROMPTS, rows))
    return (rng.random((PROMPTS, rows)) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def final(select: Floats, finalists: Sequence[int]) -> int:
    """Return the winner of the finals on the select rows, by the rule of a run, all prompts of one length."""
    places = [SEED_PROMPT, *finalists[:FINALISTS]]
    met = Finalists.from_scores(select[places].tolist(), [1.0] * len(places))
    return places[int(pick(met, np.ones((1, met.units)))[0])]


def claimed(rows: Floats, winner: int, seed: int) -> bool:
    """Whether the verdict on these rows is an improvement."""
    if winner == SEED_PROMPT:
        return False
    return judge(_evaluation(rows, SEED_PROMPT), _evaluation(rows, winner), seed=seed).reliable


def _evaluation(rows: Floats, place: int) -> Evaluation:
    cells = (Cell(str(place), str(row), score=Score(value)) for row, value in enumerate(rows[place].tolist()))
    return Evaluation(str(place), "table", tuple(cells))
