"""A counting OpenAI-compatible server on 127.0.0.1 whose replies a plain function gives.

In a test:

    with LoopbackServer(lambda messages, body: "yes") as server:
        model = RemoteModel("any", base_url=server.url)
        ...
    assert server.calls == 1

As a process of its own, for tests that kill clients (GET /stats tells the counts):

    python tests/loopback.py --port 0 --log requests.log
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

Messages = list[dict[str, str]]
Fault = Literal["", "hang", "drip", "cut", "drop", "html", "no_choices", "null", "no_usage"]
Logprobs = Callable[[str], Sequence[tuple[str, float | None]]]

HTML = "<!doctype html><title>Welcome</title>"


@dataclass(frozen=True)
class Reply:
    """What to answer.

    Attributes:
        text: the completion.
        status: HTTP status; from 400 on, `text` is the error's message and `code` its code.
        headers: more headers.
        delay: seconds before the answer.
        until: answer only once this is set.
        finish: the finish reason.
        usage: stated usage; None: words of prompt and text.
        body: sent in place of the JSON, as it is.
        model: who says it answers; None: who was asked.
        fault: hang (accept, never answer), drip (a byte every 50 ms), cut (JSON cut in half), drop (close
            the connection without a word), html (200 with a page), no_choices, null (content null),
            no_usage.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    until: threading.Event | None = None
    code: str | None = None
    finish: str = "stop"
    usage: Mapping[str, Any] | None = None
    body: str | None = None
    model: str | None = None
    fault: Fault = ""


@dataclass(frozen=True)
class Seen:
    """One request as it came in; `begun` is on the monotonic clock."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    begun: float


ReplyTo = Callable[[Messages, dict[str, Any]], "str | Reply"]


class LoopbackServer:
    """The server, on a thread of its own.

    Args:
        reply: from messages and body to a text or a Reply. It runs on the server's loop: it must not
            block (use Reply's `delay` or `until`). A completions prompt comes as one user message.
        logprobs: from a text to its tokens with log-probabilities; None: `echo` and `logprobs` are
            ignored, as many servers do.
        models: what GET /v1/models lists.
        samples: whether `n` is honoured (a text for each of n seeds); otherwise it is ignored, as many
            servers do.
        port: 0 is any free one.
        log: gets one line of JSON a request, flushed at once.

    Attributes:
        seen: all POSTs, in the order they came.
        counts: requests by path.
        peak: most POSTs under way at once.
        broken: POSTs whose client went away before the whole answer was sent.
    """

    def __init__(
        self,
        reply: ReplyTo | None = None,
        *,
        logprobs: Logprobs | None = None,
        models: Sequence[str] = ("loopback",),
        samples: bool = False,
        port: int = 0,
        log: TextIO | None = None,
    ) -> None:
        self.reply: ReplyTo = reply or hash_reply
        self.seen: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self.peak = self.active = self.broken = 0
        self._logprobs, self._models, self._port, self._log = logprobs, models, port, log
        self._samples = samples
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> int:
        """How many completions were asked for."""
        return sum(seen.body.get("n", 1) if self._samples else 1 for seen in self.seen)

    def __enter__(self) -> LoopbackServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), name="loopback")
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def serve(self, ready: Callable[[], object]) -> None:
        """Serve until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=512)
        self.port: int = server.sockets[0].getsockname()[1]
        ready()
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False ends the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        begun = time.monotonic()
        method, path, _ = head[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        path = path.removeprefix("/v1")
        self.counts[path] += 1
        if (answer := self.elsewhere(method, path, headers, content)) is not None:
            writer.write(answer)
            await writer.drain()
            return True
        if method == "GET":
            writer.write(_http(200, json.dumps(self._page(path)), {}))
            await writer.drain()
            return True
        body = json.loads(content)
        self.seen.append(Seen(path, body, headers, begun))
        if self._log is not None:
            print(json.dumps({"path": path, "body": body}), file=self._log, flush=True)
        self.active += 1
        self.peak = max(self.peak, self.active)
        gone = asyncio.create_task(
            reader.read(1)
        )  # a client that waits sends nothing: a byte or EOF is its end
        answer = asyncio.create_task(self._answer(path, body, writer))
        try:
            await asyncio.wait({gone, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.broken += 1
                return False
            return answer.result()
        finally:
            self.active -= 1
            for task in (gone, answer):
                task.cancel()
            await asyncio.gather(gone, answer, return_exceptions=True)

    def elsewhere(self, method: str, path: str, headers: dict[str, str], content: bytes) -> bytes | None:
        """Answer what is no completion; None if this is one."""
        return None

    def _page(self, path: str) -> dict[str, Any]:
        if path == "/models":
            return {"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]}
        return {"calls": self.calls, "peak": self.peak, "active": self.active, "counts": self.counts}

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        chat = path == "/chat/completions"
        messages = body["messages"] if chat else [{"role": "user", "content": body.get("prompt", "")}]
        more: list[str] = []
        if chat or path == "/completions":
            said = self.reply(messages, body)
            reply = Reply(said) if isinstance(said, str) else said
            if self._samples:
                more = self._more(messages, body)
        else:
            reply = Reply("Not Found", status=404)
        if reply.until is not None:
            while not reply.until.is_set():
                await asyncio.sleep(0.002)
        await asyncio.sleep(reply.delay)
        if reply.fault == "hang":
            await asyncio.Event().wait()
        if reply.fault == "drop":
            return False
        text = self._text(reply, body, messages, chat, more)
        if reply.fault == "cut":
            text = text[: len(text) // 2]
        kind = "text/html" if reply.fault == "html" else "application/json"
        data = _http(reply.status, text, {"content-type": kind, **reply.headers})
        if reply.fault == "drip":
            for i in range(len(data)):
                writer.write(data[i : i + 1])
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.write(data)
        await writer.drain()
        return True

    def _more(self, messages: Messages, body: dict[str, Any]) -> list[str]:
        """Return the texts of the second and all further samples."""
        seeds = (body.get("seed", 0) + i for i in range(1, body.get("n", 1)))
        said = [self.reply(messages, {**body, "seed": seed}) for seed in seeds]
        return [text if isinstance(text, str) else text.text for text in said]

    def _text(
        self, reply: Reply, body: dict[str, Any], messages: Messages, chat: bool, more: Sequence[str] = ()
    ) -> str:
        if reply.body is not None:
            return reply.body
        if reply.fault == "html":
            return HTML
        if reply.status >= 400:
            return json.dumps({"error": {"message": reply.text, "code": reply.code, "type": "error"}})
        words = sum(len(message["content"].split()) for message in messages)
        made = sum(len(text.split()) + 1 for text in (reply.text, *more))
        usage = reply.usage or {"prompt_tokens": words + 1, "completion_tokens": made}
        text = None if reply.fault == "null" else reply.text
        choice: dict[str, Any] = {"index": 0, "finish_reason": reply.finish}
        if chat:
            choice["message"] = {"role": "assistant", "content": text}
        elif self._logprobs is not None and body.get("echo"):
            tokens = list(self._logprobs(body["prompt"]))
            ends = [0]
            for token, _ in tokens:
                ends.append(ends[-1] + len(token))
            choice["text"] = body["prompt"]
            usage = reply.usage or {"prompt_tokens": len(tokens), "completion_tokens": 0}
            choice["logprobs"] = {
                "tokens": [token for token, _ in tokens],
                "token_logprobs": [value for _, value in tokens],
                "text_offset": ends[:-1],
                "top_logprobs": None,
            }
        else:
            choice["text"] = text
        data: dict[str, Any] = {"id": "x", "object": "completion", "created": 0}
        data["model"] = reply.model or body.get("model")
        choices = [choice]
        for index, said in enumerate(more, start=1):
            content = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
            choices.append({"index": index, "finish_reason": reply.finish, **content})
        data["choices"] = [] if reply.fault == "no_choices" else choices[::-1]
        if reply.fault != "no_usage":
            data["usage"] = usage
        return json.dumps(data)


def _http(status: int, text: str, headers: Mapping[str, str]) -> bytes:
    content = text.encode()
    lines = [f"HTTP/1.1 {status} Status", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def hash_reply(messages: Messages, body: dict[str, Any]) -> str:
    """Answer `yes` or `no` by a hash of the messages; with a temperature, a line of words by hash and seed.

    So a run against it has prompts that differ, scores that differ, and the same result every time.
    """
    warm = bool(body.get("temperature"))
    key = json.dumps([messages, body.get("suffix"), body.get("seed") if warm else None])
    bits = hashlib.sha256(key.encode()).digest()
    if not warm:
        return "yes" if bits[0] % 2 else "no"
    words = (
        "read",
        "think",
        "answer",
        "briefly",
        "carefully",
        "say",
        "yes",
        "or",
        "no",
        "first",
        "now",
        "well",
    )
    return " ".join(["Answer:", *(words[b % len(words)] for b in bits[:8])])


def hash_logprobs(text: str) -> list[tuple[str, float | None]]:
    """Return words (each with the space before it) and log-probabilities in [-8, 0) by a hash of the past."""
    tokens: list[tuple[str, float | None]] = []
    at = 0
    while at < len(text):
        end = next((i for i in range(at + 1, len(text)) if text[i].isspace()), len(text))
        bits = hashlib.sha256(text[:end].encode()).digest()
        tokens.append((text[at:end], -(bits[0] + 1) / 32 if at else None))
        at = end
    return tokens


async def _main(port: int, log: TextIO | None) -> None:
    server = LoopbackServer(port=port, logprobs=hash_logprobs, log=log)

    def ready() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server._stop.set)
        print(server.url, flush=True)

    await server.serve(ready)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the built-in replies; print the base URL when ready.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=argparse.FileType("a"), default=None, help="one line of JSON a request")
    options = parser.parse_args()
    try:
        asyncio.run(_main(options.port, options.log))
    except KeyboardInterrupt:
        sys.exit(130)
