"""Who searches for what: tasks that want two things of a reply, and searchers by the name in the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..embedded.families import FAMILIES

FRAME = {"the", "a", "is", "answer"}
"""Words of a sentence around an answer; a message may have them, too."""

OPENING = "The answer is "
"""What a whole sentence begins with: the target's way of putting an answer when asked for one."""


@dataclass(frozen=True)
class Wish:
    """A task: messages, and an answer to them that is wanted in a whole sentence.

    Attributes:
        messages: the family of `benchmarks/embedded` whose inputs they are.
        answer: the family whose answer is wanted.
    """

    messages: str
    answer: str

    def worth(self, message: str, reply: str) -> float:
        """Return half for the answer and half for a whole sentence."""
        wanted = FAMILIES[self.answer].solve(message)
        assert wanted is not None, f"{self.answer} cannot answer {message!r}"
        return (names(message, wanted, reply) + reply.startswith(OPENING)) / 2


def words(text: str) -> set[str]:
    """Return the different words and numbers of a text."""
    return set(re.findall(r"[a-z'-]+|\d+", text.lower()))


def names(message: str, wanted: str, reply: str) -> bool:
    """Whether a reply has the wanted answer, and no other word of the message."""
    held = re.search(rf"(?<!\w){re.escape(wanted.lower())}(?!\w)", reply.lower())
    return bool(held) and not (words(message) - words(wanted) - FRAME) & words(reply)


TASKS: dict[str, Wish] = {
    "last word": Wish("negation", "last_word"),
    "count of words": Wish("negation", "count_words"),
    "first item": Wish("sort", "first_item"),
    "reversed word": Wish("antonyms", "reverse_word"),
    "number in words": Wish("next_num", "num_to_verbal"),
    "odd or even": Wish("next_num", "even_odd"),
}

TRAINED: dict[str, Any] = {
    "name": "rl", "steps": 60, "groups": 3, "group_size": 8, "rows": 3, "demos": 2, "max_tokens": 24,
    "share": 0.75, "shortlist": 20, "keep": 3,
    "training": {"learning_rate": 8e-4, "beta": 0.15, "patience": 60, "save_every": 60},
}  # fmt: skip
"""Three asks a step, and a strong pull back to the start: what good proposals share by chance (rows shown,
the other words) is not to be learned with what makes them good."""

CONTENDERS: dict[str, Any] = {
    "rl": TRAINED,
    "untrained": TRAINED | {"training": TRAINED["training"] | {"learning_rate": 0.0, "beta": 0.0}},
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
    "form": "conditional", "steps": 30, "groups": 3, "group_size": 8, "share": 1.0, "shortlist": 4,
}  # fmt: skip
