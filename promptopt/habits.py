"""How a model is taken to answer, before a run or from what it was seen to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .records import Message

NEAR = 0.15
"""Sizes that differ by this share are near."""
DOUBT = 0.5
"""Rows that a prompt is taken to have met besides, half of them right."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How a model did with one prompt.

    Attributes:
        size: characters of a request, on average.
        rows: how many rows it met.
        right: how many of these it got right; scores between 0 and 1 count in part.
    """

    size: float
    rows: int
    right: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How a model is taken to answer.

    Attributes:
        bytes_a_token: UTF-8 bytes of a token.
        reply: tokens of a reply.
        right: share of the rows that the seed prompt gets right.
        instruction: bytes of a proposed instruction.
        variety: different proposals that it has in it, each as likely; None is no end of them.
        overhead: tokens that a chat template adds around a message.
        tried: how it did with the seed prompt and with others that a rehearsed run made and a run may make.
        known: whether it got these requests right; by their messages.
    """

    bytes_a_token: float = 4.0
    reply: float = 16.0
    right: float = 0.7
    instruction: int = 80
    variety: int | None = None
    overhead: float = 4.0
    tried: tuple[Tried, ...] = ()
    known: Mapping[tuple[Message, ...], bool] = field(default_factory=dict)

    def right_with(self, size: int) -> float:
        """Return the share of the rows that requests of so many characters are taken to get right.

        It is that of tried prompts, the nearer in size the more they count (Nadaraya 1964, "On Estimating
        Regression"): demonstrations help or harm with their number.
        """
        if not self.tried:
            return self.right
        away = [abs(math.log(one.size / max(1, size))) / NEAR for one in self.tried]
        nearest = min(away)
        weights = [math.exp((nearest**2 - far**2) / 2) for far in away]
        rows = sum(weight * one.rows for weight, one in zip(weights, self.tried, strict=True))
        right = sum(weight * one.right for weight, one in zip(weights, self.tried, strict=True))
        return (right + DOUBT / 2) / (rows + DOUBT)
