"""When a replica is left alone: a circuit breaker (Nygard 2007, "Release It!", chapter 5).

Closed, calls go through. Failures in a row open it, and for a while none does. Then it is half open: one call
tries whether the replica is back. An answer closes it; a failure opens it for twice as long.
It is told the time.
"""

from __future__ import annotations

import math


class Circuit:
    """The circuit of one replica.

    Attributes:
        open: whether calls go elsewhere.
    """

    FAILURES = 5
    """Failures in a row that open it; a connection that nobody accepts does at once."""
    FIRST, LONGEST = 0.5, 2.0
    """Seconds that it stays open at first, and at most."""

    def __init__(self) -> None:
        """Begin closed."""
        self.open = False
        self._failures = 0
        self._cooldown = self.FIRST
        self._until = -math.inf
        self._probing = False

    def wait(self, now: float) -> float:
        """Return how many seconds no call may go through; infinite while one is trying."""
        if not self.open:
            return 0.0
        return math.inf if self._probing else max(0.0, self._until - now)

    def entered(self) -> bool:
        """Take note of a call; return whether it is the one that tries."""
        self._probing = self.open
        return self.open

    def abandoned(self) -> None:
        """Take note that the call that tried has ended without a result."""
        self._probing = False

    def worked(self) -> bool:
        """Take note of an answer; return whether the replica is back with it."""
        back, self.open = self.open, False
        self._failures, self._cooldown, self._probing = 0, self.FIRST, False
        return back

    def failed(self, now: float, *, trying: bool, unreachable: bool) -> bool:
        """Take note of a failure; return whether it has put the replica out of service.

        Args:
            now: the time, in seconds.
            trying: whether it was the call that tried; of others, an open circuit has known before.
            unreachable: nobody accepted the connection.
        """
        if self.open and not trying:
            return False
        self._failures += 1
        if not (trying or unreachable or self._failures >= self.FAILURES):
            return False
        self._cooldown = min(self.LONGEST, 2 * self._cooldown) if trying else self.FIRST
        self._until = now + self._cooldown
        fell, self.open, self._probing = not self.open, True, False
        return fell
