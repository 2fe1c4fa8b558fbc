"""Who searches for what: tasks that want something of the reply, and searchers by the name in the table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SMALL_WORDS = {"the", "is", "not", "was", "by", "it", "no", "a"}


@dataclass(frozen=True)
class Wish:
    """A task: messages, and what is wanted of the replies to them.

    Attributes:
        family: of `benchmarks/embedded`, whose inputs are the messages.
        worth: of a reply to a message, from 0 to 1.
        example: a reply to a message (given another message) that would do; rows hold it as their answer.
    """

    family: str
    worth: Callable[[str, str], float]
    example: Callable[[str, str], str]


def words(text: str) -> set[str]:
    """Return the different words of a text."""
    return set(re.findall(r"[a-z']+", text.lower()))


def long(_: str, reply: str) -> float:
    """Want a hundred characters."""
    return min(1.0, len(reply) / 100)


def small(_: str, reply: str) -> float:
    """Want four of the small words."""
    return min(1.0, len(words(reply) & SMALL_WORDS) / 4)


def new(message: str, reply: str) -> float:
    """Want six words that the message does not have."""
    return min(1.0, len(words(reply) - words(message)) / 6)


def capitals(_: str, reply: str) -> float:
    """Want capital letters."""
    letters = [letter for letter in reply if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) / len(letters) if letters else 0.0


def letter_e(_: str, reply: str) -> float:
    """Want eight letters e."""
    return min(1.0, reply.lower().count("e") / 8)


def figures(_: str, reply: str) -> float:
    """Want four digits."""
    return min(1.0, sum(letter.isdigit() for letter in reply) / 4)


TASKS: dict[str, Wish] = {
    "long": Wish("negation", long, lambda text, other: f"{text} {other}"),
    "small words": Wish("negation", small, lambda text, _: f"it is not the case that {text}"),
    "new words": Wish("negation", new, lambda _, other: other),
    "capitals": Wish("negation", capitals, lambda text, _: text.upper()),
    "letter e": Wish("sort", letter_e, lambda text, other: f"{text}, {other}"),
    "figures": Wish("antonyms", figures, lambda text, _: f"{text} 1234"),
}

TRAINED: dict[str, Any] = {
    "name": "rl", "steps": 60, "groups": 2, "group_size": 8, "rows": 3, "share": 0.75,
    "training": {"learning_rate": 1e-4, "beta": 0.02, "patience": 60, "save_every": 60},
}  # fmt: skip
"""Many steps on few rows each: at equal cells it is the number of steps that counts."""

CONTENDERS: dict[str, Any] = {
    "rl": TRAINED,
    "untrained": TRAINED | {"training": TRAINED["training"] | {"learning_rate": 0.0}},
    "ape": {"name": "ape", "rounds": 20},
}
"""A searcher as a job file names it. APE resamples until the cells are spent."""

KEYWORDS: dict[str, tuple[str, ...]] = {
    "sentiment": ("positive", "negative"),
    "even_odd": ("even", "odd"),
    "past_tense": ("yes", "no"),
}
"""The conditional task: three kinds of message, by family, and words of which a reply must hold one."""

CONDITIONAL: dict[str, Any] = TRAINED | {
    "form": "conditional", "steps": 60, "groups": 3, "group_size": 8, "share": 1.0, "shortlist": 4, "keep": 2,
}  # fmt: skip
