"""Texts of others between marks that they cannot hold, so that none can pass for what stands around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from promptopt.records import digest

MAX_CHARS = 40_000
"""Of a longer text the middle is left out: a runaway reply must not cost a fortune to judge."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Texts between lines that hold a mark.

    Attributes:
        mark: stands in the lines around the texts, and nowhere in the texts.
        text: all of them, in order, each between two lines.
    """

    mark: str
    text: str

    @classmethod
    def around(cls, parts: Mapping[str, str]) -> Fence:
        """Put a fence around texts, by what they are called.

        The mark is derived from the texts, so that equal texts give equal requests, and derived again until
        no text holds it, whatever its case.
        """
        shown = {name: _cut(_storable(text)) for name, text in parts.items()}
        turn, held = 0, "\n".join(shown.values()).lower()
        while (mark := digest([turn, list(shown.items())])) in held:
            turn += 1
        blocks = [f"<<<{name} {mark}>>>\n{text}\n<<<END {mark}>>>" for name, text in shown.items()]
        return cls(mark, "\n\n".join(blocks))


def _storable(text: str) -> str:
    """Replace half characters (lone surrogates), which no model can be sent."""
    return text.encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
