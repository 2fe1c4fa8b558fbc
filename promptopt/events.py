"""What a run tells whoever is watching: small frozen records, in the order in which things happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .ledger import Spent
from .prompt import Prompt
from .records import Budget, Evaluation

StageName = Literal["baseline", "search", "select", "test", "done"]


@dataclass(frozen=True, slots=True)
class Stage:
    """The run enters a stage.

    Attributes:
        name: which.
        cells: how many cells it will need at most; None: not known.
        searcher: whose stage it is, where several compete.
    """

    name: StageName
    cells: int | None = None
    searcher: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Some model calls of the batch under way came back.

    Attributes:
        role: target, proposer or judge.
        done: calls of this batch answered so far (known ones included).
        asked: calls of this batch.
        spent: by role, the run so far.
        remaining: what is left of the budget (None where there is no cap).
    """

    role: str
    done: int
    asked: int
    spent: Mapping[str, Spent] = field(default_factory=dict)
    remaining: Budget = Budget()


@dataclass(frozen=True, slots=True)
class Scored:
    """A prompt has an evaluation (cumulative: it holds all its cells so far under that reward).

    Attributes:
        stage: on which rows.
        task_reward: whether it was judged by the task's own reward (else by a search signal).
        candidates: how many candidates the run has so far.
    """

    stage: StageName
    prompt: Prompt
    evaluation: Evaluation
    task_reward: bool
    candidates: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know: one line."""

    text: str


Event = Stage | Tick | Scored | Notice
Listener = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Listen to nothing."""


def tell_both(first: Listener, second: Listener) -> Listener:
    """Return a listener that passes events on to two."""

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell
