"""A cap that several processes keep together: what it grants is drawn from one row of their database.

Each draws a little ahead, spends from that, and hands back what it did not need. What a killed process has
drawn and not handed back counts as spent, as it may be. So the sum never passes the cap, whoever tries again
how often.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..records import Budget

AHEAD = 16
"""Attempts that are drawn for at once, where much is left."""
PART = 16
"""Of what is left, so small a part at most: at the end everybody draws for one."""
DUST = 1e-9
"""US dollars that are rounding."""
DRY_SECONDS = 0.05
"""Seconds for which a refusal holds for whoever needs as much."""

Amount = tuple[int, int, float]
"""Calls, tokens, US dollars."""
NOTHING: Amount = (0, 0, 0.0)

TABLES = """
CREATE TABLE IF NOT EXISTS purse (
    one INTEGER PRIMARY KEY, calls BIGINT NOT NULL, tokens BIGINT NOT NULL, usd DOUBLE PRECISION NOT NULL
);
CREATE TABLE IF NOT EXISTS holdings (
    worker TEXT PRIMARY KEY, calls BIGINT NOT NULL, tokens BIGINT NOT NULL, usd DOUBLE PRECISION NOT NULL
);
"""
"""What all have drawn, in one row, and what of that each has not spent yet."""
OPEN = "INSERT INTO purse VALUES (1, ?, ?, ?) ON CONFLICT (one) DO NOTHING RETURNING 1"
DRAW = """
WITH drawn AS (
    UPDATE purse SET calls = calls + ?, tokens = tokens + ?, usd = usd + ?
    WHERE calls + ? <= ? AND tokens + ? <= ? AND usd + ? <= ? RETURNING calls, tokens, usd
), held AS (
    INSERT INTO holdings AS mine SELECT ?, ?, ?, ? FROM drawn ON CONFLICT (worker)
    DO UPDATE SET calls = mine.calls + excluded.calls, tokens = mine.tokens + excluded.tokens,
        usd = mine.usd + excluded.usd
) SELECT calls, tokens, usd FROM drawn
"""
HAND_BACK = """
WITH held AS (
    UPDATE holdings SET calls = calls - ?, tokens = tokens - ?, usd = usd - ? WHERE worker = ?
) UPDATE purse SET calls = calls - ?, tokens = tokens - ?, usd = usd - ? RETURNING 1
"""
OTHERS = f"""
SELECT 1 FROM holdings JOIN workers ON workers.id = holdings.worker
WHERE worker <> ? AND until > now() AND (calls > 0 OR tokens > 0 OR usd > {DUST}) LIMIT 1
"""


class Purse:
    """One process's hand in the purse of a study; safe to use from several threads.

    Args:
        query: runs one statement of SQL with its values, and returns its rows.
        worker: who this process is in the database.
        cap: what all processes may spend together; a later one may raise it. Minutes are each one's own.
        spent: what was spent before there was a purse.
    """

    def __init__(
        self,
        query: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]],
        worker: str,
        cap: Budget,
        spent: Amount = NOTHING,
    ) -> None:
        """Open the purse, the first one who comes."""
        self._query, self._worker = query, worker
        self._cap: Amount = (
            2**62 if cap.calls is None else cap.calls,
            2**62 if cap.tokens is None else cap.tokens,
            math.inf if cap.usd is None else cap.usd,
        )
        self._lock = threading.Lock()
        self._ready, self._spent, self._left = NOTHING, NOTHING, NOTHING
        self._dry_until, self._dry_for = -math.inf, NOTHING
        query(OPEN, spent)

    def draw(self, need: Amount, aside: Amount = NOTHING, *, anew: bool = False) -> bool:
        """Take what one attempt needs at most; False if all that there is would pass the cap.

        Args:
            need: what it may cost.
            aside: what of the cap is not to be touched.
            anew: look, even if as much has just been refused.
        """
        with self._lock:
            missing = _positive(_minus(need, self._ready))
            if missing != NOTHING:
                if not anew and time.monotonic() < self._dry_until and missing >= self._dry_for:
                    return False
                if not self._fill(need, missing, aside):
                    self._dry_until, self._dry_for = time.monotonic() + DRY_SECONDS, missing
                    return False
            self._ready = _minus(self._ready, need)
        return True

    def settle(self, need: Amount, actual: Amount) -> None:
        """Say what an attempt has really cost for which `need` was drawn."""
        with self._lock:
            self._ready = _plus(self._ready, _minus(need, actual))
            self._spent = _plus(self._spent, actual)

    def rest(self) -> None:
        """Hand back what is drawn and not needed now."""
        with self._lock:
            if self._ready == NOTHING and self._spent == NOTHING:
                return
            back, gone = self._ready, _plus(self._ready, self._spent)
            self._query(HAND_BACK, (*gone, self._worker, *back))
            self._ready = self._spent = NOTHING

    def may_fill(self) -> bool:
        """Whether another process, alive, may hand something back."""
        return bool(self._query(OTHERS, (self._worker,)))

    def _fill(self, need: Amount, missing: Amount, aside: Amount) -> bool:
        """Draw for some attempts if much is left, else what is missing for one."""
        rooms = [left // (PART * each) for left, each in zip(self._left, need, strict=True) if each > 0]
        times = int(min([AHEAD, *rooms]))
        ahead = _positive(_minus((times * need[0], times * need[1], times * need[2]), self._ready))
        return (times > 1 and self._fetch(ahead, aside)) or self._fetch(missing, aside)

    def _fetch(self, amount: Amount, aside: Amount) -> bool:
        cap = _minus(self._cap, aside)
        limits = [value for pair in zip(amount, cap, strict=True) for value in pair]
        mine = _minus(amount, self._spent)
        found = self._query(DRAW, (*amount, *limits, self._worker, *mine))
        if not found:
            self._left = NOTHING
            return False
        self._ready, self._spent = _plus(self._ready, amount), NOTHING
        self._left = _minus(cap, found[0])
        return True


def _plus(one: Amount, other: Amount) -> Amount:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _minus(one: Amount, other: Amount) -> Amount:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def _positive(amount: Amount) -> Amount:
    return max(0, amount[0]), max(0, amount[1]), max(0.0, amount[2])
