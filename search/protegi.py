"""ProTeGi: let a model say why a prompt errs, rewrite it against these reasons, keep a beam of the best.

Source: Pryzant et al. 2023, "Automatic Prompt Optimization with Gradient Descent and Beam Search" (arXiv
2305.03495).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.prompt import Prompt
from promptopt.template import fill, slots

from ._author import Author, need_slots
from ._budget import RACE, affordable
from ._choice import choose, starting
from ._meta import EDIT, ERROR, GRADIENT
from ._replies import read_reasons, read_several
from ._text import VARIATION, check_has_place, read_instruction
from ._traces import errors, show_traces

LONG_GRADIENT = (
    'I\'m trying to write a prompt for a language model.\n\nMy current prompt is:\n"{{instruction}}"\n\n'
    "But this prompt gets the following examples wrong:\n{{errors}}\n\n"
    "Give {{number}} reasons why the prompt could have gotten these examples wrong.\n"
    "Wrap each reason with <START> and <END>"
)
"""The paper's wording (appendix), which asks for several reasons at once; it says "classifier" there."""

LONG_EDIT = (
    'I\'m trying to write a prompt for a language model.\n\nMy current prompt is:\n"{{instruction}}"\n\n'
    "But it gets the following examples wrong:\n{{errors}}\n\n"
    "Based on these examples the problem with this prompt is that {{gradient}}\n\n"
    "Based on the above information, I wrote {{number}} different improved prompts.\n"
    "Each prompt is wrapped with <START> and <END>.\n\nThe {{number}} new prompts are:"
)
"""The paper's wording of the step (the same)."""

WHERE = "searcher protegi"
DRY = 2
"""Steps in a row that bring nothing new, after which the search ends."""

Positive = Annotated[int, Field(ge=1)]


class Gradient(NamedTuple):
    """A reason g why a prompt errs, and the errors e it was read from."""

    parent: Prompt
    shown: str
    reason: str


@dataclass(frozen=True)
class ProTeGi:
    """Prompt optimization with textual gradients, algorithms 1 and 2 of the paper.

    Defaults are those of section 3.2: minibatches of 64, groups of 4 errors, beam 4, 6 steps, one edit a
    gradient, 2 paraphrases of each edit, 8 successors of each parent at random. The paper counts 4 gradients
    a group; its code draws 4 groups with one gradient each, and so do we: more errors are seen at equal cost.

    What differs:
        Selection: the paper's bandits (UCB, successive rejects) draw other rows for each prompt; here the
        run's selector compares all on the same rows, which takes fewer cells. The job chooses which.
        Meta-prompts: short forms that ask for one thing each, which small models follow; m reasons are m
        draws. `LONG_GRADIENT` and `LONG_EDIT` are the paper's, which list m or q in one reply.
        An edit that quotes a row, or that was tried before, is dropped, and the search ends after two steps
        without a new one, or when nothing in the beam errs on a minibatch.
        The last beam meets every search row, so that it is compared on equal terms.

    Attributes:
        beam: b, prompts kept after a step.
        depth: r, steps.
        minibatch: search rows drawn for a step, on which the beam's errors are looked for.
        groups: groups of errors drawn for each parent; in all, no more than a cap on calls pays for, the best
            parents' first.
        errors_per_group: most errors in a group.
        gradients: m, reasons asked for a group.
        edits: q, new instructions asked for a reason.
        paraphrases: p, Monte-Carlo variations of each new instruction.
        successors: most successors of a parent that go on to selection.
        error: layout of one error; slots `input`, `output`, `expected`, `feedback`, and the input columns.
        gradient: meta-prompt of the reasons; `{{instruction}}`, `{{errors}}` and, if one reply is to list
            all m, `{{number}}`.
        edit: meta-prompt of the step; the same and `{{gradient}}`.
        variation: meta-prompt of the paraphrases; `{{instruction}}`.
        temperature: of the proposer; 0.7 is the reference code's.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer reasons and instructions are dropped.
    """

    beam: Positive = 4
    depth: Positive = 6
    minibatch: Positive = 64
    groups: Positive = 4
    errors_per_group: Positive = 4
    gradients: Positive = 1
    edits: Positive = 1
    paraphrases: Annotated[int, Field(ge=0)] = 2
    successors: Positive = 8
    error: str = ERROR
    gradient: str = GRADIENT
    edit: str = EDIT
    variation: str = VARIATION
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 200
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Expand the beam and select from it, r times; then score it on every search row.

        Raises:
            ConfigError: the prompt has no place for an instruction.
            TemplateError: a meta-prompt lacks what it needs.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        check_has_place(session.task.seed_prompt, WHERE)
        need_slots(f"{WHERE}.gradient", self.gradient, "instruction", "errors")
        need_slots(f"{WHERE}.edit", self.edit, "instruction", "gradient")
        need_slots(f"{WHERE}.variation", self.variation, "instruction")
        with Author(
            session, "protegi", self.temperature, self.top_p, self.max_tokens, self.max_chars
        ) as author:
            beam = self._search_beam(session, author)
            author.check()
            session.score(beam)  # algorithm 1, line 9

    def _search_beam(self, session: Session, author: Author) -> list[Prompt]:
        """Return the last beam."""
        beam = [prompt for prompt in starting(session) if author.known.add(prompt)]  # algorithm 1, line 1
        if len(beam) > self.beam:
            beam = choose(session, beam, self.beam)
        for _ in range(self.depth):  # line 2
            gradients = self._differentiate(session, beam, author)
            if gradients is None:
                break
            successors = self._expand(session, gradients, author)  # lines 3 to 6
            if author.is_over(bool(successors), DRY):
                break
            if successors:
                beam = choose(session, [*beam, *successors], self.beam)  # line 7
        return beam

    def _differentiate(
        self, session: Session, beam: Sequence[Prompt], author: Author
    ) -> list[Gradient] | None:
        """Return each prompt's gradients on a minibatch (algorithm 2, lines 1 to 3); None without errors."""
        task = session.task
        minibatch = session.rng.sample(task.rows, min(self.minibatch, len(task.rows)))
        rows = {row.id: row for row in task.rows}
        asked: list[tuple[Prompt, str]] = []
        for prompt, evaluation in zip(beam, session.score(beam, minibatch), strict=True):
            wrong = errors(evaluation)
            for _ in range(self.groups if wrong else 0):
                group = session.rng.sample(wrong, min(self.errors_per_group, len(wrong)))
                asked.append((prompt, show_traces(group, rows, task.fields, self.error)))
        if not asked:
            return None
        asked = asked[: affordable(session, len(asked), self._group_cost)]
        texts = [self._fill(self.gradient, prompt, shown, self.gradients) for prompt, shown in asked]
        most = _listed(self.gradient, self.gradients)
        gradients: list[Gradient] = []
        drawn = author.ask(texts, _draws(self.gradient, self.gradients))
        for pair, replies in zip(asked, drawn, strict=True):
            for reply in replies:
                reasons = read_reasons(reply, most, self.max_chars)
                gradients += [Gradient(*pair, reason) for reason in reasons]
                if not reasons:
                    author.hold("unreadable", reply)
        return gradients

    @property
    def _group_cost(self) -> int:
        """Calls that a group of errors leads to: its reasons, and successors to race."""
        return self.gradients * (1 + self.edits * (1 + self.paraphrases) * RACE)

    def _expand(self, session: Session, gradients: Sequence[Gradient], author: Author) -> list[Prompt]:
        """Edit along each gradient, paraphrase (algorithm 2, lines 4 to 6), cap each parent's successors."""
        if not gradients:
            return []
        texts = [self._fill(self.edit, g.parent, g.shown, self.edits, g.reason) for g in gradients]
        most = _listed(self.edit, self.edits)
        drawn = author.draw(
            texts, _draws(self.edit, self.edits), lambda reply: read_several(reply, most, self.max_chars)
        )
        family: dict[str, list[Prompt]] = {g.parent.id: [] for g in gradients}
        for gradient, edited in zip(gradients, drawn, strict=True):
            for text in edited:
                if child := author.child(text, [gradient.parent], "protegi/edit"):
                    family[gradient.parent.id].append(child)
        for parent, children in family.items():
            family[parent] = [*children, *self._paraphrase(children, author)]
        return [prompt for its in family.values() for prompt in self._capped(session, its)]

    def _paraphrase(self, edited: Sequence[Prompt], author: Author) -> list[Prompt]:
        if not self.paraphrases:
            return []
        texts = [fill(self.variation, {"instruction": prompt.instruction}) for prompt in edited]
        drawn = author.draw(texts, self.paraphrases, lambda reply: [read_instruction(reply, self.max_chars)])
        made = [
            author.child(text, [prompt], "protegi/paraphrase")
            for prompt, varied in zip(edited, drawn, strict=True)
            for text in varied
        ]
        return [prompt for prompt in made if prompt]

    def _capped(self, session: Session, successors: list[Prompt]) -> list[Prompt]:
        if len(successors) <= self.successors:
            return successors
        return session.rng.sample(successors, self.successors)

    def _fill(self, meta: str, prompt: Prompt, shown: str, number: int, reason: str = "") -> str:
        values = {"instruction": prompt.instruction, "errors": shown, "number": str(number)}
        return fill(meta, values | {"gradient": reason} if reason else values)


def _listed(meta: str, number: int) -> int:
    """Return how many texts one reply is asked for."""
    return number if "number" in slots(meta) else 1


def _draws(meta: str, number: int) -> int:
    """Return how many replies are drawn, so that `number` texts come."""
    return 1 if "number" in slots(meta) else number
