"""PromptBreeder: breed instructions together with the mutation prompts that change them.

Source: Fernando et al. 2023, "Promptbreeder: Self-Referential Self-Improvement Via Prompt Evolution" (arXiv
2309.16797).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Evaluation, Example
from promptopt.template import fill

from . import _breeding as wordings
from ._author import Author, need_slots
from ._budget import rows_each
from ._choice import starting
from ._fitness import fitness, roulette
from ._text import check_has_place, number_word, show_rows, unique
from .ape import FORWARD

Operator = Literal[
    "zero_order",
    "first_order",
    "distribution",
    "ranked",
    "lineage",
    "zero_order_hyper",
    "first_order_hyper",
    "lamarckian",
]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
ALIKE = 0.95
"""Instructions more alike than this are not listed side by side (section 3.2.2)."""
GENERATIONS = 4
"""With fewer generations nothing is bred: under a cap on calls, rows are given up first."""
WORKED = 5
"""Most worked rows that a Lamarckian mutation is shown."""

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Unit:
    """A unit of evolution (section 3).

    Attributes:
        prompt: its task-prompt, P.
        mutation: its mutation-prompt, M.
        evaluation: of the prompt, on the rows all units share.
        elites: instructions of its line that were the best of the population, oldest first.
    """

    prompt: Prompt
    mutation: str
    evaluation: Evaluation
    elites: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Its fitness."""
        return fitness(self.evaluation)


@dataclass(frozen=True)
class Birth:
    """A copy of a tournament's winner that is to overwrite the loser.

    Attributes:
        parent: the winner.
        loser: its opponent's place in the population.
        operator: how it is mutated.
        mutation: the child's mutation-prompt.
        mate: whose instruction it takes over, if prompt crossover was drawn.
        shuffle: whether its demonstrations are drawn anew.
    """

    parent: Unit
    loser: int
    operator: Operator
    mutation: str
    mate: Prompt | None
    shuffle: bool


@dataclass(frozen=True)
class Breeder:
    """PromptBreeder (section 3): a binary tournament, and a mutated copy of the winner overwrites the loser.

    In a generation the units are paired at random. For each pair one operator is drawn, all with the same
    chance: zero-order and first-order prompt generation; estimation of distribution, by itself, by rank and
    index, and of the lineage; zero-order and first-order hypermutation, after which the new mutation-prompt
    is applied at once; and Lamarckian induction from what the winner worked out right. After any of them,
    with 10 % chance each, the child's instruction gives way to another unit's, drawn in proportion to fitness
    (prompt crossover), and its demonstrations, if it has any, to freshly drawn ones (context shuffling).
    What differs from the paper:

    - 10 units and 20 generations instead of 50 and 20 to 30: about 6,000 calls.
    - Fitness is the mean on the first 50 search rows, the same for all units and generations, so that
      scores can be compared and nothing is scored twice (the paper draws 100 anew for each evaluation); the
      `keep` best then meet all rows, since only those can win.
    - A unit holds one task-prompt instead of two, and demonstrations only where the seed prompt has some.
    - The pairs of a generation are proposed and scored at once, so lists show the population before it. A
      child without a usable or new prompt leaves the loser in place.
    - The wordings are short, with fewer mutation-prompts and thinking styles, for small models
      (`_breeding.py`; Lamarckian: APE's forward generation); all can be replaced.
    - Likeness is of characters, not of BERT embeddings: nothing to download.
    - The seed prompt and good prompts found elsewhere are units of the first population.
    - The search also ends after `patience` generations in a row without a new prompt.
    - What quotes a search row is not scored.

    Attributes:
        population: units.
        generations: of the search, at most.
        operators: those that are drawn from.
        crossover_rate: chance of prompt crossover.
        shuffle_rate: chance of context shuffling.
        rows: search rows that a unit is scored on; fewer where a cap on calls would else end the search
            within four generations.
        keep: how many of the best are scored on every search row in the end.
        patience: generations in a row without anything new that end the search.
        mutations: mutation-prompts to start from.
        styles: thinking styles.
        initial: makes the first instructions; `{{mutation}}`, `{{style}}`, `{{description}}`. The description
            is the task's, or, where there is none, the seed prompt's instruction.
        zero_order: `{{description}}`.
        first_order: `{{mutation}}`, `{{instruction}}`.
        distribution: `{{listed}}`.
        ranked: `{{listed}}`, and, if wanted, `{{mutation}}`, `{{last}}` and `{{next}}`, numbers of the list.
        lineage: `{{listed}}`.
        zero_order_hyper: `{{description}}`, `{{style}}`.
        first_order_hyper: `{{mutation}}`.
        lamarckian: `{{demonstrations}}`, and, if wanted, `{{number}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions and mutation-prompts are dropped.
    """

    population: Annotated[int, Field(ge=2)] = 10
    generations: Positive = 20
    operators: Annotated[tuple[Operator, ...], Field(min_length=1)] = OPERATORS
    crossover_rate: Share = 0.1
    shuffle_rate: Share = 0.1
    rows: Positive = 50
    keep: Positive = 5
    patience: Positive = 3
    mutations: Annotated[tuple[str, ...], Field(min_length=1)] = wordings.MUTATIONS
    styles: Annotated[tuple[str, ...], Field(min_length=1)] = wordings.STYLES
    initial: str = wordings.INITIAL
    zero_order: str = wordings.ZERO_ORDER
    first_order: str = wordings.FIRST_ORDER
    distribution: str = wordings.DISTRIBUTION
    ranked: str = wordings.RANKED
    lineage: str = wordings.LINEAGE
    zero_order_hyper: str = wordings.ZERO_ORDER_HYPER
    first_order_hyper: str = wordings.FIRST_ORDER_HYPER
    lamarckian: str = FORWARD
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 100
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Make the first units, hold tournaments, score the best on every row.

        Raises:
            ConfigError: the prompt has no place for an instruction, or nothing says what the task is.
            TemplateError: a meta-prompt lacks what it needs.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        check_has_place(session.task.seed_prompt, "searcher breeder")
        self._check_slots()
        if not _description(session):
            raise ConfigError(
                "searcher breeder",
                "nothing says what the task is",
                do="write an instruction or a description, or use the searcher ape",
            )
        with Author(
            session, "breeder", self.temperature, self.top_p, self.max_tokens, self.max_chars
        ) as author:
            units = self._breed(session, author)
            author.check()
            best = unique(unit.prompt for unit in sorted(units, key=lambda unit: -unit.score))
            session.score(best[: self.keep])

    def _breed(self, session: Session, author: Author) -> list[Unit]:
        """Return the last generation."""
        # A generation bears half as many as there are units.
        rows = rows_each(session, self.rows, self.population + GENERATIONS * self.population // 2)
        units = self._first(session, author, rows)
        for _ in range(self.generations):
            if len(units) < 2:
                break
            passed = author.passed
            units = self._generation(session, author, units, rows)
            if author.is_over(author.passed > passed, self.patience):
                break
        return units

    def _first(self, session: Session, author: Author, rows: int) -> list[Unit]:
        """Return what there is to start from, and what mutation-prompts and thinking styles make of the task.

        Section 3.1.
        """
        seed = session.task.seed_prompt
        given = [prompt for prompt in starting(session) if author.known.add(prompt)]
        found = [(prompt, session.rng.choice(self.mutations)) for prompt in given[: self.population]]
        for _ in range(self.patience):
            missing = self.population - len(found)
            drawn = [session.rng.choice(self.mutations) for _ in range(missing)]
            asked = [
                fill(self.initial, {**self._values(session), "mutation": mutation}) for mutation in drawn
            ]
            children = [author.child(text, [seed], "breeder/initial") for text in author.draw_each(asked)]
            found += [(child, m) for child, m in zip(children, drawn, strict=True) if child is not None]
            if len(found) == self.population:
                break
        evaluations = session.score([prompt for prompt, _ in found], rows)
        return [Unit(prompt, m, its) for (prompt, m), its in zip(found, evaluations, strict=True)]

    def _generation(self, session: Session, author: Author, units: Sequence[Unit], rows: int) -> list[Unit]:
        """Pair the units, and let a mutated copy of each winner overwrite the loser."""
        units = note_elite(units)
        order = session.rng.sample(range(len(units)), len(units))
        pairs = list(zip(order[::2], order[1::2], strict=False))
        births = [self._conceive(session, units, one, other) for one, other in pairs]
        births = self._hypermutate(session, author, births)
        texts = author.draw_each([self._ask(session, birth, units) for birth in births])
        children = [
            self._deliver(session, author, birth, text) for birth, text in zip(births, texts, strict=True)
        ]
        born = [(birth, child) for birth, child in zip(births, children, strict=True) if child is not None]
        evaluations = session.score([child for _, child in born], rows) if born else []
        after = list(units)
        for (birth, child), evaluation in zip(born, evaluations, strict=True):
            after[birth.loser] = Unit(child, birth.mutation, evaluation, birth.parent.elites)
        return after

    def _conceive(self, session: Session, units: Sequence[Unit], one: int, other: int) -> Birth:
        """Let two units compete, and draw what is to become of the winner's copy."""
        winner, loser = (one, other) if units[one].score >= units[other].score else (other, one)
        parent = units[winner]
        operator = session.rng.choice(self.operators)
        mate: Prompt | None = None
        if session.rng.random() < self.crossover_rate:
            others = [unit for unit in units if unit is not parent]
            mate = others[roulette(session.rng, [unit.score for unit in others])].prompt
        shuffle = session.rng.random() < self.shuffle_rate and bool(parent.prompt.demonstrations)
        return Birth(parent, loser, operator, parent.mutation, mate, shuffle)

    def _hypermutate(self, session: Session, author: Author, births: Sequence[Birth]) -> list[Birth]:
        """Give a new mutation-prompt to those that are to have one; they keep the old one if none is read."""
        asked: list[str | None] = []
        for birth in births:
            values = {**self._values(session), "mutation": birth.mutation}
            match birth.operator:
                case "zero_order_hyper":
                    asked.append(fill(self.zero_order_hyper, values))
                case "first_order_hyper":
                    asked.append(fill(self.first_order_hyper, values))
                case _:
                    asked.append(None)
        texts = author.draw_each(asked)
        return [
            replace(birth, mutation=text or birth.mutation) for birth, text in zip(births, texts, strict=True)
        ]

    def _ask(self, session: Session, birth: Birth, units: Sequence[Unit]) -> str | None:
        """Return what the proposer is asked for the child's instruction; None where a mate gives it."""
        if birth.mate is not None:
            return None
        values = self._values(session)
        values |= {"mutation": birth.mutation, "instruction": birth.parent.prompt.instruction}
        match birth.operator:
            case "zero_order":
                return fill(self.zero_order, values)
            case "distribution":
                listed = distinct(unit.prompt.instruction for unit in units)
                session.rng.shuffle(listed)
                return fill(self.distribution, values | {"listed": numbered(listed)})
            case "ranked":
                listed = distinct(unit.prompt.instruction for unit in ascending(units))
                numbers = {"last": str(len(listed)), "next": str(len(listed) + 1)}
                return fill(self.ranked, values | numbers | {"listed": numbered(listed)})
            case "lineage" if birth.parent.elites:
                return fill(self.lineage, values | {"listed": numbered(birth.parent.elites)})
            case "lamarckian" if worked := worked_out(session.task.rows, birth.parent.evaluation):
                rows = session.rng.sample(worked, min(WORKED, len(worked)))
                shown = show_rows(rows, session.task.fields)
                values |= {"demonstrations": shown, "number": number_word(len(rows))}
                return fill(self.lamarckian, values)
        return fill(self.first_order, values)

    def _deliver(self, session: Session, author: Author, birth: Birth, text: str | None) -> Prompt | None:
        """Return the child after crossover and context shuffling (section 3.2.5); None if it is not new."""
        parent = birth.parent.prompt
        changes: dict[str, Any] = {}
        if birth.shuffle:
            changes["demonstrations"] = self._context(session, len(parent.demonstrations))
        if birth.mate is None:
            return author.child(text, [parent], f"breeder/{birth.operator}", **changes)
        child = author.child(birth.mate.instruction, [parent, birth.mate], "breeder/crossover", **changes)
        # One that was there before is taken, too: its scores are known, and its mutation-prompt is another.
        return child or replace(parent, instruction=birth.mate.instruction, **changes)

    def _context(self, session: Session, n: int) -> tuple[Demonstration, ...]:
        """Draw demonstrations, from rows that no unit is scored on where there are enough."""
        rows = [row for row in session.task.rows if row.answer]
        unseen = [row for row in session.task.rows[self.rows :] if row.answer]
        pool = unseen if len(unseen) >= n else rows
        drawn = session.rng.sample(pool, min(n, len(pool)))
        return tuple(Demonstration(row.inputs, row.answer) for row in drawn)

    def _values(self, session: Session) -> dict[str, str]:
        """Return the task's description, and a thinking style drawn anew."""
        return {"description": _description(session), "style": session.rng.choice(self.styles)}

    def _check_slots(self) -> None:
        needed = {
            "initial": ("description",),
            "zero_order": ("description",),
            "first_order": ("mutation", "instruction"),
            "distribution": ("listed",),
            "ranked": ("listed",),
            "lineage": ("listed",),
            "zero_order_hyper": ("style",),
            "first_order_hyper": ("mutation",),
            "lamarckian": ("demonstrations",),
        }
        for name, slots in needed.items():
            need_slots(f"searcher breeder.{name}", vars(self)[name], *slots)


def ascending(units: Iterable[Unit]) -> list[Unit]:
    """Return the units in ascending order of fitness."""
    return sorted(units, key=lambda unit: unit.score)


def note_elite(units: Sequence[Unit]) -> list[Unit]:
    """Enter the best unit's instruction in the history of its line, unless it is the last one there."""
    best = max(range(len(units)), key=lambda place: units[place].score)
    text = units[best].prompt.instruction
    return [
        replace(unit, elites=(*unit.elites, text)) if place == best and unit.elites[-1:] != (text,) else unit
        for place, unit in enumerate(units)
    ]


def distinct(texts: Iterable[str]) -> list[str]:
    """Return the texts in their order, without empty ones and those nearly like one before."""
    kept: list[str] = []
    for text in filter(None, texts):
        if all(difflib.SequenceMatcher(None, text, one).ratio() <= ALIKE for one in kept):
            kept.append(text)
    return kept


def numbered(texts: Sequence[str]) -> str:
    """Write the texts as a numbered list."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def worked_out(rows: Sequence[Example], evaluation: Evaluation) -> list[Example]:
    """Return the rows that got a full score, with the output that got it as their answer."""
    right = {
        cell.example: cell.output.strip()
        for cell in evaluation.cells
        if cell.score is not None and cell.score.value >= 1 and cell.output.strip()
    }
    return [replace(row, answers=(right[row.id],)) for row in rows if row.id in right]


def _description(session: Session) -> str:
    return session.task.description or session.task.seed_prompt.instruction
