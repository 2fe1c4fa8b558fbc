"""GrIPS: delete, swap, paraphrase and re-add phrases of an instruction, and keep what scores better.

Source: Prasad et al. 2022, "GrIPS: Gradient-free, Edit-based Instruction Search for Prompting Large Language
Models" (arXiv 2203.07281). It writes nothing that is not in the instruction, so it needs no proposer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.records import Evaluation
from promptopt.template import fill

from ._author import Author, need_slots
from ._choice import best_start, choose
from ._phrases import Phrase, add, delete, phrases, substitute, swap, words
from ._text import check_has_place, read_instruction

PHRASE = "Say the following phrase in other words.\n\nPhrase: {{phrase}}\n\nIn other words:"
"""Paraphrase of one phrase; the paper uses PEGASUS, a paraphrase model."""

WHERE = "searcher edit"
DRAWS = 4
"""Edits tried for each candidate wanted: a short instruction has few different ones."""
POINTS = 100
"""The paper's scores, to which its temperatures belong, are in percent."""

Operation = Literal["delete", "swap", "paraphrase", "add"]
Positive = Annotated[int, Field(ge=1)]


class Draft(NamedTuple):
    """A prompt, and the phrases that were deleted on the way to it and can be added again."""

    prompt: Prompt
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhraseEdits:
    """Gradient-free, edit-based instruction search, algorithm 1 of the paper.

    Defaults are the paper's: n = 10 iterations, m = 5 candidates, l = 1 edit each, patience 2, greedy; its
    beam search is `beam: 5`; its annealing starts at 10 and cools by a factor of e every 5 iterations.

    What differs:
        Score: the paper's is balanced accuracy plus the entropy of the labels, for classification alone;
        here it is the task's reward, and the run's selector compares base and candidates on the same rows.
        Phrases come from a chunker by rule (`_phrases`) instead of a constituency parser.
        Edits work on places, not on strings: a phrase that occurs twice is edited once.
        Paraphrases are the proposer's, and only made on request (`edits: [delete, swap, add, paraphrase]`).
        A text that was tried before is not tried again; the winner meets every search row.

    Attributes:
        iterations: n.
        candidates: m, drawn in an iteration for each prompt of the beam.
        compose: l, edits in a row that make a candidate.
        patience: P, iterations in a row without improvement that are forgiven.
        beam: B, prompts edited in an iteration.
        edits: which edits there are; `add` needs one that deletes.
        level: edit phrases, or words (the paper's ablation), of which a short instruction has more.
        anneal: accept the best candidate also when it is worse, the later the less likely; for a beam of 1.
        heat: the annealing's first temperature, in points of 100.
        cooling: iterations in which the temperature falls by a factor of e.
        paraphrase: meta-prompt with the slot `{{phrase}}`.
        temperature: of the proposer.
        max_tokens: most tokens of a paraphrase.
        max_chars: longer paraphrases are dropped.
    """

    iterations: Positive = 10
    candidates: Positive = 5
    compose: Positive = 1
    patience: Annotated[int, Field(ge=0)] = 2
    beam: Positive = 1
    edits: tuple[Operation, ...] = ("delete", "swap", "add")
    level: Literal["phrase", "word"] = "phrase"
    anneal: bool = False
    heat: Annotated[float, Field(gt=0)] = 10.0
    cooling: Annotated[float, Field(gt=0)] = 5.0
    paraphrase: str = PHRASE
    temperature: Annotated[float, Field(ge=0)] = 1.0
    max_tokens: Positive = 30
    max_chars: Positive = 200

    def search(self, session: Session) -> None:
        """Edit and select until iterations or patience end; then score what is left on every search row.

        Raises:
            ConfigError: the prompt has no instruction or no place for one, or options contradict each other.
            TemplateError: the meta-prompt has no place for the phrase.
        """
        self._check()
        start = best_start(session)
        check_has_place(start, WHERE)
        if not phrases(start.instruction):
            raise ConfigError(
                WHERE,
                "the prompt has no instruction to edit",
                do="write one, or use a searcher that does, such as ape",
            )
        with Author(session, "edit", self.temperature, 1.0, self.max_tokens, self.max_chars) as author:
            author.known.add(start)
            beam = self._climb(session, author, [Draft(start)])
            session.score([draft.prompt for draft in beam])

    def _climb(self, session: Session, author: Author, beam: list[Draft]) -> list[Draft]:
        """Return the last beam."""
        patience = self.patience
        for iteration in range(self.iterations):
            edited = [draft for base in beam for draft in self._edit(session, base, author)]
            found, improved = self._select(session, beam, edited)
            if not improved and edited and self.anneal:
                found = self._anneal(session, beam[0], edited, iteration)
            beam = found
            patience = self.patience if improved else patience - 1
            if patience < 0:
                times = f"{self.patience + 1} iterations in a row" if self.patience else "1 iteration"
                session.note(f"edit: ends here, after {times} without a better prompt")
                break
        return beam

    def _check(self) -> None:
        if not set(self.edits) - {"add"}:
            raise ConfigError(f"{WHERE}.edits", "nothing to do", got=self.edits, do="allow delete or swap")
        if self.anneal and self.beam > 1:
            raise ConfigError(f"{WHERE}.anneal", "is for a beam of 1", got=self.beam, do="choose one of them")
        if "paraphrase" in self.edits:
            need_slots(f"{WHERE}.paraphrase", self.paraphrase, "phrase")

    def _edit(self, session: Session, base: Draft, author: Author) -> list[Draft]:
        """Return up to m different candidates that are l edits away from the base."""
        found: list[Draft] = []
        for _ in range(DRAWS * self.candidates):
            text, deleted = base.prompt.instruction, base.deleted
            done = []
            for _ in range(self.compose):
                possible = self._possible(text, deleted)
                if not possible:
                    break
                operation = session.rng.choice(possible)
                text, deleted = self._apply(session, author, operation, text, deleted)
                done.append(operation)
            child = base.prompt.child(instruction=text, origin=f"edit/{'+'.join(done)}")
            if author.admit(child):
                found.append(Draft(child, deleted))
            if len(found) == self.candidates:
                break
        return found

    def _possible(self, text: str, deleted: Sequence[str]) -> list[Operation]:
        """Return the edits that a text allows: one phrase can be neither swapped nor deleted."""
        enough = {"paraphrase": 1, "swap": 2, "delete": 2, "add": 0}
        number = len(self._places(text))
        return [
            operation
            for operation in dict.fromkeys(self.edits)
            if number >= enough[operation] and (operation != "add" or deleted)
        ]

    def _apply(
        self, session: Session, author: Author, operation: Operation, text: str, deleted: tuple[str, ...]
    ) -> tuple[str, tuple[str, ...]]:
        """Return the text after an edit, and the phrases that may be added from then on."""
        places = self._places(text)
        match operation:
            case "delete":
                place = session.rng.choice(places)
                return delete(text, place), (*deleted, text[place.start : place.end])
            case "swap":
                return swap(text, *session.rng.sample(places, 2)), deleted
            case "paraphrase":
                place = session.rng.choice(places)
                reworded = self._reword(author, text[place.start : place.end])
                return substitute(text, place, reworded), deleted
            case "add":
                at = session.rng.randrange(len(deleted))
                after = session.rng.choice([None, *places])
                return add(text, deleted[at], after), deleted[:at] + deleted[at + 1 :]

    def _places(self, text: str) -> list[Phrase]:
        return words(text) if self.level == "word" else phrases(text)

    def _reword(self, author: Author, phrase: str) -> str:
        """Return a paraphrase of a phrase, or the phrase if none comes."""
        asked = fill(self.paraphrase, {"phrase": phrase})
        (texts,) = author.draw([asked], read=lambda reply: [read_instruction(reply, self.max_chars)])
        return texts[0].rstrip(".") if texts else phrase

    def _select(
        self, session: Session, beam: Sequence[Draft], edited: Sequence[Draft]
    ) -> tuple[list[Draft], bool]:
        """Return the B best of beam and candidates, and whether a candidate leads them."""
        if not edited:
            return list(beam), False
        drafts = {draft.prompt.id: draft for draft in (*beam, *edited)}
        chosen = choose(session, [draft.prompt for draft in drafts.values()], self.beam)
        best = [drafts[prompt.id] for prompt in chosen]
        return best, best[0] in edited

    def _anneal(self, session: Session, base: Draft, edited: Sequence[Draft], iteration: int) -> list[Draft]:
        """Go on from the best candidate with probability exp((its score - the base's) / temperature)."""
        (chosen,) = session.select([draft.prompt for draft in edited], 1)
        (known,) = session.score([base.prompt], chosen.met)
        loss = _ahead(known, chosen) * POINTS
        heat = self.heat * math.exp(-iteration / self.cooling)
        if session.rng.random() >= math.exp(-max(0.0, loss) / heat):
            return [base]
        return [draft for draft in edited if draft.prompt.id == chosen.prompt]


def _ahead(first: Evaluation, second: Evaluation) -> float:
    """Return the mean difference on the rows that both have scores on."""
    shared = [row for row in first.values if row in second.values]
    if not shared:
        return math.inf
    return math.fsum(first.values[row] - second.values[row] for row in shared) / len(shared)
