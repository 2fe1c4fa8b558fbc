"""The options of a row: their letters and texts, which are right, and which one a text names."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from promptopt.errors import DataError
from promptopt.records import Example

from ._text import answers_of, fold, squad

_LETTER = re.compile(r"[\s*_\"'`$]*(?:option |choice )?[(\[]?([a-z])[)\]]?[\s*_\"'`$.,:;!?]*")
_LABELLED = re.compile(r"(?:\(([a-z])\)|([a-z])[).:])\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of a row.

    Attributes:
        options: as the row has them.
        letters: one lower-case letter an option: its own when every option starts with one (`(A)`, `B) dog`,
            `C`), else a, b, c … by position; empty from the 27th on.
        names: the three ways an option's text is compared, in order: folded; folded without its own letter
            (empty for an option that is only a letter); the latter normalised as in SQuAD.
    """

    options: tuple[str, ...]
    letters: tuple[str, ...]
    names: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(cls, options: Sequence[str]) -> Choices:
        """Split letters from texts."""
        folded = tuple(fold(option) for option in options)
        parts = [_split(option) for option in folded]
        letters, texts = tuple(letter for letter, _ in parts), tuple(text for _, text in parts)
        if "" in letters or len(set(letters)) < len(letters):
            letters, texts = (*string.ascii_lowercase, *[""] * len(folded))[: len(folded)], folded
        return cls(tuple(options), letters, (folded, texts, tuple(map(squad, texts))))

    @property
    def texts(self) -> tuple[str, ...]:
        """The options folded, without their own letters."""
        return self.names[1]

    def letter(self, letter: str) -> int | None:
        """Return the position of the option with this letter."""
        return self.letters.index(letter.lower()) if letter.lower() in self.letters else None

    def named(self, text: str) -> int | None:
        """Return the option that a text as a whole is: its text, its letter, or both; else None."""
        folded = fold(text)
        position = self._titled(folded)
        if position is not None:
            return position
        if match := _LETTER.fullmatch(folded):
            return self.letter(match[1])
        letter, rest = _split(folded)
        position = self._titled(rest) if letter else None
        return position if position is not None and position == self.letter(letter) else None

    def _titled(self, folded: str) -> int | None:
        for names, name in zip(self.names, (folded, folded, squad(folded)), strict=True):
            # Two options that a normalisation makes equal cannot be told apart by it.
            if name and names.count(name) == 1:
                return names.index(name)
        return None


def right_choices(example: Example, choices: Choices, reward: str) -> set[int]:
    """Return the positions of the accepted answers among the options.

    Raises:
        DataError: the row has no answer, or none of its answers is one of its options.
    """
    answers = answers_of(example, reward)
    right = {position for answer in answers if (position := choices.named(answer)) is not None}
    if not right:
        where = f"row {example.id}"
        raise DataError(where, "none of the answers is one of the options", got=answers, do=_cure(example))
    return right


def _cure(example: Example) -> str:
    if not example.options:
        return "give the row options, or an answer that is a letter"
    return f"the options are {', '.join(example.options)}"[:300]


def _split(folded: str) -> tuple[str, str]:
    if len(folded) == 1 and folded in string.ascii_lowercase:
        return folded, ""
    match = _LABELLED.fullmatch(folded)
    return ((match[1] or match[2]), match[3]) if match else ("", "")


LETTERS = Choices.of(tuple(string.ascii_uppercase))
"""For rows without options, whose answers are letters (the options stand in the input)."""
