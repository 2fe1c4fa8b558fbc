"""APE: let a model guess the instruction from input-output pairs, keep the guesses that score best.

Source: Zhou et al. 2022, "Large Language Models Are Human-Level Prompt Engineers" (arXiv 2211.01910).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError, ModelError, TemplateError, UnsupportedError
from promptopt.prompt import Prompt
from promptopt.records import Example
from promptopt.template import fill, slots

from ._choice import choose, starting
from ._text import (
    VARIATION,
    chat,
    check_has_place,
    copies_pair,
    number_word,
    read_instruction,
    show_rows,
    unique,
)

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
        num_prompts_per_subsample: completions drawn for a set; together these are U of algorithm 1.
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
        seed = session.task.seed_prompt
        check_has_place(seed, "searcher ape")
        pool = unique([*starting(session), *self._propose(session)])  # algorithm 1, line 1
        kept = self._filter(session, pool)  # lines 3 to 7
        for _ in range(self.rounds):  # line 8
            variants = [prompt for prompt in self._resample(session, kept) if prompt not in pool]
            if not variants:
                break
            pool = unique([*pool, *variants])
            kept = self._filter(session, unique([*kept, *variants]))
        session.score(kept)  # line 10

    def _filter(self, session: Session, pool: Sequence[Prompt]) -> list[Prompt]:
        return choose(session, pool, self.keep, self.reward)

    def _propose(self, session: Session) -> list[Prompt]:
        rows = [row for row in session.task.rows if row.answer]
        if not rows:
            raise ConfigError(
                "searcher ape", "no search row has an answer to show the proposer", do="give the rows answers"
            )
        kinds = self._kinds(session)
        shown = [session.rng.sample(rows, min(self.num_demos, len(rows))) for _ in kinds]
        replies: list[tuple[str, str]] = []
        for kind in dict.fromkeys(kinds):
            chosen = [demos for demos, its in zip(shown, kinds, strict=True) if its == kind]
            replies += [(kind, reply) for reply in self._complete(session, kind, chosen)]
        read = [(kind, self._read(session, reply)) for kind, reply in replies]
        seed = session.task.seed_prompt
        proposals = [seed.child(instruction=text, origin=f"ape/{kind}") for kind, text in read if text]
        if not proposals:
            raise ModelError(
                "searcher ape",
                f"the proposer's {len(replies)} replies hold no instruction",
                got=replies[0][1] if replies else None,
                do="try another proposer, or other max_tokens, max_chars or meta-prompt",
            )
        return proposals

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

    def _complete(self, session: Session, kind: str, shown: Sequence[Sequence[Example]]) -> list[str]:
        """Draw the completions of one meta-prompt, `num_prompts_per_subsample` for each set of rows."""
        before, after = self._meta_prompt(kind)
        values = [self._values(session, rows) for rows in shown]
        drawn = session.propose(
            [chat(fill(before, its)) for its in values],
            self.num_prompts_per_subsample,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            suffixes=None if after is None else [fill(after, its) for its in values],
        )
        return [reply for replies in drawn for reply in replies]

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

    def _resample(self, session: Session, kept: Sequence[Prompt]) -> list[Prompt]:
        """Return variations of the kept instructions, in their order."""
        parents = [prompt for prompt in kept if prompt.instruction]
        drawn = session.propose(
            [chat(fill(self.variation, {"instruction": parent.instruction})) for parent in parents],
            self.variations,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
        )
        return [
            parent.child(instruction=text, origin="ape/resample")
            for parent, replies in zip(parents, drawn, strict=True)
            for text in (self._read(session, reply) for reply in replies)
            if text
        ]

    def _read(self, session: Session, reply: str) -> str | None:
        text = read_instruction(reply, self.max_chars)
        return None if text is None or copies_pair(text, session.task.rows) else text
