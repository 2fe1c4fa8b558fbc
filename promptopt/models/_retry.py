"""The one retry policy of remote models: what to try again, how long to wait, when to give up.

Waits grow exponentially with full jitter (Brooker, "Exponential Backoff and Jitter", 2015); the pace
shared with the other requests to the endpoint is the `Gate`'s. Where another replica can be asked instead,
nobody waits. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..contracts.model import Completion, Failure, Likelihood
from ..errors import ModelError
from ._endpoint import Ask
from ._fleet import Fleet, Replica, Seat
from ._trouble import Trouble

T = TypeVar("T", Completion, Likelihood)

LONGEST_WAIT = 20.0
"""Longest wait between two attempts, in seconds, where the endpoint does not name one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often one request is tried.

    Attributes:
        where: the model, for messages.
        timeout: seconds for all attempts together, counted from the first one.
        attempt_timeout: seconds for one attempt.
        max_attempts: most attempts.
        backoff: the first wait is at most this many seconds; each later one at most twice the one before.
    """

    where: str
    timeout: float
    attempt_timeout: float
    max_attempts: int
    backoff: float


class Apart(Exception):
    """The endpoint turned out to give one sample a call: the others must be asked for one by one.

    Attributes:
        given: what it gave all the same, by position.
        outcomes: what is settled of all positions asked for.
        unspent: positions whose admission has not been used.
        lost: calls that may have been billed.
    """

    def __init__(self, given: Mapping[int, Completion]) -> None:
        """Store what was given."""
        super().__init__()
        self.given = given
        self.outcomes: dict[int, Any] = {}
        self.unspent: set[int] = set()
        self.lost = 0


UNTRIED = Trouble("timeout", "not tried")
Attempt = Callable[[Sequence[int], Seat], Awaitable[Mapping[int, T]]]
"""Answers the requests at some positions together, from a seat."""


async def persist(
    fleet: Fleet,
    patience: Patience,
    ask: Ask,
    positions: Sequence[int],
    admit: Callable[[int], bool],
    attempt: Attempt[T],
    before: int = 0,
    beginning: str = "",
) -> dict[int, T | Failure]:
    """Attempt until there are answers, or time, attempts or budget are over.

    Args:
        fleet: who can answer.
        patience: how long and how often.
        ask: what each attempt is to a gate.
        positions: of the requests that are answered together, samples of one.
        admit: asked for each of them before each attempt.
        attempt: answers them all from a seat, or raises.
        before: attempts made before that may have been billed.
        beginning: of their prompt; calls with the same one had better meet the same replica.

    Raises:
        ModelError: nothing ever answered at the endpoint, or it seems to be gone for good.
        Apart: they cannot be answered together.
    """
    clock = asyncio.get_running_loop().time
    deadline = math.inf
    last, lost = UNTRIED, before
    refused: dict[int, T | Failure] = {}
    left = list(positions)
    order, failed_at = fleet.order(beginning), list[Replica]()
    spare: set[int] = set()  # admitted for a call that was refused, which was one call, not one for each

    def all_failed(failure: Failure) -> dict[int, T | Failure]:
        return refused | dict.fromkeys(left, failure)

    for tried in range(patience.max_attempts):
        try:
            seat = await fleet.enter(ask, order, failed_at, deadline)
        except TimeoutError:
            return all_failed(_give_up(fleet, patience, last, tried, lost))
        try:
            admitted = [position for position in left if position in spare or admit(position)]
            spare = set()
            too_much = Failure("budget", "the budget does not allow another call", lost)
            refused |= {position: too_much for position in left if position not in admitted}
            left = admitted
            if not left:
                return refused
            deadline = min(deadline, seat.entered + patience.timeout)
            seconds = min(patience.attempt_timeout, deadline - seat.entered)
            answers = await _within(seconds, attempt, left, seat)
            seat.replica.gate.succeeded(seat.entered, ask)
            fleet.worked(seat)
            return refused | {i: replace(answer, lost=lost) for i, answer in answers.items()}
        except Apart as apart:
            seat.replica.gate.reached()
            fleet.worked(seat)
            apart.outcomes = refused | {i: replace(answer, lost=lost) for i, answer in apart.given.items()}
            apart.unspent = set(left) - set(apart.given or left[:1])  # a refusal was an attempt, too
            apart.lost = lost
            raise
        except Trouble as trouble:
            last, lost = trouble, lost + trouble.lost
            spare = set() if trouble.lost else set(left[1:])
            failed_at.append(seat.replica)
            _note(fleet, patience, trouble, seat)
        finally:
            fleet.leave(seat)
        if last.again == "no":
            return all_failed(Failure(last.reason, last.message, lost))
        if last.again == "later":
            wait = random.uniform(0, min(LONGEST_WAIT, patience.backoff * 2**tried))
            wait = 0.0 if fleet.others(failed_at) else wait
            if tried + 1 == patience.max_attempts or clock() + wait >= deadline:
                return all_failed(_give_up(fleet, patience, last, tried + 1, lost))
            await asyncio.sleep(wait)
    return all_failed(_give_up(fleet, patience, last, patience.max_attempts, lost))


async def _within(
    seconds: float, attempt: Attempt[T], positions: Sequence[int], seat: Seat
) -> Mapping[int, T]:
    # The SDK's own timeout is per read, so that a body that drips would never end.
    try:
        async with asyncio.timeout(seconds):
            return await attempt(positions, seat)
    except TimeoutError:
        raise Trouble(
            "timeout", f"no whole reply within {seconds:.3g} s", again="later", lost=True, reached=False,
            congested=True,
        ) from None  # fmt: skip


def _note(fleet: Fleet, patience: Patience, trouble: Trouble, seat: Seat) -> None:
    gate = seat.replica.gate
    if trouble.reached:
        gate.reached()
    if trouble.congested:
        gate.congested(seat.entered)
    elif trouble.again == "later":
        gate.broke(seat.entered)
    if trouble.wait is not None:
        # Bounded: whoever waits for a first attempt has no deadline yet, and must not hang for hours.
        gate.pause(min(trouble.wait, patience.timeout))
    if trouble.again != "later" or (trouble.reached and trouble.congested):
        fleet.worked(seat)
    else:
        fleet.failed(seat, trouble.message, unreachable=trouble.unreachable)
    if trouble.unreachable:
        gate.unreachable += 1
        if fleet.silent:
            raise ModelError(
                patience.where,
                f"nothing answers there ({trouble.message})",
                do="check base_url, and that the server is running",
            ) from None


def _give_up(fleet: Fleet, patience: Patience, last: Trouble, tried: int, lost: int) -> Failure:
    if last.unreachable and fleet.gone:
        failed = sum(replica.gate.unreachable for replica in fleet.replicas)
        raise ModelError(
            patience.where,
            f"stopped answering: {failed} connections in a row failed ({last.message})",
            do="run again once it is back; what was answered is kept",
        )
    asked = f"; it asks to wait {last.wait:.3g} s" if last.wait is not None else ""
    tries = "1 attempt" if tried == 1 else f"{tried} attempts"
    return Failure(last.reason, f"{last.message} ({tries} in at most {patience.timeout:g} s{asked})", lost)
