"""Guard: are replies ended by the token limit before they have answered?

A reply that is cut may be right: a label stands at its beginning, what follows is chatter. So what counts is
what the cut replies lose, measured against the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..records import Cell, Evaluation

NOTEWORTHY = 0.1
"""Share of the whole score that the cut may cost: as many points as failed cells may (`Evaluation`)."""


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A prompt's cells with replies that the token limit ended, and what they lost; sums that can be added.

    A cell loses what its value lacks to 1. Where values are not in [0, 1], it loses 1 if no answer could be
    read, else nothing.

    Attributes:
        cells: answered.
        cut: of those, with a reply that was cut.
        limit: tokens that most of the cut replies ended at; 0: none did.
        lost: by the cut cells together.
        others_lost: by the other cells together.
    """

    cells: int = 0
    cut: int = 0
    limit: int = 0
    lost: float = 0.0
    others_lost: float = 0.0

    @classmethod
    def of(cls, evaluation: Evaluation) -> Cutoff:
        """Look at an evaluation."""
        answered = [cell for cell in evaluation.cells if cell.status == "ok"]
        cut = [cell for cell in answered if cell.cut]
        unit = all(0.0 <= cell.value <= 1.0 for cell in answered)
        lost = math.fsum(_loss(cell, unit) for cell in cut)
        others = math.fsum(_loss(cell, unit) for cell in answered if not cell.cut)
        ((limit, _),) = Counter(cell.cut for cell in cut).most_common(1) or [(0, 0)]
        return cls(len(answered), len(cut), limit, lost, others)

    def __add__(self, other: Cutoff) -> Cutoff:
        """Add the sums of other rows."""
        return Cutoff(
            self.cells + other.cells, self.cut + other.cut, max(self.limit, other.limit),
            self.lost + other.lost, self.others_lost + other.others_lost,
        )  # fmt: skip

    @property
    def cost(self) -> float:
        """Share of the whole score that the cut may cost: what cut cells lose beyond what the others do.

        What the others lose a cell is estimated with one more that loses all and one that loses nothing
        (Laplace's rule of succession), so that it is one half where there are no others: then cut replies
        are taken to be harmless unless they lose clearly more than that.
        """
        expected = (self.others_lost + 1) / (self.cells - self.cut + 2)
        return (self.lost - self.cut * expected) / max(self.cells, 1)

    @property
    def harmful(self) -> bool:
        """Whether it should be told."""
        return self.cost >= NOTEWORTHY

    @property
    def words(self) -> str:
        """Say where they were cut, and what became of them."""
        text = f"cut at {self.limit} tokens, {self.lost / self.cut:.0%} of their score lost"
        others = self.cells - self.cut
        return f"{text} ({self.others_lost / others:.0%} of the others')" if others else text


class Cut(NamedTuple):
    """What the token limit did to the replies of one prompt: whose it is, which setting cut, what it cost."""

    whose: str
    setting: str
    counts: Cutoff

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        counts = self.counts
        return {"whose": self.whose, "setting": self.setting, **asdict(counts), "harmful": counts.harmful}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cut:
        """Read what `to_dict` wrote."""
        counts = {name: data[name] for name in Cutoff.__dataclass_fields__}
        return cls(data["whose"], data["setting"], Cutoff(**counts))


def cut_notes(cuts: Sequence[Cut]) -> tuple[str, ...]:
    """Return a line for each setting that should be raised; none where cutting does no harm."""
    harmful = sorted((cut for cut in cuts if cut.counts.harmful), key=lambda cut: -cut.counts.cost)
    found: dict[str, list[Cut]] = {}
    for cut in harmful:
        found.setdefault(cut.setting, []).append(cut)
    return tuple(_note(*alike) for alike in found.values())


def _note(worst: Cut, *more: Cut) -> str:
    counts = worst.counts
    likewise = f"; {' and '.join(cut.whose for cut in more)} likewise" if more else ""
    return (
        f"{worst.setting}: seems to end replies before they have answered; got {counts.cut} of "
        f"{counts.cells} answers of {worst.whose} {counts.words}{likewise}; raise it"
    )


def _loss(cell: Cell, unit: bool) -> float:
    if unit:
        return 1.0 - cell.value
    return float(cell.score is not None and not cell.score.parsed)
