"""Worked examples shown in a prompt: the same for every row, or retrieved for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import DataError
from .records import FrozenMap, fold_inputs

if TYPE_CHECKING:  # prompts without a retriever must not wait for numpy
    from .tfidf import Tfidf

DIGITS = 9
"""Similarities that differ by less than this many digits show are ties, so that every machine sorts alike."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked example shown in the prompt."""

    inputs: FrozenMap
    output: str

    @property
    def length(self) -> int:
        """Characters of inputs and output."""
        return len(self.output) + sum(map(len, self.inputs.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"inputs": dict(self.inputs), "output": self.output}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Demonstration:
        """Read what `to_dict` wrote.

        Raises:
            DataError: a text is missing or is none.
        """
        try:
            made = cls(FrozenMap(data["inputs"]), data["output"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("demonstration", "needs inputs and output", got=data) from error
        if not all(isinstance(text, str) for text in (made.output, *made.inputs, *made.inputs.values())):
            raise DataError("demonstration", "holds something that is not a text", got=data)
        return made


@dataclass(frozen=True)
class Retriever:
    """Shows each row the `k` demonstrations of a pool whose inputs are most like its own.

    Likeness is the cosine of TF-IDF vectors; the most similar comes last, next to the row. A demonstration
    with the row's own inputs (up to case and white space) is left out, so a row is never shown its answer
    and prompts can be scored on the rows of their pool.

    Source: Liu et al. 2022, "What Makes Good In-Context Examples for GPT-3?" (DeeLIO; arXiv 2101.06804),
    section 3; sentence encoders are replaced by TF-IDF.

    Attributes:
        pool: what there is to show, at least one; ties go to the earlier.
        k: most demonstrations a row is shown, at least 1.
    """

    pool: tuple[Demonstration, ...]
    k: int

    def __post_init__(self) -> None:
        """Refuse to retrieve from nothing, or nothing."""
        if not self.pool:
            raise DataError("retriever.pool", "has no demonstration")
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise DataError("retriever.k", "must be a whole number of at least 1", got=self.k)

    def nearest(self, inputs: Mapping[str, str]) -> tuple[Demonstration, ...]:
        """Return what a row with these inputs is shown, the most similar last."""
        similar = self._index.similarities(_text(inputs)).round(DIGITS)
        own = fold_inputs(inputs)
        places = (-similar).argsort(kind="stable").tolist()
        others = [place for place in places[: self.k + self._most_alike] if self._folded[place] != own]
        return tuple(self.pool[place] for place in reversed(others[: self.k]))

    @property
    def length(self) -> int:
        """Characters that a row is shown, on average over the pool."""
        return round(min(self.k, len(self.pool)) * sum(d.length for d in self.pool) / len(self.pool))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` reads it back."""
        return {"k": self.k, "pool": [demonstration.to_dict() for demonstration in self.pool]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Retriever:
        """Read what `to_dict` wrote.

        Raises:
            DataError: something is missing or out of range.
        """
        try:
            return cls(tuple(map(Demonstration.from_dict, data["pool"])), data["k"])
        except (KeyError, TypeError) as error:
            raise DataError("retriever", "needs pool and k", got=data) from error

    @cached_property
    def _index(self) -> Tfidf:
        from .tfidf import Tfidf

        return Tfidf([_text(demonstration.inputs) for demonstration in self.pool])

    @cached_property
    def _folded(self) -> list[tuple[str, ...]]:
        return [fold_inputs(demonstration.inputs) for demonstration in self.pool]

    @cached_property
    def _most_alike(self) -> int:
        """How many demonstrations at most have the same inputs."""
        return max(Counter(self._folded).values())


def _text(inputs: Mapping[str, str]) -> str:
    return "\n".join(inputs[name] for name in sorted(inputs))
