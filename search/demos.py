"""Demonstrations: which rows to show, how many, and in what order; the instruction stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.prompt import Demonstration, Prompt, Retriever

from ._bootstrap import diverse, traces
from ._budget import affordable
from ._choice import best_start, choose
from ._demos import (
    Parted,
    answered,
    check_shows,
    demonstration,
    draw,
    no_rows,
    part_rows,
    powers,
    reorder,
    score_fully,
    showing,
)

Positive = Annotated[int, Field(ge=1)]
WHERE = "searcher demos"


@dataclass(frozen=True)
class Demos:
    """Search demonstrations by one of four methods, then the order of the best set.

    - `random`: draw `sets` sets of 1 to `most` rows, each in a random order, and keep the best: the random
      search of DSPy's BootstrapFewShotWithRandomSearch (Khattab et al. 2023, "DSPy", arXiv 2310.03714,
      section 3.3; 16 sets by default) on rows as they are.
    - `greedy`: from the seed prompt's own, add the row that helps most, out of `width` drawn anew for each
      step, as long as one helps; up to `most`.
    - `knn`: show each row the `k` rows most like it, most similar last (Liu et al. 2022, "What Makes Good
      In-Context Examples for GPT-3?", arXiv 2101.06804, section 3), by TF-IDF instead of a sentence encoder;
      k is 1, 2, 4, … or `most`. The pool is in the prompt, so it goes wherever the prompt goes.
    - `bootstrap`: `random` on what the prompt's own program replied where it was right, reasoning included
      (BootstrapFewShot of DSPy; the seed prompt is the teacher), and sets of one reply from each of 1, 2,
      4, … `most` clusters of inputs (Zhang et al. 2022, "Automatic Chain of Thought Prompting in Large
      Language Models", arXiv 2210.03493, section 4). Where no reply was right, rows' own answers are shown.

    The order matters (Lu et al. 2022, "Fantastically Ordered Prompts and Where to Find Them", arXiv
    2104.08786): of all but `knn`, `orders` permutations of the best set meet it. They are told apart by
    score, as rows are at hand; the paper's entropy criteria are for having none.

    All begin with the seed prompt, or with a better one where one was found elsewhere.

    A row that is scored on is never shown. For `knn` each row leaves itself out. For the others, rows to
    show are taken from the end of the search rows and prompts are scored on the beginning; at last the kept
    ones meet all rows but those they show.

    Attributes:
        method: how sets are found.
        most: demonstrations at most.
        sets: sets drawn, or as many as a cap on calls pays to tell apart.
        width: rows tried at each step of `greedy`.
        orders: permutations of the best set tried; 0 keeps the order in which it was found.
        keep: best prompts that are scored on all rows.
        pool: share of the search rows kept for showing; it grows to `most` rows where half of them allow it.
        right: a reply with at least this reward is shown by `bootstrap`.
    """

    method: Literal["random", "greedy", "knn", "bootstrap"] = "random"
    most: Positive = 8
    sets: Positive = 16
    width: Positive = 8
    orders: Annotated[int, Field(ge=0)] = 6
    keep: Positive = 3
    pool: Annotated[float, Field(gt=0, lt=1)] = 0.3
    right: float = 1.0

    def search(self, session: Session) -> None:
        """Find the best sets, then the best order, and score what is kept on every row it does not show.

        Raises:
            ConfigError: no row can be shown, or the prompt has no place for demonstrations.
        """
        base = best_start(session)
        check_shows(base, WHERE)
        if self.method == "knn":
            kept = self._retrieving(session, base)
        else:
            parted = part_rows(session.task.rows, self.pool, self.most, WHERE)
            find = {"random": self._random, "greedy": self._greedy, "bootstrap": self._bootstrapped}
            kept = self._reordered(session, parted, find[self.method](session, base, parted))
        score_fully(session, kept)

    def _random(self, session: Session, base: Prompt, parted: Parted) -> list[Prompt]:
        pool = [demonstration(row) for row in parted.pool]
        return self._best(
            session, base, parted, draw(session.rng, pool, affordable(session, self.sets), self.most)
        )

    def _bootstrapped(self, session: Session, base: Prompt, parted: Parted) -> list[Prompt]:
        kept = traces(session, base, parted.pool, self.right)
        if not kept:
            return self._random(session, base, parted)
        clustered = [diverse(session.rng, parted.pool, kept, k) for k in powers(self.most)]
        drawn = draw(session.rng, kept, affordable(session, self.sets), self.most)
        return self._best(session, base, parted, [*clustered, *drawn])

    def _best(
        self, session: Session, base: Prompt, parted: Parted, sets: Sequence[tuple[Demonstration, ...]]
    ) -> list[Prompt]:
        children = [showing(base, shown, f"demos/{self.method}") for shown in sets]
        return choose(session, [base, *children], self.keep, rows=parted.scored)

    def _greedy(self, session: Session, base: Prompt, parted: Parted) -> list[Prompt]:
        best = base
        path = [best]
        unused = [demonstration(row) for row in parted.pool]
        for _ in range(self.most):
            tried = session.rng.sample(unused, min(self.width, len(unused)))
            longer = [showing(best, (*best.demonstrations, one), "demos/greedy") for one in tried]
            (best,) = choose(session, [best, *longer], 1, rows=parted.scored)
            if best == path[-1]:  # ties go to the shorter
                break
            path.append(best)
            unused.remove(best.demonstrations[-1])
        return path[: -self.keep - 1 : -1]

    def _retrieving(self, session: Session, base: Prompt) -> list[Prompt]:
        rows = answered(session.task.rows)
        if not rows:
            raise no_rows(WHERE, "the search rows")
        pool = tuple(map(demonstration, rows))
        sizes = powers(min(self.most, len(pool)))
        children = [
            base.child(demonstrations=(), retriever=Retriever(pool, k), origin="demos/knn") for k in sizes
        ]
        return choose(session, [base, *children], self.keep)

    def _reordered(self, session: Session, parted: Parted, kept: list[Prompt]) -> list[Prompt]:
        """Let permutations of the best set meet the kept."""
        best = kept[0]
        shown = best.demonstrations
        if len(shown) < 2 or not self.orders:
            return kept
        orders = reorder(session.rng, shown, self.orders)
        children = [showing(best, order, "demos/order") for order in orders]
        return choose(session, [*kept, *children], self.keep, rows=parted.scored)
