"""What changed between two texts, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Kind = Literal["same", "gone", "new"]
MOST = 3000
"""Words that are compared; beyond that two texts are shown as a whole, one after the other."""
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")


class Run(NamedTuple):
    """A stretch of text that is in both, in the old one only, or in the new one only."""

    kind: Kind
    text: str


def word_diff(old: str, new: str) -> tuple[Run, ...]:
    """Return the stretches that lead from `old` to `new`; words and white space are never cut."""
    before, after = _PIECE.findall(old), _PIECE.findall(new)
    if len(before) + len(after) > MOST:
        return tuple(run for run in (Run("gone", old), Run("new", new)) if run.text)
    return tuple(_runs(before, after))


def _runs(before: list[str], after: list[str]) -> Iterator[Run]:
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Run("same", "".join(before[i:j]))
            continue
        if i < j:
            yield Run("gone", "".join(before[i:j]))
        if k < m:
            yield Run("new", "".join(after[k:m]))
