"""EvoPrompt: evolve a population of instructions; a model crosses them over and mutates them.

Source: Guo et al. 2023, "Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt
Optimizers" (arXiv 2309.08532).
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.template import fill

from ._author import Author, need_slots
from ._budget import rows_each
from ._choice import starting
from ._fitness import fitness, roulette
from ._meta import CROSSOVER
from ._text import VARIATION, check_has_place, number_word, show_rows
from .ape import FORWARD

GA_PAPER = (
    "Please follow the instruction step-by-step to generate a better prompt.\n"
    "1. Crossover the following prompts and generate a new prompt:\n"
    "Prompt 1: {{first}}\nPrompt 2: {{second}}\n"
    "2. Mutate the prompt generated in Step 1 and generate a final prompt bracketed with <prompt> and "
    "</prompt>."
)
"""The paper's genetic algorithm in one call (figure 1, without its worked example)."""

DE_PAPER = (
    "Please follow the instruction step-by-step to generate a better prompt.\n"
    "1. Identify the different parts between the Prompt 1 and Prompt 2:\n"
    "Prompt 1: {{first}}\nPrompt 2: {{second}}\n"
    "2. Randomly mutate the different parts\n"
    "3. Combine the different parts with Prompt 3, selectively replace it with the different parts in step 2 "
    "and generate a new prompt.\nPrompt 3: {{best}}\n"
    "4. Crossover the prompt in the step3 with the following basic prompt and generate a final prompt "
    "bracketed with <prompt> and </prompt>:\nBasic Prompt: {{basic}}"
)
"""The paper's differential evolution in one call (figure 2, without its worked example)."""

GENERATIONS = 3
"""With fewer generations nothing evolves: under a cap on calls, rows are given up first."""
CALLS = {"ga": 2, "de": 3}
"""Calls of the proposer that a child takes."""
INDUCED_FROM = 5
"""Rows shown to induce an instruction from, as APE does."""

Positive = Annotated[int, Field(ge=1)]
Member = tuple[Prompt, float]


@dataclass(frozen=True)
class Evolution:
    """EvoPrompt, GA (algorithm 2) and DE (algorithm 3).

    A population of N = 10 evolves over T = 10 generations, as in the paper.

    GA: two parents are drawn by roulette wheel, their scores the chances; the model crosses them over and
    mutates the child (section 3.2); of the old population and the children the N best survive.

    DE: for each member p_i (`basic`) two others are drawn; the parts in which they differ are mutated,
    combined with the best prompt and crossed with p_i (section 3.3); the child takes the place of p_i if it
    scores higher.

    What differs from the paper and the reference code:

    - The steps are short meta-prompts of a call each, which a small model can follow: crossover, then
      mutation; in DE what differs is found by comparing words, and combining is the crossover, too. To let a
      strong model do all in one call, as in the paper, set `whole` to `GA_PAPER` or `DE_PAPER`.
    - Children are scored on the first 50 search rows (the paper: on a development set of 50 to 200), the same
      for all; the `keep` best then meet all rows, since only those can win.
    - A generation is proposed and scored at once, so DE's best prompt is that of the generation before; the
      two parents in GA are different prompts; a child that was there before is not scored again.
    - Temperature .9 instead of .5: fewer children are copies.
    - The search also ends after `patience` generations in a row without a new prompt.
    - What quotes a search row is not scored.

    Attributes:
        mode: `ga`, or `de`, which the paper advises where the prompts to start from are poor.
        population: N.
        generations: T.
        instructions: instructions to start from, besides the seed prompt's and good ones found elsewhere.
        start: how the population is filled up: `induce` lets the proposer guess from 5 input-output pairs, as
            APE does; `paraphrase` asks for variations of those that are there. The paper takes prompts
            written by people and by APE, and paraphrases.
        rows: search rows that a child is scored on; fewer where a cap on calls would else end the search
            within three generations.
        keep: how many of the best are scored on every search row in the end.
        patience: generations in a row without anything new that end the search.
        crossover: meta-prompt with `{{first}}` and `{{second}}`.
        mutation: meta-prompt with `{{instruction}}`.
        whole: one meta-prompt for all steps instead; `{{first}}`, `{{second}}`, in DE `{{best}}` and
            `{{basic}}`, too. The model writes its steps out, so give it some 500 `max_tokens`.
        induction: meta-prompt with `{{demonstrations}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions are dropped.
    """

    mode: Literal["ga", "de"] = "ga"
    population: Annotated[int, Field(ge=2)] = 10
    generations: Positive = 10
    instructions: tuple[str, ...] = ()
    start: Literal["induce", "paraphrase"] = "induce"
    rows: Positive = 50
    keep: Positive = 5
    patience: Positive = 3
    crossover: str = CROSSOVER
    mutation: str = VARIATION
    whole: str | None = None
    induction: str = FORWARD
    temperature: Annotated[float, Field(ge=0)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive = 100
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Fill the population, evolve it, score its best on every row.

        Raises:
            ConfigError: the prompt has no place for an instruction, no row has an answer to induce from, or
                there is no instruction to paraphrase.
            TemplateError: a meta-prompt lacks what it needs.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        check_has_place(session.task.seed_prompt, "searcher evolution")
        self._check_slots()
        with Author(
            session, "evolution", self.temperature, self.top_p, self.max_tokens, self.max_chars
        ) as author:
            members = self._evolve(session, author)
            author.check()
            session.score([prompt for prompt, _ in best_first(members)[: self.keep]])

    def _evolve(self, session: Session, author: Author) -> list[Member]:
        """Return the last generation."""
        rows = rows_each(session, self.rows, (1 + GENERATIONS) * self.population, CALLS[self.mode])
        members = best_first(self._score(session, self._first(session, author), rows))[: self.population]
        evolve = self._ga if self.mode == "ga" else self._de
        for _ in range(self.generations):
            if len(members) < (2 if self.mode == "ga" else 3):
                break
            passed = author.passed
            members = evolve(session, author, members, rows)
            if author.is_over(author.passed > passed, self.patience):
                break
        return members

    def _first(self, session: Session, author: Author) -> list[Prompt]:
        """Return what there is to start from, and as many as are missing, in a few tries."""
        seed = session.task.seed_prompt
        given = [
            *starting(session),
            *(seed.child(instruction=text, origin="evolution/given") for text in self.instructions),
        ]
        members = [prompt for prompt in given if author.known.add(prompt) and prompt.instruction]
        for _ in range(self.patience):
            missing = self.population - len(members)
            if missing <= 0:
                break
            if self.start == "induce":
                made = [(seed, text) for text in author.draw_each(self._inductions(session, missing))]
            else:
                made = self._paraphrase(author, members, missing)
            children = [author.child(text, [parent], f"evolution/{self.start}") for parent, text in made]
            members += [child for child in children if child is not None]
        return members

    def _inductions(self, session: Session, n: int) -> list[str]:
        """Return n meta-prompts, each with rows of its own."""
        rows = [row for row in session.task.rows if row.answer]
        if not rows:
            raise ConfigError(
                "searcher evolution",
                "no search row has an answer to show the proposer",
                do="give the rows answers, or set start to paraphrase",
            )
        shown = [session.rng.sample(rows, min(INDUCED_FROM, len(rows))) for _ in range(n)]
        return [
            fill(
                self.induction,
                {
                    "demonstrations": show_rows(its, session.task.fields),
                    "number": number_word(len(its)),
                    "instruction": session.task.seed_prompt.instruction,
                    "description": session.task.description,
                },
            )
            for its in shown
        ]

    def _paraphrase(
        self, author: Author, members: Sequence[Prompt], n: int
    ) -> list[tuple[Prompt, str | None]]:
        """Return n parents, the members in turn, each with a variation."""
        if not members:
            raise ConfigError(
                "searcher evolution",
                "there is no instruction to paraphrase",
                do="write one, or set start to induce",
            )
        parents = [members[place % len(members)] for place in range(n)]
        texts = author.draw_each([self._vary(parent.instruction) for parent in parents])
        return list(zip(parents, texts, strict=True))

    def _ga(self, session: Session, author: Author, members: Sequence[Member], rows: int) -> list[Member]:
        """Cross and mutate N pairs of parents; return the N best of all (algorithm 2)."""
        pairs = [draw_two(session.rng, members) for _ in range(self.population)]
        if self.whole is not None:
            texts = author.draw_each([self._fill_whole(first, second) for first, second in pairs])
        else:
            crossed = author.draw_each([self._cross(a.instruction, b.instruction) for a, b in pairs])
            texts = author.draw_each([self._vary(text) for text in crossed])
        children = [author.child(text, pair, "evolution/ga") for text, pair in zip(texts, pairs, strict=True)]
        born = self._score(session, [child for child in children if child is not None], rows)
        return best_first([*members, *born])[: self.population]

    def _de(self, session: Session, author: Author, members: Sequence[Member], rows: int) -> list[Member]:
        """Let each member meet a mutant of two others and the best; return who won (algorithm 3)."""
        best = best_first(members)[0][0]
        basics = [prompt for prompt, _ in members]
        donors = [session.rng.sample([other for other in basics if other != basic], 2) for basic in basics]
        if self.whole is not None:
            asked = [self._fill_whole(*its, best, basic) for its, basic in zip(donors, basics, strict=True)]
            texts = author.draw_each(asked)
        else:
            parts = [differing(first.instruction, second.instruction) for first, second in donors]
            mutated = author.draw_each([self._vary(its) for its in parts])
            combined = author.draw_each([text and self._cross(best.instruction, text) for text in mutated])
            texts = author.draw_each(
                [
                    text and self._cross(text, basic.instruction)
                    for text, basic in zip(combined, basics, strict=True)
                ]
            )
        children = [
            author.child(text, [basic, *its, best], "evolution/de")
            for text, basic, its in zip(texts, basics, donors, strict=True)
        ]
        born = iter(self._score(session, [child for child in children if child is not None], rows))
        challengers = [None if child is None else next(born) for child in children]
        return [
            old if new is None or new[1] <= old[1] else new
            for old, new in zip(members, challengers, strict=True)
        ]

    def _score(self, session: Session, prompts: Sequence[Prompt], rows: int) -> list[Member]:
        if not prompts:
            return []
        evaluations = session.score(prompts, rows)
        return [(prompt, fitness(its)) for prompt, its in zip(prompts, evaluations, strict=True)]

    def _cross(self, first: str, second: str) -> str:
        return fill(self.crossover, {"first": first, "second": second})

    def _vary(self, text: str | None) -> str | None:
        return None if text is None else fill(self.mutation, {"instruction": text})

    def _fill_whole(self, *prompts: Prompt) -> str:
        names = ("first", "second", "best", "basic")
        values = {name: prompt.instruction for name, prompt in zip(names, prompts, strict=False)}
        return fill(self.whole or "", values)

    def _check_slots(self) -> None:
        where = "searcher evolution"
        if self.whole is None:
            need_slots(f"{where}.crossover", self.crossover, "first", "second")
        else:
            names = ("first", "second") if self.mode == "ga" else ("first", "second", "best", "basic")
            need_slots(f"{where}.whole", self.whole, *names)
        need_slots(f"{where}.mutation", self.mutation, "instruction")
        need_slots(f"{where}.induction", self.induction, "demonstrations")


def best_first(members: Sequence[Member]) -> list[Member]:
    """Return the members in descending order of score, the older ones first among equals."""
    return sorted(members, key=lambda member: -member[1])


def draw_two(rng: random.Random, members: Sequence[Member]) -> tuple[Prompt, Prompt]:
    """Draw two different members by roulette wheel."""
    first = roulette(rng, [score for _, score in members])
    others = [member for place, member in enumerate(members) if place != first]
    second = roulette(rng, [score for _, score in others])
    return members[first][0], others[second][0]


def differing(first: str, second: str) -> str:
    """Return the words of the second text that the first has not in their place, or all if none differ."""
    one, two = first.split(), second.split()
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    spans = [two[low:high] for kind, _, _, low, high in matcher.get_opcodes() if kind != "equal"]
    return " ".join(" ".join(span) for span in spans if span) or second
