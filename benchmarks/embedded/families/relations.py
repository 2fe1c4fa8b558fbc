"""Families from the closed lexicon: relations between words, and comparing animals."""

from __future__ import annotations

from random import Random
from typing import Any

from ..contracts import Family
from ..corpus import lexicon, supersenses
from ._draw import rule, table


def _both_ways(pairs: list[list[str]]) -> dict[str, str]:
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


def _larger(text: str) -> str | None:
    sizes: dict[str, Any] = lexicon()["animal_sizes"]
    animals = text.split(", ")
    return max(animals, key=sizes.__getitem__) if all(animal in sizes for animal in animals) else None


def _two_animals(rng: Random) -> str:
    sizes = lexicon()["animal_sizes"]
    while True:
        a, b = rng.sample(sorted(sizes), 2)
        if max(sizes[a], sizes[b]) > 1.6 * min(sizes[a], sizes[b]):
            return f"{a}, {b}"


def _supersense(part: str) -> Family:
    senses = supersenses(part)
    return table(f"{part}_supersense", part, senses, labels=tuple(sorted(set(senses.values()))))


def relations() -> tuple[Family, ...]:
    """Return the families."""
    words = lexicon()
    categories = {item: name for name, items in words["categories"].items() for item in items}
    comparatives = dict(words["comparatives_irregular"]) | dict(words["adjectives"])
    return (
        table("antonyms", "term", _both_ways(words["antonyms"])),
        table("synonyms", "term", dict(words["synonyms"])),
        table("category", "thing", categories, labels=tuple(words["categories"])),
        *(_supersense(part) for part in ("noun", "verb")),
        table("country_capital", "country", dict(words["capitals"])),
        table("english_to_german", "term", dict(words["german"])),
        table("german_to_english", "german", {german: english for english, german in words["german"]}),
        table("opposite_gender", "person", _both_ways(words["genders"])),
        table("comparative", "adjective", comparatives),
        rule("larger_animal", "pair", _two_animals, _larger),
    )
