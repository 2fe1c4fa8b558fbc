"""What can go wrong with one attempt at a remote model, and whether another may help."""

from __future__ import annotations

from typing import Literal

from ..contracts.model import FailureReason
from ..redact import redact

Again = Literal["no", "later", "now"]


class Trouble(Exception):
    """One attempt that brought no answer.

    Attributes:
        reason: the reason of the `Failure`, should this be the last attempt.
        message: one line for people, redacted.
        again: `no`, `later` (after a wait), or `now` (the request was changed and may pass).
        lost: it may have been billed, and its usage is unknown.
        reached: the endpoint answered, if only with an error.
        unreachable: no connection came about.
        congested: the endpoint is asked for too much at once.
        wait: how many seconds the endpoint asks everyone to wait.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        again: Again = "no",
        lost: bool = False,
        reached: bool = True,
        unreachable: bool = False,
        congested: bool = False,
        wait: float | None = None,
    ) -> None:
        """Store what is known of the attempt."""
        super().__init__(message)
        self.reason, self.message, self.again, self.lost = reason, redact(message), again, lost
        self.reached, self.unreachable, self.congested, self.wait = reached, unreachable, congested, wait


def malformed(message: str) -> Trouble:
    """Return the trouble of a reply that makes no sense; it was billed all the same."""
    return Trouble("malformed", message, again="later", lost=True)
