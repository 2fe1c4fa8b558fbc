"""APE: let a model guess the instruction from input-output pairs, keep the guesses that score best.

Source: Zhou et al. 2022, "Large Language Models Are Human-Level Prompt Engineers" (arXiv 2211.01910).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError, TemplateError, UnsupportedError
from promptopt.prompt import Prompt
from promptopt.records import Example
from promptopt.template import fill, slots

from ._author import Author, Reader
from ._budget import affordable
from ._choice import choose, starting
from ._text import VARIATION, check_has_place, number_word, read_instruction, show_rows

FORWARD = (
    "I gave a friend an instruction and {{number}} inputs. The friend read the instruction and wrote "
    "an output for every one of the inputs. Here are the input-output pairs:\n\n"
    "{{demonstrations}}\n\n"
    "The instruction was to"
)
"""Forward generation (section 3.1), ending in "to" as the reference code does."""

INSERT_MARK = "[INSERT]"
INSERT = (
    "I instructed my friend to [INSERT].\n\n"
    "The friend read the instruction and wrote an output for every one of the inputs. "
    "Here are the input-output pairs:\n\n"
    "{{demonstrations}}"
)
"""Reverse generation by insertion (section 3.1)."""

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class APE:
    """Automatic Prompt Engineer, algorithm 1 of the paper.

    Defaults are those of the reference code's instruction-induction experiment (3 subsamples of 5 pairs,
    30 completions each, temperature .9, top-p .9, scored by execution) with two differences: `max_tokens`
    is 100 instead of 50, since chat models need more words and a cut instruction is a bad one; and one
    round of Monte-Carlo resampling follows, which the paper leaves out by default because it brought
    little, and which is cheap here because the filter spends few cells on weak variants.
    Demonstrations come from the same rows that are searched on (the reference code takes them from one
    half); quoting a row is ruled out, and the run's last choice is made on rows no proposer has seen.

    Attributes:
        mode: `forward` asks for the instruction behind the pairs (section 3.1), `insert` asks for it in the
            middle of a text, which needs a proposer that can; `auto` takes turns where it can insert.
        num_subsamples: sets of demonstrations drawn from the search rows.
        num_demos: rows in a set.
        num_prompts_per_subsample: completions drawn for a set; together these are U of algorithm 1. Under a
            cap on calls they are as many as it pays to tell apart (`_budget`).
        rounds: resampling rounds (section 3.3); 0 stops after the first filtering.
        keep: U_k, how many of the best go on to be resampled.
        variations: resamples of each kept instruction in a round.
        reward: a reward to search by instead of the task's: `log_likelihood` is the paper's other score
            function (section 3.2). The final choice among the kept is always by the task's.
        forward: meta-prompt; `{{number}}`, `{{demonstrations}}`, and, if wanted, `{{instruction}}` (the
            seed's) and `{{description}}` (the task's).
        insert: text with one `[INSERT]` anywhere in it, and the same slots.
        variation: resampling meta-prompt with the slot `{{instruction}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a proposal.
        max_chars: longer proposals are dropped.
    """

    mode: Literal["auto", "forward", "insert"] = "auto"
    num_subsamples: Positive = 3
    num_demos: Positive = 5
    num_prompts_per_subsample: Positive = 30
    rounds: Annotated[int, Field(ge=0)] = 1
    keep: Positive = 5
    variations: Positive = 4
    reward: str | None = None
    forward: str = FORWARD
    insert: str = INSERT
    variation: str = VARIATION
    temperature: Annotated[float, Field(ge=0)] = 0.9
    top_p: Fraction = 0.9
    max_tokens: Positive = 100
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Propose U, filter it to U_k, resample around U_k, score what is left on every search row.

        Raises:
            ConfigError: the rows hold no answers, or the prompt no place for an instruction.
            TemplateError: a meta-prompt lacks what it needs.
            UnsupportedError: `insert` was asked for and the proposer cannot.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        check_has_place(session.task.seed_prompt, "searcher ape")
        with Author(session, "ape", self.temperature, self.top_p, self.max_tokens, self.max_chars) as author:
            session.score(self._search(session, author))  # algorithm 1, line 10

    def _search(self, session: Session, author: Author) -> list[Prompt]:
        """Return what is left after the last round."""
        given = [prompt for prompt in starting(session) if author.known.add(prompt)]
        kept = self._filter(session, [*given, *self._propose(session, author)])  # lines 1 to 7
        for _ in range(self.rounds):  # line 8
            variants = self._resample(session, author, kept)
            if not variants:
                break
            kept = self._filter(session, [*kept, *variants])
        return kept

    def _filter(self, session: Session, pool: Sequence[Prompt]) -> list[Prompt]:
        return choose(session, pool, self.keep, self.reward)

    def _propose(self, session: Session, author: Author) -> list[Prompt]:
        rows = [row for row in session.task.rows if row.answer]
        if not rows:
            raise ConfigError(
                "searcher ape", "no search row has an answer to show the proposer", do="give the rows answers"
            )
        kinds = self._kinds(session)
        wanted = affordable(session, len(kinds) * self.num_prompts_per_subsample)
        shown = [session.rng.sample(rows, min(self.num_demos, len(rows))) for _ in kinds]
        found: list[Prompt | None] = []
        for kind in dict.fromkeys(kinds):
            chosen = [demos for demos, its in zip(shown, kinds, strict=True) if its == kind]
            for text in self._complete(session, author, kind, chosen, max(1, wanted // len(kinds))):
                found.append(author.child(text, [session.task.seed_prompt], f"ape/{kind}"))
        author.check()
        return [prompt for prompt in found if prompt is not None]

    def _kinds(self, session: Session) -> list[str]:
        """Return how each subsample is asked about: in turns, where the proposer can do both."""
        if self.mode == "forward" or (self.mode == "auto" and self.num_subsamples == 1):
            return ["forward"] * self.num_subsamples
        if session.can("proposer", "insert"):
            turns = ["insert"] if self.mode == "insert" else ["forward", "insert"]
            return [turns[index % len(turns)] for index in range(self.num_subsamples)]
        if self.mode == "insert":
            raise UnsupportedError(
                "searcher ape", "the proposer cannot insert text", do="set mode to forward"
            )
        return ["forward"] * self.num_subsamples

    def _complete(
        self, session: Session, author: Author, kind: str, shown: Sequence[Sequence[Example]], n: int
    ) -> list[str]:
        """Draw the completions of one meta-prompt, n for each set of rows."""
        before, after = self._meta_prompt(kind)
        values = [self._values(session, rows) for rows in shown]
        drawn = author.draw(
            [fill(before, its) for its in values],
            n,
            self._reader,
            suffixes=None if after is None else [fill(after, its) for its in values],
        )
        return [text for texts in drawn for text in texts]

    def _meta_prompt(self, kind: str) -> tuple[str, str | None]:
        """Return what stands before the instruction, and behind it if it is to be inserted."""
        text = self.insert if kind == "insert" else self.forward
        if "demonstrations" not in slots(text):
            raise TemplateError(
                f"searcher ape.{kind}", "shows no rows", got=text, do="add {{demonstrations}}"
            )
        if kind == "forward":
            return text, None
        before, *after = text.split(INSERT_MARK)
        if len(after) != 1:
            raise TemplateError(
                "searcher ape.insert",
                f"needs {INSERT_MARK} once",
                got=text,
                do=f"mark the place with {INSERT_MARK}",
            )
        return before, after[0]

    def _values(self, session: Session, rows: Sequence[Example]) -> dict[str, str]:
        return {
            "demonstrations": show_rows(rows, session.task.fields),
            "number": number_word(len(rows)),
            "instruction": session.task.seed_prompt.instruction,
            "description": session.task.description,
        }

    def _resample(self, session: Session, author: Author, kept: Sequence[Prompt]) -> list[Prompt]:
        """Return new variations of the kept instructions, in their order."""
        parents = [prompt for prompt in kept if prompt.instruction]
        wanted = affordable(session, len(parents) * self.variations)
        parents = parents[:wanted]
        variations = wanted // max(1, len(parents))
        asked = [fill(self.variation, {"instruction": parent.instruction}) for parent in parents]
        made = [
            author.child(text, [parent], "ape/resample")
            for parent, texts in zip(parents, author.draw(asked, variations, self._reader), strict=True)
            for text in texts
        ]
        return [prompt for prompt in made if prompt is not None]

    @property
    def _reader(self) -> Reader:
        return lambda reply: [read_instruction(reply, self.max_chars)]
