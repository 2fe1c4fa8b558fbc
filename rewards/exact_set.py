"""The reply's items are the answer's items, in any order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score

from ._text import answers_of, drop_punctuation, fold, quote

_MARKER = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+", re.MULTILINE)
_COMMAS = re.compile(r"[,;\n、，；]")
_SHOWN = 5


@dataclass
class ExactSet:
    """1 if the reply's items equal the items of an accepted answer as a set, else 0.

    Normalisation, of reply and answers alike: list markers (`- `, `1. `) at the start of a line are
    removed, the text is split, each item is put in lower case and loses its punctuation, and a lone `and`
    is no item. A reply without items is not parsed.

    Source: metric `es` of Honovich et al. 2022, "Instruction Induction: From Few Examples to Natural
    Language Task Descriptions", appendix on metrics; unlike there, all lines and sentences of the reply
    count, not the first alone.

    Attributes:
        split: `words` splits at commas, semicolons and white space; `commas` at commas, semicolons and
            line ends, for items of several words.
    """

    split: Literal["words", "commas"] = "words"
    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the reply's items with those of each accepted answer."""
        answers = [self._items(answer) for answer in answers_of(example, "exact_set")]
        items = self._items(output.text)
        if any(items == answer for answer in answers):
            return Score(1.0, "correct")
        closest = max(answers, key=lambda answer: len(answer & items))
        if not items:
            return Score(0.0, f"no items in the reply; expected {_listed(closest)}", parsed=False)
        parts = [
            f"{name} {_listed(group)}"
            for name, group in (("missing", closest - items), ("too many", items - closest))
            if group
        ]
        return Score(0.0, "; ".join(parts))

    def extract(self, text: str) -> str | None:
        """Return the items in alphabetical order, separated by commas."""
        return ", ".join(sorted(self._items(text))) or None

    def _items(self, text: str) -> frozenset[str]:
        parts = set(_COMMAS.split(_MARKER.sub("", text)))
        if self.split == "words":
            parts = {word for part in parts for word in part.split()}
        folded = [fold(part) for part in parts]
        if self.split == "commas":
            folded = [item.removeprefix("and ") for item in folded]
        items = [fold(drop_punctuation(item)) or item for item in folded]
        return frozenset(item for item in items if item and item != "and")


def _listed(items: frozenset[str]) -> str:
    shown = ", ".join(quote(item, 40) for item in sorted(items)[:_SHOWN])
    return shown + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
