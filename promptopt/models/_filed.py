"""Answers by batch: from requests to lines, from lines to outcomes, what failed in passing filed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from ..contracts.model import Completion, Failure, Likelihood
from ..records import digest
from ._filing import Filing
from ._trouble import Trouble

T = TypeVar("T", Completion, Likelihood)


def _unchanged(trouble: Trouble) -> Trouble:
    return trouble


@dataclass(frozen=True, slots=True)
class Line(Generic[T]):
    """One request of a batch.

    Attributes:
        body: what is asked.
        read: turns the answer's body into an outcome, or raises `Trouble`.
        sample: tells requests with the same body apart.
        refused: says what a refusal means.
    """

    body: Mapping[str, Any]
    read: Callable[[Mapping[str, Any]], T]
    sample: int = 0
    refused: Callable[[Trouble], Trouble] = _unchanged


async def by_batch(
    filing: Filing,
    positions: Sequence[int],
    line: Callable[[int], Line[T]],
    admit: Callable[[int], bool],
    attempts: int,
) -> dict[int, T | Failure]:
    """Return the outcome of each position; what failed in passing is in the next of `attempts` batches.

    Raises:
        ModelError: the endpoint cannot work with batches.
    """
    outcomes: dict[int, T | Failure] = {}
    lost: Counter[int] = Counter()
    last: dict[int, Trouble] = {}
    for _ in range(attempts):
        left = [i for i in positions if i not in outcomes]
        if not left:
            break
        named = _named(left, line)
        bodies = {name: one.body for name, (_, one) in named.items()}
        filed = await filing.answer(bodies, partial(_admitted, admit, named))
        for name, (i, one) in named.items():
            if name in filed.refused:
                outcomes[i] = Failure("budget", "the budget does not allow another call", lost[i])
                continue
            try:
                outcomes[i] = _outcome(filed.replies[name], one, lost[i])
            except Trouble as trouble:
                last[i] = trouble
                lost[i] += trouble.lost
                if trouble.again == "no":
                    outcomes[i] = Failure(trouble.reason, trouble.message, lost[i])
    given_up = {i: Failure(last[i].reason, last[i].message, lost[i]) for i in positions if i not in outcomes}
    return outcomes | given_up


def _admitted(admit: Callable[[int], bool], named: Mapping[str, tuple[int, Line[T]]], name: str) -> bool:
    return admit(named[name][0])


def _named(positions: Sequence[int], line: Callable[[int], Line[T]]) -> dict[str, tuple[int, Line[T]]]:
    """Return the lines by a digest of what they ask, the same in every process."""
    named: dict[str, tuple[int, Line[T]]] = {}
    times: Counter[str] = Counter()
    for i in positions:
        one = line(i)
        name = digest([one.body, one.sample], 32)
        times[name] += 1
        named[f"{name}-{times[name]}"] = (i, one)
    return named


def _outcome(reply: Mapping[str, Any] | Trouble, line: Line[T], lost: int) -> T:
    if isinstance(reply, Trouble):
        raise line.refused(reply)
    return replace(line.read(reply), lost=lost)
