"""Clients that ask the same: ours, ours with a journal, the bare openai SDK, litellm if it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Decoding, GenerateRequest
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.models.remote import RemoteModel
from promptopt.records import Message

SYSTEM = "Answer the question with yes or no, and with nothing else. " * 4


@dataclass(frozen=True)
class Timed:
    """What a client took.

    Attributes:
        answers: requests that were answered.
        seconds: wall time.
        cpu: CPU seconds of this process.
    """

    answers: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds an answer."""
        return 1000 * self.cpu / max(1, self.answers)


Client = Callable[[str, int, int], Timed]
"""From base URL, number of requests and concurrency to what it took."""


def ours(url: str, count: int, concurrency: int, *, adaptive: bool = False) -> Timed:
    """Ask with RemoteModel, without journal or budget."""
    with RemoteModel("m", base_url=url, concurrency=concurrency, adaptive=adaptive) as model:
        list(model.generate(_requests(concurrency, "warm")))
        requests = _requests(count)
        return _timed(lambda: sum(isinstance(o, Completion) for _, o in model.generate(requests)))


def adaptive(url: str, count: int, concurrency: int) -> Timed:
    """Ask with RemoteModel as it comes, which finds out how many at once."""
    return ours(url, count, concurrency, adaptive=True)


def journaled(url: str, count: int, concurrency: int) -> Timed:
    """Ask as a run does: budget, keys and journal included."""
    with RemoteModel("m", base_url=url, concurrency=concurrency, adaptive=False) as model:
        caller = Caller({"target": model}, Journal(), Ledger())
        caller.ask("target", _requests(concurrency, "warm"))
        requests = _requests(count)
        return _timed(lambda: sum(isinstance(o, Completion) for o in caller.ask("target", requests)))


def sdk(url: str, count: int, concurrency: int) -> Timed:
    """Ask with the openai SDK as people do: gather, and a semaphore; its own two retries."""
    import openai

    return _gathered(lambda: openai.AsyncOpenAI(api_key="none", base_url=url), count, concurrency)


def sdk_aiohttp(url: str, count: int, concurrency: int) -> Timed:
    """Ask with the openai SDK on its aiohttp transport, told to open as many connections as it needs."""
    import httpx2
    import openai

    def make() -> openai.AsyncOpenAI:
        limits = httpx2.Limits(max_connections=0)
        client = openai.DefaultAioHttpClient(limits=limits)
        return openai.AsyncOpenAI(api_key="none", base_url=url, http_client=client)

    return _gathered(make, count, concurrency)


def litellm(url: str, count: int, concurrency: int) -> Timed:
    """Ask with litellm.acompletion: gather, and a semaphore."""
    import openai

    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the internet for prices
    import litellm as library

    logging.getLogger("LiteLLM").setLevel(logging.ERROR)

    async def one(i: int) -> bool:
        try:
            await library.acompletion(
                model="openai/m", api_base=url, api_key="none", messages=_messages(i), max_tokens=8,
                temperature=0, seed=0, timeout=60,
            )  # fmt: skip
        except openai.OpenAIError:  # litellm's own errors are kinds of it
            return False
        return True

    return _run(one, count, concurrency)


def sockets(url: str, count: int, concurrency: int) -> Timed:
    """Ask with asyncio's streams and nothing else: what this machine lets any client do now."""
    parts = urlsplit(url)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(i: int) -> bool:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(parts.hostname, parts.port)
        body = json.dumps(
            {"model": "m", "messages": _messages(i), "max_tokens": 8, "temperature": 0, "seed": 0}
        )
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(f"{head}{body}".encode())
        answered = await reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        reply = json.loads(await reader.readexactly(length))
        idle.append((reader, writer))
        return bool(reply.get("choices"))

    async def close() -> None:
        for _, writer in idle:
            writer.close()

    return _run(one, count, concurrency, close)


CLIENTS: dict[str, Client] = {
    "bare sockets": sockets,
    "ours": ours,
    "ours, with journal": journaled,
    "openai SDK": sdk,
    "openai SDK, aiohttp": sdk_aiohttp,
    "litellm": litellm,
}


def missing(name: str) -> str:
    """Return which package a client lacks, or nothing."""
    needs = {"litellm": "litellm", "openai SDK, aiohttp": "aiohttp"}.get(name, "")
    return needs if needs and importlib.util.find_spec(needs) is None else ""


def _gathered(make: Callable[[], Any], count: int, concurrency: int) -> Timed:
    import openai

    client: list[Any] = []

    async def one(i: int) -> bool:
        if not client:
            client.append(make())
        try:
            await client[0].chat.completions.create(
                model="m", messages=_messages(i), max_tokens=8, temperature=0, seed=0
            )
        except openai.OpenAIError:
            return False
        return True

    async def close() -> None:
        await client[0].close()

    return _run(one, count, concurrency, close)


async def _nothing() -> None:
    pass


def _run(
    one: Callable[[int], Any], count: int, concurrency: int, close: Callable[[], Any] = _nothing
) -> Timed:
    async def main() -> Timed:
        room = asyncio.Semaphore(concurrency)

        async def bounded(i: int) -> bool:
            async with room:
                return bool(await one(i))

        await asyncio.gather(*(bounded(-i) for i in range(1, concurrency + 1)))  # connects
        wall, cpu = time.perf_counter(), time.process_time()
        done = await asyncio.gather(*(bounded(i) for i in range(count)))
        timed = Timed(sum(done), time.perf_counter() - wall, time.process_time() - cpu)
        await close()
        return timed

    return asyncio.run(main())


def _timed(work: Callable[[], int]) -> Timed:
    wall, cpu = time.perf_counter(), time.process_time()
    answers = work()
    return Timed(answers, time.perf_counter() - wall, time.process_time() - cpu)


def _messages(i: int) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Is {i} odd?"}]


def _requests(count: int, word: str = "Is") -> list[GenerateRequest]:
    return [
        GenerateRequest((Message("system", SYSTEM), Message("user", f"{word} {i} odd?")), Decoding(8))
        for i in range(count)
    ]
