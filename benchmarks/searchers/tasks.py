"""What is searched on: rows, and the weak prompt that a search starts from.

A model that was taught a task well answers most wordings of it, and whatever reads the rows finds one. So
tasks are of three forms, and what is right is near at hand in the first alone:

- `plain`: the families' own answers.
- `sentence`: answers are wanted as a sentence ("The answer is 7."). Few wordings bring that, and the
  proposer, which was taught to guess from plain answers, seldom writes one; wordings that explain bring it
  now and then.
- `labels`: other labels stand for the families' own. No wording tells which; rows do.

The families of the first two forms are among the most graded ones with at least 180 test inputs (the share of
the 42 wordings of `python -m benchmarks.embedded.evaluate --measures landscape` scored between .15 and .85);
those of `labels` have few labels. Pilot runs showed that plain tasks alone do not tell searchers apart, and
the other two forms and the budgets were then chosen so that they do: the bench says how searchers differ on
such tasks, not how they would on yours. Rows are of the families' test splits, which the model was not
trained on; those of `topic` and `sentiment` are public (CLINC150, Instruction Induction).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from promptopt.records import Example, FrozenMap

from ..embedded.families import FAMILIES
from ..embedded.families import rows as family_rows
from ..embedded.wordings import landscape, misleading, vague


class Task(NamedTuple):
    """A family of benchmarks/embedded, and in which form its answers are wanted."""

    family: str
    form: Literal["plain", "sentence", "labels"]


TASKS = {
    "sum_three": Task("sum_three", "plain"),
    "sort": Task("sort", "plain"),
    "topic": Task("topic", "plain"),
    "diff": Task("diff", "plain"),
    "uppercase/sentence": Task("uppercase", "sentence"),
    "singular_to_plural/sentence": Task("singular_to_plural", "sentence"),
    "sum/sentence": Task("sum", "sentence"),
    "max/sentence": Task("max", "sentence"),
    "word_length/sentence": Task("word_length", "sentence"),
    "sentiment/labels": Task("sentiment", "labels"),
    "sentence_type/labels": Task("sentence_type", "labels"),
    "even_odd/labels": Task("even_odd", "labels"),
}

STARTS = ("unclear", "vague", "wrong")
"""Kinds of seed prompts: says something of the task; says nothing of it; asks for another task."""

LABELS = ("blue", "red", "green", "gold", "iron", "wood")

SEARCH, SELECT, PROOF = 30, 40, 100
"""Rows: the search sees the first, the choice among its finalists the second, the score is on the last."""


@dataclass(frozen=True)
class Place:
    """A task, with the rows and the seed prompt of one seed.

    Attributes:
        name: of the task.
        seed: of rows, seed prompt and run.
    """

    name: str
    seed: int

    @property
    def task(self) -> Task:
        """The task."""
        return TASKS[self.name]

    @property
    def start(self) -> str:
        """Which kind of seed prompt the search starts from: all kinds for every task, in turn."""
        return STARTS[(list(TASKS).index(self.name) + self.seed) % len(STARTS)]

    @property
    def prompt(self) -> str:
        """The seed prompt, which the model was not trained on for this task."""
        rng, family = Random(f"start/{self.task.family}/{self.seed}"), self.task.family
        match self.start:
            case "vague":
                return vague(rng)
            case "wrong":
                return misleading(family, rng)
        partial = [one for one in landscape(family, self.seed) if one.level.startswith("partial")]
        return min(partial, key=lambda one: one.clarity).text

    def rows(self) -> tuple[list[Example], list[Example]]:
        """Return the rows of the run, and those that its winner is scored on."""
        examples = self.examples(SEARCH + SELECT + PROOF)
        return examples[:-PROOF], examples[-PROOF:]

    def examples(self, count: int) -> list[Example]:
        """Return so many rows, or as many as there are."""
        drawn = family_rows(self.task.family, "test", count, self.seed)
        return [
            Example(str(number), FrozenMap(input=text), tuple(map(self._wanted, answers)))
            for number, (text, answers) in enumerate(drawn)
        ]

    def _wanted(self, answer: str) -> str:
        """Return an answer of the family in the form that is wanted."""
        match self.task.form:
            case "sentence":
                return f"The answer is {answer}."
            case "labels":
                others = Random(f"labels/{self.seed}").sample(LABELS, len(LABELS))
                return others[FAMILIES[self.task.family].labels.index(answer)]
        return answer
