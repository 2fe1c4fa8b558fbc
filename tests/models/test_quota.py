"""Requests and tokens a minute: kept when set, learned when told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackServer, Messages, Reply

from promptopt.contracts.model import Completion, Decoding, GenerateRequest
from promptopt.models._quota import Bucket, Cost, Quota, _number, _seconds
from promptopt.models.remote import RemoteModel
from promptopt.records import Message


def ask(text: str = "Hi", max_tokens: int = 8) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), Decoding(max_tokens))


@given(st.floats(1, 10_000), st.lists(st.floats(0, 10), max_size=300))
def test_no_minute_takes_more_than_the_limit(limit: float, gaps: list[float]) -> None:
    bucket, now, used = Bucket.of_minute(limit, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        used.append(now + bucket.take(1, now))
    for begin in used:
        assert sum(begin <= at < begin + 60 for at in used) <= max(limit, 2) + 1e-6


def test_a_bucket_lets_its_limit_through() -> None:
    bucket = Bucket.of_minute(600, 0.0)
    last = max(bucket.take(1, 0.0) for _ in range(600))
    assert 55 <= last <= 60


def test_what_is_larger_than_the_bucket_waits_for_a_full_one_and_not_for_ever() -> None:
    bucket = Bucket.of_minute(60, 0.0)
    assert bucket.take(500, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(500 / bucket.rate)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("59.7s", 59.7), ("30", 30.0), ("0s", 0.0)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert _seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [None, "", "soon", "2026-11-25T20:00:00Z", "1764000000", "-3s", "1x", "s"])
def test_what_is_no_duration_is_none(text: str | None) -> None:
    assert _seconds(text) is None


@given(st.text(max_size=20))
def test_no_header_breaks_the_reading(text: str) -> None:
    assert _number(text) is None or float(text) >= 0
    assert _seconds(text) is None or _seconds(text) >= 0  # type: ignore[operator]


def headers(limit: int, remaining: int, reset: str, name: str = "requests") -> dict[str, str]:
    values = (("limit", limit), ("remaining", remaining), ("reset", reset))
    return {f"x-ratelimit-{key}-{name}": str(value) for key, value in values}


def test_headers_set_level_and_rate_and_a_days_limit_shows_in_its_reset() -> None:
    async def main() -> None:
        quota = Quota()
        quota.read(headers(600, 599, "100ms"))
        assert (quota.told["requests"].level, quota.told["requests"].rate) == (599, pytest.approx(10))
        quota.read(headers(14_400, 14_300, "10m0s"))
        assert quota.told["requests"].rate == pytest.approx(100 / 600)
        quota.read({"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "many"})
        assert "tokens" not in quota.told

    asyncio.run(main())


def test_a_spent_quota_is_waited_for_and_a_deadline_ends_the_wait_without_taking() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        quota = Quota()
        quota.read(headers(6000, 0, "60s"))
        begun = clock()
        await asyncio.gather(*(quota.take(Cost(1, 0), begun + 9) for _ in range(20)))
        assert 0.18 <= clock() - begun < 1
        level = quota.told["requests"].level
        with pytest.raises(TimeoutError):
            await quota.take(Cost(1000, 0), clock() + 1)
        assert quota.told["requests"].level >= level

    asyncio.run(main())


def test_the_requests_of_a_minute_are_spread_as_the_user_says() -> None:
    with (
        LoopbackServer(lambda m, b: "x") as server,
        RemoteModel("m", base_url=server.url, requests_per_minute=1200) as model,
    ):
        begun = time.monotonic()
        assert len(list(model.generate([ask()] * 30))) == 30
    assert 0.4 <= time.monotonic() - begun < 5  # 20 at once, 10 more at 20 a second


def test_tokens_are_reckoned_before_and_corrected_after() -> None:
    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply("x", usage={"prompt_tokens": 10, "completion_tokens": 1})

    with (
        LoopbackServer(reply) as server,
        RemoteModel("m", base_url=server.url, tokens_per_minute=6000, concurrency=1) as model,
    ):
        begun = time.monotonic()
        list(model.generate([ask("four" * 10, max_tokens=90)] * 10))  # 100 reckoned, 11 used
    assert time.monotonic() - begun < 5  # as reckoned it would take 9 seconds


def test_a_server_that_tells_its_limits_is_not_driven_into_refusals() -> None:
    """A bucket of 20 that refills 100 a second: told of it, the client waits instead of being refused."""
    level, at, refused = 20.0, time.monotonic(), 0

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        nonlocal level, at, refused
        now = time.monotonic()
        level, at = min(20.0, level + 100 * (now - at)), now
        if level < 1:
            refused += 1
            return Reply("slow down", 429)
        level -= 1
        return Reply("x", headers=headers(20, int(level), f"{1000 * (20 - level) / 100:.0f}ms"))

    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url, backoff=0.05) as model:
        outcomes = [outcome for _, outcome in model.generate([ask()] * 40)]
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert refused < 20  # 16 may be under way before the first answer tells of the limit
