"""How families draw rows: open inputs are kept apart by split, closed ones are not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..contracts import Family, Row
from ..corpus import public_test_words, split_of

Solve = Callable[[str], str | None]


def rule(
    name: str,
    kind: str,
    inputs: Callable[[Random], str],
    solve: Solve,
    *,
    labels: tuple[str, ...] = (),
    steps: Callable[[str], str] | None = None,
    beyond: Callable[[Random], str] | None = None,
) -> Family:
    """Make a family whose answer follows from its input; inputs of the splits are disjoint."""

    def draw(rng: Random, split: str) -> Row:
        while True:
            text = inputs(rng)
            if split_of(text) == split and (split != "train" or text.lower() not in public_test_words()):
                answer = solve(text)
                if answer is not None:
                    return text, answer

    return Family(name, kind, draw, solve, labels=labels, steps=steps, beyond=beyond)


def table(name: str, kind: str, pairs: dict[str, str], *, labels: tuple[str, ...] = ()) -> Family:
    """Make a closed family: all its inputs occur in training."""
    inputs = sorted(pairs)

    def draw(rng: Random, _split: str) -> Row:
        text = rng.choice(inputs)
        return text, pairs[text]

    return Family(name, kind, draw, pairs.get, labels=labels, closed=True)
