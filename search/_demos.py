"""What searchers of demonstrations share: rows to show kept apart from rows to score on, and sets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Example, fold_inputs
from promptopt.template import slots

FEW = 6
"""Up to so many demonstrations, all orders are written down (720) to draw from."""


@dataclass(frozen=True)
class Parted:
    """Search rows, parted: a row that is scored on is never shown, or its score would say nothing.

    Attributes:
        scored: how many rows are scored on: the first ones, so that blocks stay prefixes of the shared order.
        pool: later rows with an answer, whose inputs are those of no scored row.
    """

    scored: int
    pool: tuple[Example, ...]


def part_rows(rows: Sequence[Example], share: float, most: int, where: str) -> Parted:
    """Keep the last `share` of the rows for showing: at least `most` of them, if half of the rows are enough.

    Raises:
        ConfigError: none of these can be shown.
    """
    shown = max(round(share * len(rows)), min(most, len(rows) // 2))
    scored = max(1, len(rows) - shown)
    known = {fold_inputs(row.inputs) for row in rows[:scored]}
    pool = [row for row in answered(rows[scored:]) if fold_inputs(row.inputs) not in known]
    if not pool:
        raise no_rows(where, f"the last {shown} of {len(rows)} search rows")
    return Parted(scored, tuple(pool))


def answered(rows: Sequence[Example]) -> list[Example]:
    """Return the rows that have an answer to show."""
    return [row for row in rows if row.answer]


def no_rows(where: str, looked_at: str) -> ConfigError:
    """Make the error of a task without a row to show."""
    return ConfigError(
        where, f"{looked_at} hold none that can be shown with its answer", do="give more rows, with answers"
    )


def demonstration(row: Example) -> Demonstration:
    """Return a row and its main answer, to be shown."""
    return Demonstration(row.inputs, row.answer)


def check_shows(prompt: Prompt, where: str) -> None:
    """Raise ConfigError unless the prompt's layout shows its demonstrations."""
    layout = prompt.template
    if "demonstrations" not in slots(layout.user) + slots(layout.system) and layout.engine == "plain":
        raise ConfigError(
            where, "the prompt has no place for demonstrations", got=layout.user, do="add {{demonstrations}}"
        )


def draw(
    rng: random.Random, pool: Sequence[Demonstration], sets: int, most: int
) -> list[tuple[Demonstration, ...]]:
    """Draw sets of 1 to `most` demonstrations, each in an order of its own."""
    most = min(most, len(pool))
    return [tuple(rng.sample(pool, rng.randint(1, most))) for _ in range(sets)]


def reorder(
    rng: random.Random, shown: Sequence[Demonstration], orders: int
) -> list[tuple[Demonstration, ...]]:
    """Draw up to so many other orders of a set, of few demonstrations no order twice."""
    if len(shown) > FEW:
        return [tuple(rng.sample(shown, len(shown))) for _ in range(orders)]
    others = list(permutations(shown))[1:]
    return rng.sample(others, min(orders, len(others)))


def powers(most: int) -> list[int]:
    """Return 1, 2, 4, … and `most`."""
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


def showing(parent: Prompt, demonstrations: Sequence[Demonstration], origin: str) -> Prompt:
    """Return the prompt with these demonstrations in place of its own."""
    return parent.child(demonstrations=tuple(demonstrations), retriever=None, origin=origin)


def score_fully(session: Session, prompts: Sequence[Prompt]) -> None:
    """Score each prompt on every search row that it does not show."""
    for prompt in prompts:
        shown = {fold_inputs(demo.inputs) for demo in prompt.demonstrations}
        session.score([prompt], [row for row in session.task.rows if fold_inputs(row.inputs) not in shown])
