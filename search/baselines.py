"""Baselines every searcher should beat: the prompt as it is, best of n paraphrases, random demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.parts import Part, open_parts
from promptopt.prompt import Prompt
from promptopt.template import fill

from ._author import Author
from ._budget import affordable
from ._choice import choose
from ._demos import check_shows, demonstration, part_rows, score_fully, showing
from ._text import VARIATION, check_has_place, read_instruction


@dataclass(frozen=True)
class SeedOnly:
    """Score the seed prompt and propose nothing."""

    def search(self, session: Session) -> None:
        """Score the seed on every search row."""
        session.score([session.task.seed_prompt])


@dataclass(frozen=True)
class Paraphrases:
    """Draw n paraphrases of the prompt's open parts, keep the best.

    What luck with wording alone is worth: the paraphrases see no row, so a searcher that reads the rows
    should do better at equal cost. Where several parts may be changed (`optimize`), they take turns: an
    equal share of the paraphrases each, of the best prompt so far.

    Attributes:
        n: paraphrases drawn, or as many as a cap on calls pays to tell apart.
        variation: meta-prompt with the slot `{{instruction}}`.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a paraphrase.
        max_chars: longer paraphrases are dropped.
    """

    n: Annotated[int, Field(ge=1)] = 20
    variation: str = VARIATION
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 100
    max_chars: Annotated[int, Field(ge=1)] = 500

    def search(self, session: Session) -> None:
        """Paraphrase, then select among the paraphrases and what they were made of; part by part.

        Raises:
            ConfigError: the seed prompt has no text in an open part, or no place for an instruction.
            ModelError: the proposer gave nothing that can be read as an instruction.
        """
        best = session.task.seed_prompt
        parts = open_parts(session.task.parts, best)
        with Author(
            session, "paraphrases", self.temperature, self.top_p, self.max_tokens, self.max_chars
        ) as author:
            author.known.add(best)
            for number, part in enumerate(parts):
                if part.name == "instruction":
                    check_has_place(best, "searcher paraphrases")
                if not part.get(best):
                    raise ConfigError(
                        "searcher paraphrases",
                        f"the prompt has no {part.about}",
                        do="write one, or use the searcher ape",
                    )
                share = (number + 1) * self.n // len(parts) - number * self.n // len(parts)
                made = self._paraphrase(author, best, part, affordable(session, max(1, share)))
                (best,) = choose(session, [best, *made], 1)

    def _paraphrase(self, author: Author, prompt: Prompt, part: Part, n: int) -> list[Prompt]:
        (texts,) = author.draw(
            [fill(self.variation, {"instruction": part.get(prompt)})],
            n,
            lambda reply: [read_instruction(reply, self.max_chars)],
        )
        author.check()
        made = [author.admit(part.child(prompt, text, origin="paraphrases")) for text in texts]
        return [child for child in made if child is not None]


@dataclass(frozen=True)
class RandomDemos:
    """Draw n sets of k search rows to show, keep the best.

    What luck with demonstrations is worth: neither how many nor which or in what order is searched for.
    Rows to show come from the end of the search rows, and sets are scored on the others.

    Attributes:
        n: sets drawn, or as many as a cap on calls pays to tell apart.
        k: demonstrations of a set.
        pool: share of the search rows kept for showing; it grows to k rows where half of them allow it.
    """

    n: Annotated[int, Field(ge=1)] = 8
    k: Annotated[int, Field(ge=1)] = 4
    pool: Annotated[float, Field(gt=0, lt=1)] = 0.3

    def search(self, session: Session) -> None:
        """Draw the sets, then select among them and the seed.

        Raises:
            ConfigError: no row can be shown, or the prompt has no place for demonstrations.
        """
        seed = session.task.seed_prompt
        check_shows(seed, "searcher random_demos")
        parted = part_rows(session.task.rows, self.pool, self.k, "searcher random_demos")
        pool = [demonstration(row) for row in parted.pool]
        n = affordable(session, self.n)
        sets = [session.rng.sample(pool, min(self.k, len(pool))) for _ in range(n)]
        children = [showing(seed, shown, "random_demos") for shown in sets]
        score_fully(session, choose(session, [seed, *children], 1, rows=parted.scored))
