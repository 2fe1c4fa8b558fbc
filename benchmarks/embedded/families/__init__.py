"""The task families, and rows of them."""

from __future__ import annotations

from random import Random

from ..contracts import Family
from ..corpus import public_rows
from .lists import LISTS
from .numbers import NUMBERS
from .relations import relations
from .sentences import requests, reviews, sentences
from .words import WORDS

FAMILIES: dict[str, Family] = {
    family.name: family for family in (*WORDS, *relations(), *NUMBERS, *sentences(), *LISTS)
}

Rows = list[tuple[str, tuple[str, ...]]]


def rows(name: str, split: str, n: int, seed: int) -> Rows:
    """Draw up to n different rows of a split as (input, accepted outputs)."""
    rng = Random(f"{name}/{split}/{seed}")
    found: dict[str, tuple[str, ...]] = {}
    for _ in range(60 * n):
        text, output = FAMILIES[name].draw(rng, split)
        found.setdefault(text, (output,))
        if len(found) == n:
            break
    return list(found.items())


def real_rows(name: str, split: str) -> Rows:
    """Return the rows of a public set that a family stands for; none where there is no such set."""
    if name == "sentiment":
        return [(text, (label,)) for text, label in reviews(split)]
    if name == "topic":
        return [(text, (label,)) for text, label in requests(split)]
    if name in ("first_word_letter", "second_word_letter", "letters_list", "singular_to_plural"):
        return list(public_rows(f"instruction_induction/{name}", split))
    return []


def reviews_and_requests() -> list[str]:
    """Return the texts of the real training rows."""
    return [text for text, _ in (*reviews("train"), *requests("train"))]
