"""What is searched on: rows, and the weak prompt that a search starts from.

The tasks were chosen by rule, not by what searchers came to: the twelve families with at least 180 test
inputs whose wordings were the most graded, by the share of the 42 of `python -m benchmarks.embedded.evaluate
--measures landscape` scored strictly between .15 and .85 (of three that tied for the last place, the one with
lists). There the best wording is not perfect, and a good one is not good enough. Rows are of the families' test
splits, which the model was not trained on; those of `topic` and `sentiment` are public (CLINC150, Instruction
Induction).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from promptopt.records import Example, FrozenMap

from ..embedded.families import rows as family_rows
from ..embedded.wordings import landscape, misleading, vague

TASKS = (
    "sum_three",
    "sort",
    "topic",
    "uppercase",
    "singular_to_plural",
    "sum",
    "orthography_starts_with",
    "diff",
    "sentiment",
    "max",
    "word_length",
    "taxonomy_animal",
)

STARTS = ("unclear", "vague", "wrong")
"""Kinds of seed prompts: says something of the task; says nothing of it; asks for another task."""

SEARCH, SELECT, PROOF = 30, 40, 100
"""Rows: the search sees the first, the choice among its finalists the second, the score is on the last."""


@dataclass(frozen=True)
class Place:
    """A task, with the rows and the seed prompt of one seed.

    Attributes:
        task: name of the family.
        seed: of rows, seed prompt and run.
    """

    task: str
    seed: int

    @property
    def start(self) -> str:
        """Which kind of seed prompt the search starts from: all kinds for every task, in turn."""
        return STARTS[(TASKS.index(self.task) + self.seed) % len(STARTS)]

    @property
    def prompt(self) -> str:
        """The seed prompt, which the model was not trained on for this task."""
        rng = Random(f"start/{self.task}/{self.seed}")
        match self.start:
            case "vague":
                return vague(rng)
            case "wrong":
                return misleading(self.task, rng)
        partial = [one for one in landscape(self.task, self.seed) if one.level.startswith("partial")]
        return min(partial, key=lambda one: one.clarity).text

    def rows(self) -> tuple[list[Example], list[Example]]:
        """Return the rows of the run, and those that its winner is scored on."""
        drawn = family_rows(self.task, "test", SEARCH + SELECT + PROOF, self.seed)
        examples = [
            Example(str(number), FrozenMap(input=text), answers)
            for number, (text, answers) in enumerate(drawn)
        ]
        return examples[:-PROOF], examples[-PROOF:]
