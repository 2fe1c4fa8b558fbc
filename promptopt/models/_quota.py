"""Requests and tokens a minute that an endpoint allows one model: set by the user, or read from headers.

Each is a leaky bucket: what is taken may make its level negative, and whoever takes then waits until it
would be 0 again. The headers are OpenAI's, which others have taken over:
`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, where `reset` is how long it takes until `remaining`
is `limit` again (`6m0s`, `120ms`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[hms])")


@dataclass(frozen=True, slots=True)
class Cost:
    """What an attempt takes: requests, and tokens as far as they can be told before."""

    requests: int = 1
    tokens: int = 0


@dataclass
class Bucket:
    """An amount that refills.

    Attributes:
        level: what may be taken at once; negative where more has been taken.
        rate: refill a second.
        most: highest level.
        at: when `level` was right, in seconds.
    """

    level: float
    rate: float
    most: float
    at: float

    @classmethod
    def of_minute(cls, limit: float, now: float) -> Bucket:
        """Return a bucket of which no minute can take more than `limit`: a second's worth at once."""
        burst = max(1.0, limit / 60)
        return cls(burst, max(limit - burst, limit / 120) / 60, burst, now)

    def take(self, amount: float, now: float) -> float:
        """Take an amount; return how many seconds to wait before using it."""
        self._refill(now)
        # What is larger than the bucket can only ever be taken from a full one.
        due = self.level - min(amount, self.most)
        self.level -= amount
        return max(0.0, -due / self.rate)

    def wait(self, amount: float, now: float) -> float:
        """Return how many seconds it takes until an amount can be taken and used."""
        self._refill(now)
        return max(0.0, (min(amount, self.most) - self.level) / self.rate)

    def correct(self, level: float, rate: float, most: float, now: float) -> None:
        """Set what is known better."""
        self.level, self.rate, self.most, self.at = level, rate, most, now

    def give_back(self, amount: float) -> None:
        """Give back what was taken and not used (or take more, if negative)."""
        self.level = min(self.most, self.level + amount)

    def _refill(self, now: float) -> None:
        self.level = min(self.most, self.level + self.rate * (now - self.at))
        self.at = now


@dataclass
class Quota:
    """What one model may be asked for at its endpoint; used on the endpoint's loop only.

    Attributes:
        set: buckets set by the user, by `requests` and `tokens`.
        told: buckets read from headers.
    """

    set: dict[str, Bucket] = field(default_factory=dict)
    told: dict[str, Bucket] = field(default_factory=dict)
    _waiting: list[Cost] = field(default_factory=list)

    def limit(self, requests: float | None, tokens: float | None) -> None:
        """Set limits a minute; those set before stay if they are lower."""
        now = asyncio.get_running_loop().time()
        for name, most in (("requests", requests), ("tokens", tokens)):
            if most is not None:
                bucket = Bucket.of_minute(most, now)
                if name not in self.set or bucket.rate < self.set[name].rate:
                    self.set[name] = bucket

    async def take(self, cost: Cost, deadline: float) -> None:
        """Wait until the cost is covered.

        Raises:
            TimeoutError: this cannot be before the deadline; nothing is taken.
        """
        loop = asyncio.get_running_loop()
        wait = max((bucket.take(getattr(cost, name), loop.time()) for name, bucket in self._all()), default=0)
        if wait <= 0:
            return
        self._waiting.append(cost)
        try:
            if loop.time() + wait >= deadline:
                raise TimeoutError
            await asyncio.sleep(wait)
        except BaseException:
            for name, bucket in self._all():
                bucket.give_back(getattr(cost, name))
            raise
        finally:
            self._waiting.remove(cost)

    def wait(self, cost: Cost) -> float:
        """Return how many seconds it takes until the cost is covered."""
        now = asyncio.get_running_loop().time()
        return max((bucket.wait(getattr(cost, name), now) for name, bucket in self._all()), default=0.0)

    def seize(self, cost: Cost) -> None:
        """Take a cost that is covered."""
        for name, bucket in self._all():
            bucket.take(getattr(cost, name), asyncio.get_running_loop().time())

    def settle(self, cost: Cost, tokens: int) -> None:
        """Correct the tokens that were taken by those that were used; headers tell of theirs themselves."""
        if "tokens" in self.set:
            self.set["tokens"].give_back(cost.tokens - tokens)

    def read(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers of a response."""
        now = asyncio.get_running_loop().time()
        for name in ("requests", "tokens"):
            limit, remaining = (
                _number(headers.get(f"x-ratelimit-{k}-{name}")) for k in ("limit", "remaining")
            )
            if not limit or remaining is None:
                continue
            reset = _seconds(headers.get(f"x-ratelimit-reset-{name}"))
            used = limit - remaining
            # A limit of a day or an hour shows in the time it takes to refill.
            rate = min(limit / 60, used / reset) if reset and used > 0 else limit / 60
            level = remaining - sum(getattr(cost, name) for cost in self._waiting)
            if name in self.told:
                self.told[name].correct(level, rate, limit, now)
            else:
                self.told[name] = Bucket(level, rate, limit, now)

    def _all(self) -> list[tuple[str, Bucket]]:
        return [*self.set.items(), *self.told.items()]


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,12}(\.\d+)?", text) else None


def _seconds(text: str | None) -> float | None:
    """Return the seconds of `1h2m3.5s`, `120ms` or `30`; None for what is no such duration (a date, say)."""
    if (plain := _number(text)) is not None:
        return plain if plain < 1e6 else None
    if not text or not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
