"""How many requests an endpoint takes at once, learned from its answers: rounds that double, then AIMD.

Additive increase, multiplicative decrease (Chiu and Jain 1989) with TCP's slow start (Jacobson 1988): the
limit doubles while that pays, and then grows by one a round; a refusal for congestion cuts it, at most
once a round trip. A queue gives no such sign, it only answers later, so the growth of latency is weighed
against the growth of the limit: by Little's law `requests under way = answers a second x latency`, and a
limit that has grown by `g` while latency has grown by `r` brings `g / r` times the answers. Where that is
too little, the limit goes back. Back to where a refusal came it goes fast, and then waits before it tries
to pass, as BIC does (Xu, Harfoush and Rhee 2004), so that few requests are refused. Knows nothing of HTTP
and of clocks: it is told the time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from statistics import fmean


class Pace:
    """The limit of one endpoint.

    Attributes:
        limit: requests that may be under way at once.
    """

    START = 16
    """Where the doubling begins."""
    CUT = 0.85
    """What a refusal leaves of the requests under way."""
    TELLING = 1.5
    """Growth of the limit, after which its worth is weighed."""
    WORTH = 0.25
    """Least share of the limit's growth that must be seen in answers a second."""
    INFLATED = 2.0
    """Growth of latency at the same limit that is taken for a refusal."""
    TRIED = 128
    """Answers since the last refusal, before the limit tries to pass the number at which that came."""
    BROKEN = 0.2
    """Share of failed requests in a round that is taken for a refusal."""

    def __init__(self) -> None:
        """Begin at the start, with nothing known."""
        self.limit = float(self.START)
        self._doubling = True
        self._refused_at = math.inf
        self._since = 0
        self._cut_at = -math.inf
        self._known: dict[Hashable, float] = {}
        self._known_at = 0.0
        self._begin(-math.inf)

    def answered(self, entered: float, now: float, active: int, kind: Hashable) -> None:
        """Take note of an answer.

        Args:
            entered: when its request was sent, in seconds.
            now: the time.
            active: requests under way, this one included.
            kind: what is known to decide how long an answer takes; latencies are compared within it.
        """
        used = active >= 0.8 * self.limit
        self._since += 1
        gap = self._refused_at - self.limit
        more = self.limit + max(1.0, gap / 4 if gap < math.inf else 0.0) / self.limit
        if used and not self._doubling and (more < self._refused_at or self._since >= self.TRIED):
            self.limit = more
        if entered < self._begun:
            return
        if self._jumped:  # the first to be sent since: from now on, requests meet what the jump made of it
            self._begin(now)
            return
        self._used += used
        self._seen.setdefault(kind, []).append(now - entered)
        self._count += 1
        if self._count >= max(self.START, self._round / 2):
            self._judge(now)

    def broke(self, entered: float, now: float, active: int) -> None:
        """Take note of a failure that may have nothing to do with the pace."""
        if entered >= self._begun:
            self._broken += 1
            if self._broken > self.BROKEN * max(self.START, self._round):
                self.congested(entered, now, active)

    def congested(self, entered: float, now: float, active: int) -> None:
        """Cut the limit, unless it was already cut after the request that `entered` then was sent."""
        if entered < self._cut_at:
            return
        reached = min(self.limit, active)
        left = min(reached, self._known_at or reached / 2) if self._doubling else self.CUT * reached
        self.limit = max(1.0, left)
        self._refused_at, self._since = float(active), 0
        self._doubling = False
        self._cut_at = now
        self._begin(now, jumped=True)

    def _begin(self, now: float, *, jumped: bool = False) -> None:
        """Begin a round of answers to requests sent from now on; after a jump, from a little later on."""
        self._begun, self._round, self._jumped = now, self.limit, jumped
        self._seen: dict[Hashable, list[float]] = {}
        self._count = self._used = self._broken = 0

    def _judge(self, now: float) -> None:
        """End a round: is what the limit has grown by worth it?"""
        seen = {kind: fmean(latencies) for kind, latencies in self._seen.items()}
        both = [(sum(its), len(its) * self._known[k]) for k, its in self._seen.items() if k in self._known]
        slower = sum(new for new, _ in both) / sum(old for _, old in both) if both else 0.0
        grown = self._round / self._known_at if self._known_at else math.inf
        if self._used < self._count / 2:  # too little was asked for to tell
            self._begin(now)
            return
        if not slower or (grown <= 1 and slower < 1):
            self._keep(seen, slower)
        elif grown >= self.TELLING:
            if grown / slower >= 1 + self.WORTH * (grown - 1):
                self._keep(seen, slower)
            else:
                self.limit, self._doubling = self._known_at, False
        elif slower > self.INFLATED:
            self._keep(seen, slower)
            self.limit, self._doubling = max(1.0, self.limit * self.CUT), False
        if self._doubling:
            self.limit *= 2
        self._begin(now, jumped=not 0.8 < self.limit / self._round < 1.25)

    def _keep(self, seen: dict[Hashable, float], slower: float) -> None:
        """Remember this round as the one to compare with; kinds it did not hold have changed alike."""
        self._known = {kind: latency * (slower or 1.0) for kind, latency in self._known.items()} | seen
        self._known_at = self._round
