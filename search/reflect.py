"""GEPA: reflect on a few traces, rewrite one part, keep whoever is best on some row, merge lineages.

Source: Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning" (arXiv
2507.19457).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.parts import Part, open_parts
from promptopt.prompt import Prompt
from promptopt.proof.stats import permutation_test
from promptopt.records import Evaluation, Example
from promptopt.template import fill

from ._author import Author, need_slots
from ._choice import starting
from ._meta import CROSSOVER, REFLECT
from ._pool import Candidate, frequencies, gain, merge_rows, mergeable
from ._replies import read_block
from ._text import check_has_place
from ._traces import TRACE, errors, show_traces, traces

LONG_REFLECT = (
    "I provided an assistant with the following instructions to perform a task for me:\n"
    "```\n{{instruction}}\n```\n\n"
    "The following are examples of different task inputs provided to the assistant along with the "
    "assistant's response for each of them, and some feedback on how the assistant's response could be "
    "better:\n"
    "```\n{{errors}}\n```\n\n"
    "Your task is to write a new instruction for the assistant.\n\n"
    "Read the inputs carefully and identify the input format and infer detailed task description about the "
    "task I wish to solve with the assistant.\n\n"
    "Read all the assistant responses and the corresponding feedback. Identify all niche and domain specific "
    "factual information about the task and include it in the instruction, as a lot of it may not be "
    "available to the assistant in the future. The assistant may have utilized a generalizable strategy to "
    "solve the task, if so, include that in the instruction as well.\n\n"
    "Provide the new instructions within ``` blocks."
)
"""The paper's meta-prompt (appendix B): for large proposers, with max_tokens and max_chars to match."""

WHERE = "searcher reflect"
MOST_PARETO = 100
"""Most Pareto rows by default: each costs a cell of every candidate in the pool."""
FIRST_LOOK = 8
"""Rows on which a child is first compared with its parent; on fewer, no test can say much."""

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Child(NamedTuple):
    """A new prompt, the places in the pool of its parents, and of the one it must not be worse than."""

    prompt: Prompt
    parents: tuple[int, ...]
    rival: int
    turn: int


@dataclass(frozen=True)
class Reflect:
    """Genetic-Pareto prompt evolution (GEPA), algorithms 1 and 2 of the paper.

    The paper's defaults: minibatches of 3, shuffled anew each epoch; parts rewritten in turn; parents drawn
    by how many rows they lead on, dominated ones left out; at most 5 merges. D_feedback and D_pareto are
    two halves of the search rows, the Pareto half first. The parts are those that the job opens (`optimize`).

    What differs:
        Acceptance: the paper takes a child that scores higher on the minibatch, which admits one child in
        three that is no better, and buys all Pareto rows for each. Here such a child then meets growing
        prefixes of the Pareto rows and is dropped as soon as it is reliably worse than its parent (one-sided
        sign-flip test on paired differences, `alpha` shared among the looks). The test asks for "worse", not
        for "better": Pareto selection lives on children that are better on some rows only. `alpha: 0` is
        the paper's rule.
        Parallel proposals: a step reflects on `parallel` parents, drawn independently, on the same minibatch,
        so that models are asked in batches; 1 is the paper's loop.
        Merging: a part that one lineage changed is taken from it, as in the paper; where both changed it, the
        authors' code takes the better one's and here the proposer combines the two, so that prompts of one
        part can be merged, too.
        The meta-prompt is a short form which small models follow; `LONG_REFLECT` is the paper's.
        The end: the budget, as in the paper, or `steps`, or `patience`.

    Attributes:
        steps: most steps.
        parallel: parents reflected on in a step.
        minibatch: b, rows of a minibatch.
        pareto: rows of D_pareto, the first of the shared order; None is half of them, at most 100. Reflection
            sees the others (all, if none is left).
        alpha: chance of losing a child as good as its parent; 0 buys all Pareto rows and tests nothing.
        merges: most merges tried.
        patience: steps in a row whose proposals are all unreadable or known, after which the search ends.
        trace: layout of one row of the minibatch; slots `input`, `output`, `expected`, `feedback`, and the
            input columns. Lines with nothing expected, or no feedback beyond output and answer, are left out.
        only_errors: show the rows that went wrong, instead of the whole minibatch.
        reflect: meta-prompt; `{{instruction}}` (the part's text) and `{{errors}}`.
        crossover: meta-prompt of the merge; `{{first}}`, `{{second}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer texts are dropped.
    """

    steps: Positive = 25
    parallel: Positive = 4
    minibatch: Positive = 3
    pareto: Positive | None = None
    alpha: Share = 0.2
    merges: Annotated[int, Field(ge=0)] = 5
    patience: Positive = 5
    trace: str = TRACE
    only_errors: bool = False
    reflect: str = REFLECT
    crossover: str = CROSSOVER
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 200
    max_chars: Positive = 1000

    def search(self, session: Session) -> None:
        """Grow a pool from the seed until steps, patience or budget end.

        Raises:
            ConfigError: the prompt has no text in an open part, or no place for an instruction.
            TemplateError: a meta-prompt lacks what it needs.
            ModelError: the proposer gave nothing that can be read.
        """
        parts = self._open(session)
        need_slots(f"{WHERE}.reflect", self.reflect, "instruction", "errors")
        need_slots(f"{WHERE}.crossover", self.crossover, "first", "second")
        with Author(
            session, "reflect", self.temperature, self.top_p, self.max_tokens, self.max_chars
        ) as author:
            self._grow(session, parts, author)
            author.check()

    def _open(self, session: Session) -> tuple[Part, ...]:
        seed = session.task.seed_prompt
        parts = open_parts(session.task.parts, seed)
        for part in parts:
            if part.name == "instruction":  # which may be empty: GEPA can write the first one
                check_has_place(seed, WHERE)
            elif not part.get(seed):
                raise ConfigError(WHERE, f"the prompt has no {part.about}", do="write one, or leave it out")
        return parts

    def _grow(self, session: Session, parts: Sequence[Part], author: Author) -> None:
        pareto, feedback = self._split(session.task.rows)  # algorithm 1, line 1
        pool = self._first(session, parts, author, pareto)  # lines 2 to 4
        batches = minibatches(session.rng, feedback, self.minibatch)
        tried: set[tuple[int, int, int]] = set()
        for _ in range(self.steps):  # line 5
            replies, passed = author.replies, author.passed
            improved = self._reflect(session, pool, parts, next(batches), author)
            if author.replies > replies and author.is_over(author.passed > passed, self.patience):
                break
            grown = self._confirm(session, pool, improved, pareto)
            pool += grown  # lines 14 to 18
            if grown and len(tried) < self.merges:
                merged = self._merge(session, pool, parts, tried, author)
                pool += self._confirm(session, pool, merged, pareto)

    def _first(
        self, session: Session, parts: Sequence[Part], author: Author, pareto: Sequence[Example]
    ) -> list[Candidate]:
        """Return the seed prompt, and those found elsewhere whose parts can be rewritten, too."""
        seed = session.task.seed_prompt
        able = [
            prompt
            for prompt in starting(session)
            if prompt == seed or all(part.get(prompt) for part in parts)
            if author.known.add(prompt)
        ]
        scored = zip(able, session.score(able, pareto), strict=True)
        return [Candidate(one, its.values) for one, its in scored if one == seed or its.comparable]

    def _split(self, rows: Sequence[Example]) -> tuple[Sequence[Example], Sequence[Example]]:
        most = min(MOST_PARETO, max(1, len(rows) // 2)) if self.pareto is None else self.pareto
        return rows[:most], rows[most:] or rows

    def _reflect(
        self,
        session: Session,
        pool: Sequence[Candidate],
        parts: Sequence[Part],
        batch: Sequence[Example],
        author: Author,
    ) -> list[Child]:
        """Return new prompts that beat their parents on the batch (lines 6 to 13)."""
        weights = frequencies(pool)  # algorithm 2
        drawn = session.rng.choices(range(len(pool)), weights if any(weights) else None, k=self.parallel)
        places = list(dict.fromkeys(drawn))
        before = dict(
            zip(places, session.score([pool[place].prompt for place in places], batch), strict=True)
        )
        wrong = [place for place in drawn if errors(before[place])]
        if not wrong:
            return []
        chosen = []
        for place in wrong:  # line 7
            chosen.append(parts[pool[place].turn % len(parts)])
            pool[place].turn += 1
        texts = [
            self._ask(session, part.get(pool[place].prompt), before[place])
            for place, part in zip(wrong, chosen, strict=True)
        ]
        children: list[Child] = []
        for place, part, written in zip(wrong, chosen, self._draw(author, texts), strict=True):
            for text in written:
                made = part.child(pool[place].prompt, text, origin=f"reflect/{part.name}")
                if child := author.admit(made):
                    children.append(Child(child, (place,), place, pool[place].turn))
        after = session.score([child.prompt for child in children], batch) if children else []
        return [
            child
            for child, evaluation in zip(children, after, strict=True)
            if gain(evaluation.values, before[child.rival].values) > 1e-9
        ]

    def _ask(self, session: Session, text: str, evaluation: Evaluation) -> str:
        rows = {row.id: row for row in session.task.rows}
        cells = errors(evaluation) if self.only_errors else traces(evaluation)
        shown = show_traces(cells, rows, session.task.fields, self.trace)
        return fill(self.reflect, {"instruction": text, "errors": shown})

    def _confirm(
        self,
        session: Session,
        pool: Sequence[Candidate],
        children: Sequence[Child],
        pareto: Sequence[Example],
    ) -> list[Candidate]:
        """Let children meet growing prefixes of the Pareto rows; drop those worse than their rivals."""
        looks = self._looks(len(pareto))
        alive = [Candidate(child.prompt, {}, child.parents, child.turn) for child in children]
        rivals = {child.prompt.id: pool[child.rival] for child in children}
        for n in looks:
            evaluations = session.score([one.prompt for one in alive], pareto[:n]) if alive else []
            alive = [
                replace(one, values=evaluation.values)
                for one, evaluation in zip(alive, evaluations, strict=True)
                if evaluation.comparable
                and not self._worse(evaluation.values, rivals[one.prompt.id].values, pareto, len(looks))
            ]
        return alive

    def _looks(self, rows: int) -> list[int]:
        """Return the numbers of rows after which a child may be dropped: 8, 16, 32 … and all."""
        looks, n = [], FIRST_LOOK
        while n < rows and self.alpha > 0:
            looks.append(n)
            n *= 2
        return [*looks, rows]

    def _worse(
        self, child: Mapping[str, float], rival: Mapping[str, float], rows: Sequence[Example], looks: int
    ) -> bool:
        shared = [row for row in rows if row.id in child and row.id in rival]
        differences = [child[row.id] - rival[row.id] for row in shared]
        if self.alpha == 0 or not shared or math.fsum(differences) >= 0:
            return False
        p = permutation_test(differences, seed=0, groups=[row.group for row in shared]) / 2
        return p <= self.alpha / looks

    def _merge(
        self,
        session: Session,
        pool: Sequence[Candidate],
        parts: Sequence[Part],
        tried: set[tuple[int, int, int]],
        author: Author,
    ) -> list[Child]:
        """Merge two undominated lines of a common ancestor; the child must not be behind either of them."""
        open_triples = [triple for triple in mergeable(pool, parts) if triple not in tried]
        if not open_triples:
            return []
        triple = session.rng.choice(open_triples)
        tried.add(triple)
        first, second, ancestor = (pool[place] for place in triple)
        merged = self._combine(first.prompt, second.prompt, ancestor.prompt, parts, author)
        if merged is None:
            return []
        names = merge_rows(session.rng, first.values, second.values)
        rows = [row for row in session.task.rows if row.id in names]
        (scored,) = session.score([merged], rows)
        parents = triple[:2]
        if min(gain(scored.values, pool[place].values) for place in parents) < -1e-9:
            return []
        rival = max(parents, key=lambda place: (pool[place].mean, -place))
        return [Child(merged, parents, rival, max(first.turn, second.turn))]

    def _combine(
        self,
        first: Prompt,
        second: Prompt,
        ancestor: Prompt,
        parts: Sequence[Part],
        author: Author,
    ) -> Prompt | None:
        """Take each part from the line that changed it; let the proposer combine what both changed."""
        merged = first
        for part in parts:
            one, other, old = part.get(first), part.get(second), part.get(ancestor)
            text = other if one == old else one
            if one != other and old not in (one, other):
                (written,) = self._draw(author, [fill(self.crossover, {"first": one, "second": other})])
                if not written:
                    return None
                text = written[0]
            merged = part.set(merged, text)
        return author.admit(replace(merged, parents=(first.id, second.id), origin="reflect/merge"))

    def _draw(self, author: Author, texts: Sequence[str]) -> list[list[str]]:
        return author.draw(texts, read=lambda reply: [read_block(reply, self.max_chars)])


def minibatches(rng: random.Random, rows: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """Yield minibatches of `size` rows for ever, each epoch in a new order; what is left over is skipped."""
    while True:
        order = rng.sample(rows, len(rows))
        for start in range(0, max(1, len(order) - size + 1), size):
            yield order[start : start + size]
