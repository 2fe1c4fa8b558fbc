"""OPRO: show a model the best instructions so far with their scores, and let it write a better one.

Source: Yang et al. 2023, "Large Language Models as Optimizers" (arXiv 2309.03409).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import SearchTask, Session
from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.records import Example
from promptopt.template import fill, slots

from ._author import Author, need_slots
from ._budget import rows_each
from ._choice import starting
from ._fitness import fitness
from ._meta import OPRO as META_PROMPT
from ._meta import SCORED
from ._text import check_has_place, show_rows

OPRO_PAPER = (
    "I have some texts along with their corresponding scores. The texts are arranged in ascending order "
    "based on their scores, where higher scores indicate better quality.\n\n{{scored}}\n\n"
    "The following exemplars show how to apply your text: you replace <INS> in each input with your text, "
    "then read the input and give an output. We say your output is wrong if your output is different from "
    "the given output, and we say your output is correct if they are the same.\n\n{{exemplars}}\n\n"
    "Write your new text that is different from the old ones and has a score as high as possible. Write the "
    "text in square brackets."
)
"""The paper's own meta-prompt (figure 3), for models that can follow it; goes with `SCORED_PAPER`."""

SCORED_PAPER = "text:\n{{instruction}}\nscore:\n{{score}}"
"""One entry of the paper's trajectory."""

STEPS = 5
"""With fewer steps there is no trajectory to learn from: under a cap on calls, rows are given up first."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

Positive = Annotated[int, Field(ge=1)]
Scored = tuple[Prompt, float]


@dataclass(frozen=True)
class OPRO:
    """Optimization by PROmpting (sections 2 and 5.1; settings in section 5.1 and the reference code).

    Defaults are the paper's: the 20 best instructions in ascending order of score, scores as whole numbers
    from 0 to 100, 3 exemplars drawn anew for each step, 8 proposals a step at temperature 1. As in the
    reference code, proposals that were there before, that are longer than 500 characters, or that hold a
    number where the answers are numbers are not scored. What differs:

    - The meta-prompt is short, for small models; the paper's is `OPRO_PAPER` with `SCORED_PAPER`.
    - A proposal is scored on the first 50 search rows (the paper: on all of its training rows, of which
      BIG-Bench Hard leaves it 50), the same for all, so that scores can be compared; the `keep` best then
      meet all rows, since only those can win.
    - 25 steps instead of 200: about 10,000 calls, after which the paper's own curves have mostly levelled
      off. Give more steps, and let the budget end the search.
    - The search also ends after `patience` steps in a row that brought nothing new; the reference code goes
      on. When the proposer answers nothing at all in a step, the next one shows it half as many instructions:
      they may have been more than it can read.
    - A proposal that quotes a search row is not scored.

    Attributes:
        steps: of the search, at most.
        proposals: drawn in a step.
        top: how many of the best instructions are shown.
        exemplars: search rows shown.
        rows: search rows that a proposal is scored on; fewer where a cap on calls would else end the search
            within five steps.
        keep: how many of the best are scored on every search row in the end.
        digits: `drop` proposals with numbers that the seed prompt does not hold, `allow` them, or `auto`:
            drop them where most answers of the search rows are numbers and they may give answers away.
        patience: steps in a row without anything new that end the search.
        meta_prompt: `{{scored}}`, and, if wanted, `{{demonstrations}}` (the exemplars), `{{exemplars}}` (the
            same with `<INS>` where the instruction goes), `{{instruction}}` (the seed's) and
            `{{description}}` (the task's).
        scored: an entry of the trajectory; `{{instruction}}` and `{{score}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a proposal.
        max_chars: longer proposals are dropped.
    """

    steps: Positive = 25
    proposals: Positive = 8
    top: Positive = 20
    exemplars: Annotated[int, Field(ge=0)] = 3
    rows: Positive = 50
    keep: Positive = 5
    digits: Literal["auto", "allow", "drop"] = "auto"
    patience: Positive = 3
    meta_prompt: str = META_PROMPT
    scored: str = SCORED
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 100
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Let the proposer improve on the trajectory, step by step; score the best on every row.

        Raises:
            ConfigError: the prompt has no place for an instruction, or no row has an answer to show.
            TemplateError: a meta-prompt lacks what it needs.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        check_has_place(session.task.seed_prompt, "searcher opro")
        need_slots("searcher opro.meta_prompt", self.meta_prompt, "scored")
        need_slots("searcher opro.scored", self.scored, "instruction", "score")
        with self._author(session) as author:
            trajectory = self._improve(session, author)
            author.check()
            session.score([prompt for prompt, _ in best(trajectory, self.keep)[::-1]])

    def _improve(self, session: Session, author: Author) -> list[Scored]:
        """Return the trajectory after the last step."""
        given = [one for one in starting(session) if author.known.add(one)]
        rows = rows_each(session, self.rows, len(given) - 1 + STEPS * self.proposals)
        trajectory = self._score(session, given, rows)
        top = self.top
        for _ in range(self.steps):
            shown = best(trajectory, top)
            before = author.replies
            (texts,) = author.draw([self._ask(session, shown)], self.proposals)
            if author.replies == before:
                top = max(1, len(shown) // 2)
            parents = [prompt for prompt, _ in shown[::-1]] or [session.task.seed_prompt]
            children = [author.child(text, parents, "opro") for text in texts]
            new = [child for child in children if child is not None]
            if author.is_over(bool(new), self.patience):
                break
            trajectory += self._score(session, new, rows)
        return trajectory

    def _author(self, session: Session) -> Author:
        drop = self.digits == "drop" or (self.digits == "auto" and answers_are_numbers(session.task.rows))
        given = set(NUMBER.findall(session.task.seed_prompt.instruction))
        return Author(
            session,
            "opro",
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            max_chars=self.max_chars,
            allows=lambda text: not drop or given.issuperset(NUMBER.findall(text)),
        )

    def _score(self, session: Session, prompts: Sequence[Prompt], rows: int) -> list[Scored]:
        if not prompts:
            return []
        evaluations = session.score(prompts, rows)
        return [(prompt, fitness(its)) for prompt, its in zip(prompts, evaluations, strict=True)]

    def _ask(self, session: Session, shown: Sequence[Scored]) -> str:
        """Return the meta-prompt of a step, with exemplars of its own."""
        rows = self._exemplars(session)
        scores = {prompt.instruction: score for prompt, score in shown if prompt.instruction}
        entries = [
            fill(self.scored, {"instruction": text, "score": str(round(100 * score))})
            for text, score in sorted(scores.items(), key=lambda entry: entry[1])
        ]
        return fill(
            self.meta_prompt,
            {
                "scored": "\n\n".join(entries),
                "demonstrations": show_rows(rows, session.task.fields),
                "exemplars": "\n\n".join(show_place(session.task, row) for row in rows),
                "instruction": session.task.seed_prompt.instruction,
                "description": session.task.description,
            },
        )

    def _exemplars(self, session: Session) -> list[Example]:
        if not self.exemplars or not {"demonstrations", "exemplars"} & set(slots(self.meta_prompt)):
            return []
        rows = [row for row in session.task.rows if row.answer]
        if not rows:
            raise ConfigError(
                "searcher opro",
                "no search row has an answer to show the proposer",
                do="give the rows answers, or take {{demonstrations}} out of the meta-prompt",
            )
        return session.rng.sample(rows, min(self.exemplars, len(rows)))


def best(trajectory: Sequence[Scored], n: int) -> list[Scored]:
    """Return the n best that can be compared, in ascending order; among equals the later come last."""
    able = [entry for entry in trajectory if math.isfinite(entry[1])]
    return sorted(able, key=lambda entry: entry[1])[-n:]


def answers_are_numbers(rows: Sequence[Example]) -> bool:
    """Whether more than half of the rows have a number as their answer."""
    return 2 * sum(NUMBER.fullmatch(row.answer.strip(" $%-")) is not None for row in rows) > len(rows)


def show_place(task: SearchTask, row: Example) -> str:
    """Lay a row out as the target will see it, with `<INS>` where the instruction goes, and its answer."""
    messages = Prompt("<INS>", template=task.seed_prompt.template).render(row)
    return "input:\n" + "\n".join(message.content for message in messages) + f"\noutput:\n{row.answer}"
