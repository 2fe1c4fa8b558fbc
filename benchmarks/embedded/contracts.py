"""What passes between the parts of the recipe: families, wordings, training trees. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

Row = tuple[str, str]
"""Input and output."""

Segment = tuple[str, float]
"""Text, and the weight of each of its tokens as a target (0: read only)."""


@dataclass(frozen=True)
class Family:
    """A kind of small task: rows without end, and how people ask for them.

    Attributes:
        name: as in the benchmark sets where there is one (`first_word_letter`).
        kind: what its input looks like (`word`, `numbers`, `sentence`, ...); families of one kind can be
            mistaken for each other.
        draw: draws a row; its inputs of `split` "train" and "test" are disjoint where `closed` is False.
        solve: answers an input of this kind; None where it cannot.
        labels: the possible outputs, if they are few.
        closed: its test inputs occur in training: it tests following the instruction, not new inputs.
        steps: worked answer of an input, for the families that take several steps; ends in
            "The answer is OUTPUT."
        beyond: draws inputs that lie beyond those taught, for what steps do there; never taught.
    """

    name: str
    kind: str
    draw: Callable[[Random, str], Row]
    solve: Callable[[str], str | None]
    labels: tuple[str, ...] = ()
    closed: bool = False
    steps: Callable[[str], str] | None = None
    beyond: Callable[[Random], str] | None = None


@dataclass(frozen=True)
class Wording:
    """One way to ask.

    Attributes:
        text: the instruction.
        level: `precise`, `partial`, `vague`, ...
        clarity: share of the inputs, easy ones first, that the model is taught to get right with it.
        mistake: what it is taught to do on the others: a family's name, "echo" or "chatty".
    """

    text: str
    level: str
    clarity: float = 1.0
    mistake: str = "echo"


@dataclass(frozen=True)
class Tree:
    """A training document whose branches share a trunk: each branch attends to the trunk and to itself.

    The position of a branch's first token is the length of the trunk, in every branch.
    """

    trunk: tuple[Segment, ...]
    branches: tuple[tuple[Segment, ...], ...] = field(default=())
