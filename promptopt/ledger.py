"""What a run may spend and has spent, by role: reserve the worst case before sending, settle after."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from .records import Budget, Price, Usage

UNLIMITED = 2**62


class Spent(NamedTuple):
    """What was spent: model calls (each attempt is one), tokens, US dollars, seconds of waiting.

    A tuple, not a dataclass: a dozen of them are made for every call.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def capped(self) -> tuple[int, int, float]:
        """What a purse counts: calls, tokens, US dollars."""
        return self.calls, self.tokens, self.usd

    def __add__(self, other: Spent) -> Spent:  # type: ignore[override]  # tuples would be joined
        """Add two amounts."""
        return Spent(
            self[0] + other[0],
            self[1] + other[1],
            self[2] + other[2],
            self[3] + other[3],
            self[4] + other[4],
        )

    def __sub__(self, other: Spent) -> Spent:
        """Subtract two amounts."""
        return Spent(
            self[0] - other[0],
            self[1] - other[1],
            self[2] - other[2],
            self[3] - other[3],
            self[4] - other[4],
        )


class Purse(Protocol):
    """What several processes may spend together (`store.purse`); amounts are calls, tokens, US dollars."""

    def draw(
        self, need: tuple[int, int, float], aside: tuple[int, int, float] = ..., *, anew: bool = ...
    ) -> bool:
        """Take what one attempt needs at most, and leave `aside`; False if that would pass the cap."""
        ...

    def settle(self, need: tuple[int, int, float], actual: tuple[int, int, float]) -> None:
        """Say what an attempt has really cost for which `need` was drawn."""
        ...

    def rest(self) -> None:
        """Hand back what is drawn and not needed now."""
        ...

    def may_fill(self) -> bool:
        """Whether another process may hand something back."""
        ...


class Ticket(NamedTuple):
    """A reservation for one attempt: its worst case, and what that amounts to."""

    role: str
    bound: Usage
    amount: Spent


class Ledger:
    """One hard budget over all roles; safe to use from several threads.

    The invariant: spent + reserved + held back never exceeds a cap when a reservation is granted.
    `hold` sets aside what the final comparison will need, so that a search cannot spend it.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        prices: Mapping[str, Price] | None = None,
        *,
        elapsed: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        purse: Purse | None = None,
    ) -> None:
        """Start an empty ledger.

        Args:
            budget: caps.
            prices: by role.
            elapsed: seconds that earlier processes of the run took.
            clock: seconds; it may stand still while others have their turn.
            purse: what other processes spend from, too: attempts are drawn from it besides.
        """
        self.budget = budget or Budget()
        self._prices = dict(prices or {})
        self._clock = clock
        self._start = clock() - elapsed
        self._lock = threading.Lock()
        self._spent: dict[str, Spent] = {}
        self._lost: dict[str, Spent] = {}
        self._total = Spent()
        self._losses = Spent()
        self._reserved = Spent()
        self._held = Spent()
        self._aside = Spent()  # losses and what is held back
        self._limit: int | None = None  # of all calls booked, while `limited`
        self._purse = purse

    @property
    def elapsed(self) -> float:
        """Seconds the run has taken, earlier processes included."""
        return self._clock() - self._start

    @property
    def by_role(self) -> dict[str, Spent]:
        """What each role has spent, with what a killed process may have lost."""
        with self._lock:
            roles = {**self._spent, **self._lost}
            return {role: self._spent.get(role, Spent()) + self._lost.get(role, Spent()) for role in roles}

    @property
    def booked_by_role(self) -> dict[str, Spent]:
        """What each role has spent, without what a killed process may have lost."""
        with self._lock:
            return dict(self._spent)

    @property
    def booked(self) -> Spent:
        """What all roles have spent together, without what a killed process may have lost."""
        with self._lock:
            return self._total

    @property
    def total(self) -> Spent:
        """What all roles have spent together."""
        return sum(self.by_role.values(), Spent())

    @property
    def open_reservations(self) -> int:
        """Attempts under way."""
        with self._lock:
            return self._reserved.calls

    @property
    def remaining(self) -> Budget:
        """Caps less what is spent, reserved and held back; None where there is no cap.

        Losses are left out here and in `headroom`: a resumed run must be told what the first one was told.
        """
        with self._lock:
            used = self._total + self._reserved + self._held
        cap = self.budget
        calls = None if cap.calls is None else max(0, cap.calls - used.calls)
        if (left := self.limit_left) is not None:
            calls = left if calls is None else min(calls, left)
        return Budget(
            calls=calls,
            tokens=None if cap.tokens is None else max(0, cap.tokens - used.tokens),
            usd=None if cap.usd is None else max(0.0, cap.usd - used.usd),
            minutes=None
            if cap.minutes is None
            else max(0.0, cap.minutes - (self.elapsed + self._held.seconds) / 60),
        )

    def headroom(self) -> Spent:
        """Return what is left of each cap, nothing held back; infinite where there is no cap.

        Tokens are all counted as prompt tokens.
        """
        cap = self.budget
        with self._lock:
            used = self._total
        return Spent(
            calls=cap.calls - used.calls if cap.calls is not None else UNLIMITED,
            prompt_tokens=cap.tokens - used.tokens if cap.tokens is not None else UNLIMITED,
            usd=cap.usd - used.usd if cap.usd is not None else math.inf,
            seconds=cap.minutes * 60 - self.elapsed if cap.minutes is not None else math.inf,
        )

    def price(self, role: str) -> Price:
        """Return the price of a role's tokens."""
        return self._prices.get(role, Price())

    @contextmanager
    def limited(self, calls: int) -> Iterator[None]:
        """Grant at most `calls` more calls inside, as well as what the budget grants.

        Losses are left out here, as in `remaining`.
        """
        with self._lock:
            outer = self._limit
            end = self._total.calls + calls
            self._limit = end if outer is None else min(end, outer)
        try:
            yield
        finally:
            with self._lock:
                self._limit = outer

    @property
    def limit_left(self) -> int | None:
        """Calls that `limited` still grants; None outside of it."""
        with self._lock:
            if self._limit is None:
                return None
            return max(0, self._limit - self._total.calls - self._reserved.calls)

    def hold(self, amount: Spent) -> None:
        """Set aside `amount` (it replaces what was held before)."""
        with self._lock:
            self._held = amount
            self._aside = self._losses + amount

    def reserve(self, role: str, bound: Usage) -> Ticket | None:
        """Reserve one attempt that uses at most `bound`; None when a cap could be passed."""
        need = self._amount(role, 1, bound)
        with self._lock:
            reserved = self._reserved + need
            used = self._total + reserved
            if self.blocked_by(used + self._aside) or self._over_limit(used):
                return None
            self._reserved = reserved
            held = self._held
        if self._purse is not None and not self._purse.draw(need.capped, held.capped):
            with self._lock:
                self._reserved -= need
            self._purse.rest()
            return None
        return Ticket(role, bound, need)

    def rest(self) -> None:
        """Let other processes have what was drawn ahead and is not needed now."""
        if self._purse is not None:
            self._purse.rest()

    def wait(self) -> None:
        """Wait a little for what is under way to be settled, here or elsewhere."""
        time.sleep(0.01 if self._purse is None else 0.05)

    def spend(self, role: str, calls: int, usage: Usage) -> bool:
        """Book calls whose usage is known beforehand, all or none; False when a cap could be passed."""
        need = self._amount(role, calls, usage)
        with self._lock:
            used = self._total + self._reserved
            if self.blocked_by(used + self._aside + need) or self._over_limit(used + need):
                return False
            self._add(role, need)
        return True

    def room_for(self, role: str, bounds: Sequence[Usage]) -> int:
        """Return how many of the first of these attempts could be reserved together."""
        with self._lock:
            used = self._total + self._reserved
            aside = self._aside
        for count, bound in enumerate(bounds):
            used += self._amount(role, 1, bound)
            if self.blocked_by(used + aside) or self._over_limit(used):
                return count
        return len(bounds)

    def carries(self, planned: Spent) -> bool:
        """Whether what is planned is within caps and limit.

        This is asked of answers that are there already. Losses are left out, as in `remaining`, and so is the
        clock: a resumed run must use what the first one used.
        """
        with self._lock:
            used = self._total + self._reserved + planned
            return not (self._passed(used + self._held) or self._over_limit(used))

    def plan(self, role: str, calls: int, bound: Usage, ahead: Spent) -> Spent:
        """Return what so many calls, of `bound` in all, come to together with what is planned `ahead`."""
        return ahead + self._amount(role, calls, bound)

    def settle(self, ticket: Ticket, usage: Usage | None, seconds: float = 0.0) -> None:
        """Turn a reservation into spending: `usage`, or the whole bound when it was never seen."""
        actual = self._amount(ticket.role, 1, ticket.bound if usage is None else usage, seconds)
        with self._lock:
            self._reserved -= ticket.amount
            self._add(ticket.role, actual)
        if self._purse is not None:
            self._purse.settle(ticket.amount.capped, actual.capped)

    def charge(self, role: str, calls: int, usage: Usage, seconds: float = 0.0) -> None:
        """Book spending of an earlier process of this run; it is never refused."""
        with self._lock:
            self._add(role, self._amount(role, calls, usage, seconds))

    def lose(self, attempts: Iterable[tuple[str, Usage]]) -> None:
        """Say which attempts may have been billed without an answer, all of them: they narrow the caps."""
        lost: dict[str, Spent] = {}
        for role, bound in attempts:
            lost[role] = lost.get(role, Spent()) + self._amount(role, 1, bound)
        with self._lock:
            self._lost = lost
            self._losses = sum(lost.values(), Spent())
            self._aside = self._losses + self._held

    def find(self, role: str, bound: Usage) -> None:
        """Say that an attempt was not lost: its answer has turned up, and is charged."""
        amount = self._amount(role, 1, bound)
        with self._lock:
            self._lost[role] -= amount
            self._losses -= amount
            self._aside -= amount

    def blocked_by(self, used: Spent) -> str:
        """Return which cap `used` (or the clock) would pass, in words; empty when none."""
        cap = self.budget
        if (passed := self._passed(used)) or cap.minutes is None:
            return passed
        return f"{cap.minutes} minutes" if self.elapsed + self._held.seconds > cap.minutes * 60 else ""

    def _passed(self, used: Spent) -> str:
        cap = self.budget
        if cap.calls is not None and used.calls > cap.calls:
            return f"{cap.calls} calls"
        if cap.tokens is not None and used.tokens > cap.tokens:
            return f"{cap.tokens} tokens"
        if cap.usd is not None and used.usd > cap.usd:
            return f"{cap.usd} US dollars"
        return ""

    def why_blocked(self, role: str, bound: Usage, calls: int = 1) -> str:
        """Return the cap that refuses attempts bounded by `bound` together, in words."""
        need = self._amount(role, calls, bound)
        with self._lock:
            used = self._total + need
            held = self._held
            cap = self.blocked_by(used + self._aside)
            cap = cap or ("the calls of a slice of the search" if self._over_limit(used) else "")
        if cap or self._purse is None or self._purse.may_fill():
            return cap
        if not self._purse.draw(need.capped, held.capped, anew=True):
            return "what all processes of the run may spend together"
        self._purse.settle(need.capped, Spent().capped)
        return ""

    def _over_limit(self, used: Spent) -> bool:
        return self._limit is not None and used.calls > self._limit

    def _amount(self, role: str, calls: int, usage: Usage, seconds: float = 0.0) -> Spent:
        price = self._prices.get(role)
        usd = 0.0 if price is None else price.usd(usage)
        return Spent(calls, usage.prompt_tokens, usage.completion_tokens, usd, seconds)

    def _add(self, role: str, amount: Spent) -> None:
        before = self._spent.get(role)
        self._spent[role] = amount if before is None else before + amount
        self._total += amount
