"""Guards: does the winner repeat the rows it was found on, and do its replies still read as answers?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import shorten
from ..prompt import Prompt
from ..records import Evaluation, Example

GRAM = 6
"""Words in a row that hardly repeat by chance; contamination checks of long texts use 8 to 13 (T. Brown et
al., Language Models are Few-Shot Learners, 2020, appendix C), prompts and rows are shorter."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")  # scripts without spaces: a sign


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a prompt's instruction stands in search rows. Built by `overlap`.

    Attributes:
        grams: distinct runs of `GRAM` words in the instruction that the seed prompt's does not hold.
        shared: how many of them stand in search rows.
        pairs: search rows whose whole input and answer both stand in the instruction, and not in the seed's.
        example: id of a row that is repeated; empty if none is.
        text: what is repeated of it.
    """

    grams: int
    shared: int
    pairs: int
    example: str = ""
    text: str = ""

    @property
    def note(self) -> str:
        """A warning, or an empty string."""
        if not self.example:
            return ""
        found = [f"{self.shared} of its {self.grams} runs of {GRAM} words"] if self.shared else []
        found += (
            [f"input and answer of {self.pairs} row{'s' if self.pairs != 1 else ''}"] if self.pairs else []
        )
        return (
            f"leak check: the best prompt repeats search rows, {' and '.join(found)} "
            f"(row {self.example}: {shorten(self.text)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def overlap(best: Prompt, seed_prompt: Prompt, rows: Sequence[Example]) -> Overlap:
    """Look for text of search rows in the winner's instruction that the seed prompt's does not hold.

    Demonstrations are left out: they are rows, and shown as such. Case, punctuation and white space do not
    count.
    """
    mine, known = _words(best.instruction), _words(seed_prompt.instruction)
    grams = dict.fromkeys(gram for gram in _grams(mine) if gram not in set(_grams(known)))
    shared: dict[tuple[str, ...], Example] = {}
    pairs: list[Example] = []
    for row in rows:
        texts = [*row.inputs.values(), *row.answers]
        for gram in (gram for text in texts for gram in _grams(_words(text)) if gram in grams):
            shared.setdefault(gram, row)
        if _holds_pair(mine, row) and not _holds_pair(known, row):
            pairs.append(row)
    if shared:
        gram, row = next(iter(shared.items()))
        return Overlap(len(grams), len(shared), len(pairs), row.id, " ".join(gram))
    if pairs:
        text = " / ".join((*pairs[0].inputs.values(), pairs[0].answer))
        return Overlap(len(grams), 0, len(pairs), pairs[0].id, text)
    return Overlap(len(grams), 0, 0)


@dataclass(frozen=True, slots=True)
class FormatDrift:
    """Replies without a readable answer, seed prompt against winner. Built by `format_drift`.

    Attributes:
        baseline: the seed prompt's, as a share of its answered cells.
        best: the winner's.
        counts: the two numbers of replies.
        cells: the two numbers of answered cells.
    """

    baseline: float
    best: float
    counts: tuple[int, int]
    cells: tuple[int, int]

    @property
    def note(self) -> str:
        """What to know, or an empty string when nothing drifted."""
        if self.baseline == self.best:
            return ""
        (before, after), (n, m) = self.counts, self.cells
        return (
            f"output format: replies without a readable answer {self.baseline:.0%} -> {self.best:.0%} "
            f"({before} of {n} -> {after} of {m})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def format_drift(seed_eval: Evaluation, best_eval: Evaluation) -> FormatDrift:
    """Compare how often the two prompts' replies hold no answer that the reward can read."""
    counts = (seed_eval.unparsed, best_eval.unparsed)
    cells = tuple(len(evaluation.cells) - evaluation.failed for evaluation in (seed_eval, best_eval))
    before, after = (count / max(n, 1) for count, n in zip(counts, cells, strict=True))
    return FormatDrift(before, after, counts, (cells[0], cells[1]))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]


def _holds_pair(words: Sequence[str], row: Example) -> bool:
    """Whether a row's whole input and one of its answers stand among the words, at two places."""
    text = f" {' '.join(words)} "
    inputs = [f" {' '.join(found)} " for value in row.inputs.values() if (found := _words(value))]
    if not inputs or not all(phrase in text for phrase in inputs):
        return False
    for phrase in inputs:
        text = text.replace(phrase, " | ", 1)
    return any(f" {' '.join(found)} " in text for answer in row.answers if (found := _words(answer)))
