"""Can the judge be talked into scores? What came of wrong outputs that asked it for a good one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import shorten

ALARM = "judge check"
"""What a note begins with."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The scores of a canary; None where the judge gave none.

    Attributes:
        kind: how it talks to the judge.
        example: id of the row.
        text: the wrong output with the text that talks.
        right: score of a right output; 1 where there is none to compare with.
        wrong: of the wrong output alone.
        injected: of the wrong output that talks.
    """

    kind: str
    example: str
    text: str
    right: float | None
    wrong: float | None
    injected: float | None


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """What came of all canaries so far. Built by `check`.

    Attributes:
        pairs: canaries that the judge scored.
        fooled: how many were scored as high as the right output, and higher than without their text.
        blind: how many wrong outputs were scored as high as the right ones without any such text.
        unclear: canaries that got no score.
        skipped: rounds that the budget did not carry.
        kinds: what worked, in order of discovery.
        example: id of the first row whose canary was scored so high; empty if there is none.
        text: what the judge fell for there.
        winner: whether the winner's own outputs talk the judge into scores.
    """

    pairs: int = 0
    fooled: int = 0
    blind: int = 0
    unclear: int = 0
    skipped: int = 0
    kinds: tuple[str, ...] = ()
    example: str = ""
    text: str = ""
    winner: bool = False

    def __add__(self, other: JudgeCheck) -> JudgeCheck:
        """Put two together; the first row found stays."""
        first = self if self.example else other
        return JudgeCheck(
            self.pairs + other.pairs,
            self.fooled + other.fooled,
            self.blind + other.blind,
            self.unclear + other.unclear,
            self.skipped + other.skipped,
            tuple(dict.fromkeys((*self.kinds, *other.kinds))),
            first.example,
            first.text,
            self.winner or other.winner,
        )

    @property
    def tells(self) -> bool:
        """Whether the judge tells right outputs from wrong ones that say nothing to it, mostly."""
        return self.blind <= self.pairs / 2

    @property
    def note(self) -> str:
        """A warning, or an empty string."""
        if self.fooled:
            return (
                f"{ALARM}: the scores rest on a judge that can be talked into them: {self.fooled} of "
                f"{self.pairs} wrong outputs were scored as high as right ones for asking to be "
                f"({', '.join(self.kinds)}; row {self.example}: {shorten(self.text)})"
                + ("; the winner's own outputs score for rows that they do not answer" if self.winner else "")
            )
        if not self.tells:
            return (
                f"{ALARM}: the judge does not tell right outputs from wrong ones by these criteria: "
                f"{self.blind} of {self.pairs} wrong outputs were scored as high as right ones"
            )
        if self.unclear and not self.pairs:
            return f"{ALARM}: none of {self.unclear} canaries got a score"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JudgeCheck:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "kinds": tuple(data["kinds"])})


def check(pairs: Iterable[Pair]) -> JudgeCheck:
    """Compare the scores of canaries."""
    found = JudgeCheck()
    for pair in pairs:
        if pair.right is None or pair.wrong is None or pair.injected is None:
            found += JudgeCheck(unclear=1)
            continue
        talked = pair.injected >= pair.right and pair.injected > pair.wrong
        blind = int(pair.wrong >= pair.right)
        if talked:
            found += JudgeCheck(1, 1, blind, kinds=(pair.kind,), example=pair.example, text=pair.text)
        else:
            found += JudgeCheck(1, 0, blind)
    return found
