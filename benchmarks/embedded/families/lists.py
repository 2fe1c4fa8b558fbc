"""Families over lists of words, parted by commas."""

from __future__ import annotations

from functools import cache
from random import Random

from ..contracts import Family
from ..corpus import lexicon
from ._draw import rule


@cache
def items() -> tuple[str, ...]:
    """Return the words that lists are made of."""
    return tuple(sorted(item for its in lexicon()["categories"].values() for item in its))


@cache
def _animals() -> frozenset[str]:
    return frozenset(lexicon()["categories"]["animal"])


def _list(rng: Random) -> str:
    return ", ".join(rng.sample(items(), rng.randint(3, 5)))


def _short(rng: Random) -> str:
    return ", ".join(rng.sample(items(), rng.randint(2, 3)))


def _mixed(rng: Random) -> str:
    animals = rng.sample(sorted(_animals()), rng.randint(1, 3))
    others = rng.sample([item for item in items() if item not in _animals()], rng.randint(1, 3))
    both = animals + others
    rng.shuffle(both)
    return ", ".join(both)


def _three(rng: Random) -> str:
    return ", ".join(rng.sample(items(), 3))


def _split(text: str) -> list[str]:
    return text.split(", ")


def _last_letters(text: str) -> str:
    return "".join(word[-1] for word in _split(text))


def _looked_up(text: str) -> str:
    steps = ", ".join(f"{word} {word[-1]}" for word in _split(text))
    return f"{steps}. The answer is {_last_letters(text)}."


LISTS: tuple[Family, ...] = (
    rule(
        "taxonomy_animal",
        "list",
        _mixed,
        lambda text: ", ".join(w for w in _split(text) if w in _animals()) or None,
    ),
    rule("first_item", "list", _list, lambda text: _split(text)[0]),
    rule("last_item", "list", _list, lambda text: _split(text)[-1]),
    rule("sort", "list", _short, lambda text: ", ".join(sorted(_split(text)))),
    rule("last_letters", "list", _three, _last_letters, steps=_looked_up),
)
