"""A bounded OpenAI-compatible server in a process of its own: `python -m benchmarks.api.server PROFILE`.

It answers after a latency, serves so many at once, lets others wait or refuses them, and breaks now and
then; GET /stats tells what it did since the last time it was asked. Written on bare asyncio, so that it takes
little of the machine that the clients are measured on.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

WORDS = ("think", "about", "numbers", "carefully", "say", "one", "short", "word", "yes", "or", "no")
LONG = 100
"""Tokens that are asked for where an instruction is wanted."""
PIECES = re.compile(r" ?[A-Za-z]{1,7}|\d{1,3}| ?[^\w\s]|\s+")


@dataclass(frozen=True)
class Profile:
    """What the server is like.

    Attributes:
        latency: seconds of service, median.
        spread: standard deviation of its logarithm.
        slots: requests served at once.
        queue: requests that may wait for a slot; what comes beyond is answered by 429 at once.
        broken: share of requests that are answered by 500.
        dropped: share of requests whose connection is closed without an answer.
        per_token: seconds of service for each token read and written, besides.
    """

    latency: float
    spread: float = 0.0
    slots: int = 1_000_000
    queue: int = 0
    broken: float = 0.0
    dropped: float = 0.0
    per_token: float = 0.0


class Bounded:
    """The server's state: who is served, who waits, what was counted."""

    def __init__(self, profile: Profile) -> None:
        self.profile, self.rng = profile, random.Random(0)
        self.serving = 0
        self.waiting: deque[Connection] = deque()
        self.counts = dict.fromkeys(("answered", "refused", "broken", "dropped"), 0)

    def come(self, connection: Connection) -> None:
        if self.serving < self.profile.slots:
            self.begin(connection)
        elif len(self.waiting) < self.profile.queue:
            self.waiting.append(connection)
        else:
            self.counts["refused"] += 1
            connection.send(429, {"error": {"message": "too many at once", "code": "rate_limit_exceeded"}})

    def begin(self, connection: Connection) -> None:
        self.serving += 1
        seconds = self.profile.latency * self.rng.lognormvariate(0, self.profile.spread)
        if self.profile.per_token:
            usage = answer(connection.body)["usage"]
            seconds += self.profile.per_token * (usage["prompt_tokens"] + usage["completion_tokens"])
        asyncio.get_running_loop().call_later(seconds, self.finish, connection)

    def finish(self, connection: Connection) -> None:
        self.serving -= 1
        if self.waiting:
            self.begin(self.waiting.popleft())
        luck = self.rng.random()
        if luck < self.profile.broken:
            self.counts["broken"] += 1
            connection.send(500, {"error": {"message": "broken"}})
        elif luck < self.profile.broken + self.profile.dropped:
            self.counts["dropped"] += 1
            connection.transport.abort()
        else:
            self.counts["answered"] += 1
            connection.send(200, answer(connection.body))


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, server: Bounded) -> None:
        self.server, self.buffer, self.body = server, b"", b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(rest) < length:
            return
        self.buffer, self.body = rest[length:], rest[:length]
        if head.startswith(b"GET /v1/stats"):
            self.send(200, self.server.counts)
            self.server.counts = dict.fromkeys(self.server.counts, 0)
        elif head.startswith(b"GET"):
            self.send(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            self.server.come(self)

    def send(self, status: int, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        if not self.transport.is_closing():
            self.transport.write(head.encode() + content)


def answer(body: bytes) -> dict[str, Any]:
    """Return a chat completion: yes or no by a hash of the messages, or where a long reply may come, one.

    Tokens are counted as tokenizers of English do: pieces of words, numbers, signs.
    """
    asked = json.loads(body)
    texts = [message["content"] for message in asked["messages"]]
    warm = asked.get("temperature", 0)
    bits = hashlib.sha256(repr((texts, asked.get("seed") if warm else 0)).encode()).digest()
    said = "yes" if bits[0] % 2 else "no"
    if asked["max_tokens"] >= LONG:
        said = " ".join(["Answer", *(WORDS[bit % len(WORDS)] for bit in bits[:12])])
    message = {"role": "assistant", "content": said}
    usage = {
        "prompt_tokens": sum(tokens(text) + 4 for text in texts),
        "completion_tokens": min(tokens(said), asked["max_tokens"]),
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def tokens(text: str) -> int:
    """Return about how many tokens a text is."""
    return len(PIECES.findall(text))


async def serve(profile: Profile, port: int = 0) -> None:
    """Serve until the process is ended; print the base URL first."""
    state = Bounded(profile)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def start(profile: Profile, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """Start the server in a process of its own; return it and its base URL. Port 0 is any free one."""
    options = [f"--{name}={value}" for name, value in {**asdict(profile), "port": port}.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.api.server", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def stop(process: subprocess.Popen[str]) -> None:
    """Kill the server."""
    with process:
        process.kill()


@contextmanager
def running(profile: Profile) -> Iterator[str]:
    """Run the server in a process of its own until the block ends; yield its base URL."""
    process, url = start(profile)
    try:
        yield url
    finally:
        stop(process)


def stats(url: str) -> dict[str, int]:
    """Return what the server did since the last time."""
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as response:
        return dict(json.loads(response.read()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    for name, value in asdict(Profile(0.02)).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--port", type=int, default=0)
    options = vars(parser.parse_args())
    asyncio.run(serve(port=options.pop("port"), profile=Profile(**options)))
