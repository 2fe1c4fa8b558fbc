"""Template search on a space of 2,304 prompts whose every score is known.

    python -m benchmarks.template --record          # the exhaustive table, once: minutes to an hour on a CPU
    python -m benchmarks.template                   # searchers on the table, 20 seeds

`--record` scores every prompt of the space on every row with the embedded model, writing
benchmarks/tables/template/FAMILY.csv.gz; answers are journaled beside it, so an interrupted recording goes on
where it was (with other weights, from the beginning). The searchers then run on that table, as if they bought
their cells. What counts is the best prompt that has met all rows: how far it is below the best of the table,
in how many seeds it is the best, and after how many cells. Differences between searchers are paired by seed:
the same seed is the same order of rows.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptopt.contracts.searcher import SearchTask
from promptopt.errors import BudgetExhausted, DataError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.proof.stats import format_number, mean_interval
from promptopt.records import Budget, Cell, Evaluation, Example, Message, Score, Usage
from promptopt.search._template_language import read_axes
from promptopt.search._template_space import Space
from promptopt.template import Template

from .embedded.evaluate import open_model
from .embedded.wordings import landscape
from .record_tables import packed, record, rows_of
from .selection.pools import TABLES

TEXT = "{{task}} {{hint}} {{care}}\n\n{{mark}} {{input}}\n{{cue}}"
SLOTS: dict[str, Any] = {
    "hint": ["", "Do not explain.", "Answer with the result only.", "Explain your answer."],
    "care": ["", "Be careful.", "Take your time.", "This is very important."],
    "mark": ["Input:", "Text:", "Q:", ""],
    "cue": ["Output:", "Answer:", "A:"],
}
WORDINGS = 12
UNCLEAR = ("partial", "verbose", "hedged", "both")
"""Kinds of wordings that leave room for the other slots: a precise one is as good as can be by itself."""
LANDSCAPES = 20
SEED_PROMPT = Prompt("Complete the task.")
SHARES = (0.025, 0.05, 0.1)
CONTENDERS: dict[str, dict[str, Any]] = {
    "TPE, halving": {"sampler": "tpe", "selector": "successive_halving"},
    "random, halving": {"sampler": "random", "selector": "successive_halving"},
    "random, all rows": {"sampler": "random", "selector": "full"},
}
Floats = NDArray[np.float64]


def main() -> None:
    """Record the table, or run the searchers on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.template")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--family", default="second_word_letter")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument(
        "--max-tokens", type=int, default=8, help="of a reply; what is longer than the answer is wrong"
    )
    parser.add_argument("--model", default="embedded/small")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tables", type=Path, default=TABLES / "template")
    options = parser.parse_args()
    file = options.tables / f"{options.family}.csv.gz"
    if options.record:
        options.tables.mkdir(parents=True, exist_ok=True)
        journal = file.with_suffix(".journal.sqlite")
        prompts = [SEED_PROMPT, *prompts_of(space_of(options.family))]
        model = open_model(options.model, options.device)
        rows = rows_of(options.family, options.rows)
        file.write_bytes(packed(record(model, prompts, rows, journal, options.max_tokens)))
        journal.unlink()
    for line in compare(Table(options.family, file), options.seeds):
        print(line, flush=True)


@cache
def slots_of(family: str) -> dict[str, Any]:
    """Return the slots: unclear wordings of the task, and what can stand around them."""
    drawn = (wording for seed in range(LANDSCAPES) for wording in landscape(family, seed))
    texts = list(dict.fromkeys(wording.text for wording in drawn if wording.level in UNCLEAR))
    spread = [texts[place * len(texts) // WORDINGS] for place in range(WORDINGS)]
    return {"task": spread, **SLOTS}


def space_of(family: str) -> Space:
    """Return the space of a family's prompts."""
    return Space(
        Template(user=TEXT), read_axes(slots_of(family), {}, {}), ("input",), own_demonstration=False
    )


def prompts_of(space: Space) -> list[Prompt]:
    """Return all its prompts."""
    return [space.compose(point, SEED_PROMPT, {}) for point in space.points()]


class Table:
    """Scores `[prompts, rows]` by the prompt's id; the first is the seed prompt's."""

    def __init__(self, family: str, file: Path) -> None:
        """Read what `--record` wrote.

        Raises:
            DataError: there is none, or it is of another space.
        """
        if not file.is_file():
            raise DataError(
                str(file), "no such table", do="record it: python -m benchmarks.template --record"
            )
        with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
            _, *lines = csv.reader(stream)
        self.family = family
        self.scores = np.array([[float(cell or "nan") for cell in line[1:]] for line in lines])
        self.place = {line[0]: number for number, line in enumerate(lines)}
        self.rows = rows_of(family, self.scores.shape[1])
        if missing := [p for p in prompts_of(space_of(family)) if p.id not in self.place]:
            raise DataError(
                str(file), "is of another space", got=missing[0].instruction, do="record it again"
            )

    @property
    def best(self) -> float:
        """The best mean."""
        return float(np.nanmean(self.scores[1:], axis=1).max())

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self.scores[1:].size)


class TableSession:
    """What a searcher sees: scores from the table, paid for with cells until they are spent.

    Attributes:
        found: after each purchase, the cells bought and the best mean of a prompt that has met all rows.
    """

    def __init__(self, table: Table, cells: int, seed: int) -> None:
        """Shuffle the rows, as a run does; the seed prompt is known."""
        self.rng = random.Random(f"searcher {seed}")
        self.workdir = Path()
        self.remaining = Budget()
        self.found: list[tuple[int, float]] = []
        self._table = table
        self._left = cells
        self._bought = 0
        self._order = random.Random(seed).sample(range(len(table.rows)), len(table.rows))
        self._met: dict[str, int] = {SEED_PROMPT.id: len(table.rows)}
        self._best = -np.inf
        self.task = SearchTask(tuple(table.rows[place] for place in self._order), SEED_PROMPT, ("input",))

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        """Answer from the table."""
        n = rows if isinstance(rows, int) else len(self._order) if rows is None else len(rows)
        return [self._one(prompt, n) for prompt in prompts]

    def _one(self, prompt: Prompt, n: int) -> Evaluation:
        price = max(0, n - self._met.get(prompt.id, 0))
        if price > self._left:
            raise BudgetExhausted("budget", "all cells are bought")
        self._left -= price
        self._bought += price
        self._met[prompt.id] = max(n, self._met.get(prompt.id, 0))
        scores = self._table.scores[self._table.place[prompt.id]]
        if price and n == len(self._order):
            self._best = max(self._best, float(np.nanmean(scores)))
            self.found.append((self._bought, self._best))
        cells = [self._cell(prompt, place, scores[place]) for place in self._order[:n]]
        return Evaluation(prompt.id, "table", tuple(cells))

    def _cell(self, prompt: Prompt, place: int, score: float) -> Cell:
        row = self._table.rows[place].id
        if score != score:
            return Cell(prompt.id, row, status="failed", reason="missing in the table")
        return Cell(prompt.id, row, score=Score(float(score)), usage=Usage(1, 1))

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        """Rank on the rows."""
        return sorted(self.score(prompts, rows), key=lambda evaluation: -evaluation.mean)[:k]

    def propose(self, chats: Sequence[Sequence[Message]], n: int = 1, **options: Any) -> list[list[str]]:
        """Write nothing."""
        return [[] for _ in chats]

    def can(self, role: str, what: str) -> bool:
        """Do nothing of the kind."""
        return False

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Let it pass."""

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        """Suspect none: no model judges."""
        return []

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Keep quiet."""

    def note(self, text: str) -> None:
        """Keep quiet."""


@dataclass(frozen=True)
class Played:
    """What a run found.

    Attributes:
        found: after each purchase, the cells bought and the best mean of a prompt that has met all rows.
        cells: of the whole table.
    """

    found: tuple[tuple[int, float], ...]
    cells: int

    def best_at(self, share: float) -> float:
        """Return the best mean found by this share of the cells."""
        return max((mean for cells, mean in self.found if cells <= share * self.cells), default=0.0)

    def share_to(self, mean: float) -> float:
        """Return the share of the cells after which this mean was reached; infinite if it never was."""
        return next((cells / self.cells for cells, its in self.found if its > mean - 1e-9), math.inf)


def play(table: Table, options: Mapping[str, Any], seed: int) -> Played:
    """Run once, on the largest of `SHARES` of the cells."""
    session = TableSession(table, int(max(SHARES) * table.cells), seed)
    searcher = build(
        "searchers",
        "template",
        {"text": TEXT, "slots": slots_of(table.family), "trials": len(table.scores), **options},
    )
    with suppress(BudgetExhausted):
        searcher.search(session)
    return Played(tuple(session.found), table.cells)


def compare(table: Table, seeds: int) -> Iterator[str]:
    """Iterate over the lines of two tables in Markdown: points below the best, and paired differences."""
    rows, means = len(table.rows), np.nanmean(table.scores[1:], axis=1)
    yield (
        f"{len(means):,} prompts x {rows} rows ({table.family}): best {means.max():.3f}, "
        f"{int((means >= means.max() - 1e-9).sum())} as good, median {np.median(means):.3f}; {seeds} seeds"
    )
    yield "\nPoints below the best of the table, and in how many seeds it was reached:\n"
    at = " | ".join(f"at {share:.1%} of the cells" for share in SHARES)
    yield f"| contender | {at} | cells until the best: median, most |"
    yield "|---|" + "---|" * (len(SHARES) + 1)
    runs: dict[str, list[Played]] = {}
    for name, options in CONTENDERS.items():
        runs[name] = [play(table, options, seed) for seed in range(seeds)]
        parts = [_shortfall(table.best, [run.best_at(share) for run in runs[name]]) for share in SHARES]
        needed = sorted(run.share_to(table.best) for run in runs[name])
        parts.append(f"{_share(needed[(seeds - 1) // 2])}, {_share(needed[-1])}")
        yield f"| {name} | " + " | ".join(parts) + " |"
    first, *others = CONTENDERS
    yield f"\nPoints that {first} is ahead, paired by seed:\n"
    yield f"| of | {at} |"
    yield "|---|" + "---|" * len(SHARES)
    for name in others:
        parts = [
            _ahead(
                [a.best_at(share) - b.best_at(share) for a, b in zip(runs[first], runs[name], strict=True)]
            )
            for share in SHARES
        ]
        yield f"| {name} | " + " | ".join(parts) + " |"


def _shortfall(best: float, found: Sequence[float]) -> str:
    short = [100 * (best - mean) for mean in found]
    reached = sum(gap < 1e-6 for gap in short)
    return f"{format_number(fmean(short))} {mean_interval(short)}, best in {reached}/{len(short)}"


def _ahead(differences: Sequence[float]) -> str:
    points = [100 * difference for difference in differences]
    return f"{format_number(fmean(points), sign=True)} {mean_interval(points)}"


def _share(share: float) -> str:
    return f"over {max(SHARES):.0%}" if share == math.inf else f"{share:.1%}"


if __name__ == "__main__":
    main()
