"""Which calls this process is to make, where other processes stand before the same ones (`shared`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .journal import Journal, LostAttempt
from .ledger import Ledger
from .records import Usage

FIRST_PAUSE, LAST_PAUSE = 0.02, 0.25
"""Seconds between looks at what another process is making."""


class Claims:
    """What is claimed in a journal; in one that nobody shares, everything that is asked for.

    Args:
        journal: keeps the claims.
        ledger: says what the budget carries.
        beside: claims of another part of this process, whose attempts are under way and not lost.
    """

    def __init__(self, journal: Journal, ledger: Ledger, beside: Claims | None = None) -> None:
        """Charge what processes that are gone may have lost."""
        self.shared = journal.shared
        self._journal, self._ledger = journal, ledger
        self._pause = FIRST_PAUSE
        self._lost: dict[str, list[LostAttempt]] = {}
        if beside is None:
            self._count_losses()
        else:
            self._lost = {key: list(its) for key, its in beside._lost.items()}
            self._tell_losses()

    def take(self, role: str, wanted: Sequence[tuple[str, Usage]]) -> set[str]:
        """Return which of these calls are to be made here.

        Whoever shares the journal stands before the same calls in the same order. Each claims only what the
        budget carries if all calls before it take their worst case, so together they stay within it, too.

        Args:
            role: whose model makes them.
            wanted: keys, and the most that an attempt takes.
        """
        keys = [key for key, _ in wanted]
        if not self.shared or not keys:
            return set(keys)
        self._count_losses()
        room = self._ledger.room_for(role, [bound for _, bound in wanted])
        # With no room left, what others still have to settle may make some.
        return self._journal.claim(keys[: max(1, room)], alone=not room)

    def give_back(self, keys: Sequence[str]) -> None:
        """End claims; what is not made may be claimed again."""
        self._pause = FIRST_PAUSE
        if self.shared:
            self._journal.release(keys)

    def wait(self) -> None:
        """Wait a little for other processes, the longer the longer nothing was to be made here."""
        time.sleep(self._pause)
        self._pause = min(LAST_PAUSE, 1.5 * self._pause)

    def find(self, key: str) -> bool:
        """Take an attempt of this call off the lost ones, if there is one: its answer has turned up."""
        if not (its := self._lost.get(key)):
            return False
        attempt = its.pop()
        self._journal.find_attempt(attempt.number)
        self._ledger.find(attempt.role, attempt.bound)
        return True

    def _count_losses(self) -> None:
        self._lost.clear()
        for lost in self._journal.lose_attempts():
            self._lost.setdefault(lost.key, []).append(lost)
        self._tell_losses()

    def _tell_losses(self) -> None:
        self._ledger.lose((lost.role, lost.bound) for its in self._lost.values() for lost in its)
