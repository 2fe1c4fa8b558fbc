"""What the generator is asked, step by step: from rows alone, with the prompt to rewrite, for one input."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from promptopt.contracts.searcher import SearchTask
from promptopt.errors import ConfigError, TemplateError
from promptopt.records import Example
from promptopt.template import Template, braces, fill, slots

from ._meta import OPRO as REWRITE
from ._meta import SCORED
from ._text import number_word, show_rows
from .ape import FORWARD

Form = Literal["scratch", "rewrite", "conditional"]

PREWRITE = (
    "Rewrite the following instruction via rephrasing and/or adding specific requirements. Use illustrative "
    "description if needed. Output the new instruction only.\n\nInstruction: {{instruction}}"
)
"""Kong et al. 2024, "PRewrite: Prompt Rewriting with Reinforcement Learning" (arXiv 2401.08189), table 8: for
generators that follow instructions of their own accord."""

CONDITIONAL = "Write a new instruction.\n\n{{row}}\n\nInstruction:"
"""A prompt for one input: the generator reads `{{row}}`, the input without its answer."""

DEFAULTS: dict[Form, str] = {"scratch": FORWARD, "rewrite": REWRITE, "conditional": CONDITIONAL}
NEEDED: dict[Form, tuple[str, ...]] = {
    "scratch": (),
    "rewrite": ("instruction", "scored"),
    "conditional": ("row",),
}
"""Slots of which a form's meta-prompt needs one."""


@dataclass(frozen=True)
class Ask:
    """What the generator is asked for one group of proposals.

    Attributes:
        text: the message.
        row: the input the proposals are for (conditional form); None: they are for all.
    """

    text: str
    row: Example | None = None


@dataclass(frozen=True)
class Asker:
    """Fills a meta-prompt.

    Attributes:
        task: what the search may know.
        form: of the generator.
        meta_prompt: with any of `{{demonstrations}}`, `{{number}}`, `{{instruction}}`, `{{scored}}` (the
            prompt to beat with its score), `{{description}}` and, for the conditional form, `{{row}}`.
        demos: rows shown.
        score: what the prompt to beat scores.
    """

    task: SearchTask
    form: Form
    meta_prompt: str
    demos: int
    score: float

    def check(self) -> None:
        """Raise TemplateError or ConfigError for a meta-prompt that cannot work."""
        needed, found = NEEDED[self.form], slots(self.meta_prompt)
        if needed and not set(needed) & set(found):
            raise TemplateError(
                "searcher rl.meta_prompt",
                f"the form {self.form} needs {' or '.join(map(braces, needed))}",
                got=self.meta_prompt,
                do=f"add {braces(needed[0])}",
            )
        if self.form != "conditional" and "row" in found:
            raise TemplateError(
                "searcher rl.meta_prompt", "shows one row", got=self.meta_prompt, do="set form: conditional"
            )
        if self._shows_rows and not any(row.answer for row in self.task.rows):
            raise ConfigError(
                "searcher rl",
                "no search row has an answer to show the generator",
                do="give the rows answers, or take {{demonstrations}} out of the meta-prompt",
            )

    def draw(self, rng: random.Random, steps: int, groups: int, rows: Sequence[Example]) -> list[Ask]:
        """Return the asks of all steps, `groups` a step; rows to write for come in seeded turns."""
        if self.form != "conditional":
            return [self.ask(rng) for _ in range(steps * groups)]
        turns: list[Example] = []
        while len(turns) < steps * groups:
            turns += rng.sample(rows, len(rows))
        return [self.ask(rng, row) for row in turns[: steps * groups]]

    def ask(self, rng: random.Random, row: Example | None = None) -> Ask:
        """Fill the meta-prompt with rows drawn anew."""
        able = [other for other in self.task.rows if other.answer and other is not row]
        shown = rng.sample(able, min(self.demos, len(able))) if self._shows_rows else []
        seed = self.task.seed_prompt
        scored = {"instruction": seed.instruction, "score": str(round(100 * self.score))}
        values = {
            "demonstrations": show_rows(shown, self.task.fields),
            "number": number_word(len(shown)),
            "instruction": seed.instruction,
            "scored": fill(SCORED, scored),
            "description": self.task.description,
            "row": "" if row is None else show_input(row, self.task.fields),
        }
        return Ask(fill(self.meta_prompt, values), row)

    @property
    def _shows_rows(self) -> bool:
        return "demonstrations" in slots(self.meta_prompt)


def show_input(row: Example, fields: Sequence[str]) -> str:
    """Lay a row out as `Input: x`, or a line a field, without an answer."""
    layout = Template.for_fields(fields).demonstration
    return fill(layout, {**row.inputs, "output": ""}).rsplit("\n", 1)[0]
