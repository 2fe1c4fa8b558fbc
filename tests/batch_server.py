"""A loopback server with `/files` and `/batches` in OpenAI's shape.

    with BatchServer(lambda messages, body: "yes", looks=3) as server:
        model = RemoteModel("any", base_url=server.url, batch=True, batch_poll=0.01)

A batch is over at the `looks`-th look at it, and answered then: `answered` counts the lines, which is what
is paid. Its url tells `/v1/chat/completions` from `/v1/completions`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback import LoopbackServer, Reply, _http


class BatchServer(LoopbackServer):
    """The server.

    Args:
        looks: looks at a batch until it is over.
        page: batches on a page of their list.
        spoil: given each line's custom id and its answer (a line of the output), returns what to say in its
            place; None expires the line.
        options: as `LoopbackServer` takes them.

    Attributes:
        files: contents by id.
        batches: by id, the oldest first.
        answered: how often each custom id was answered.
        forget_replies: so many creations of batches succeed but are answered by 500.
        held_from: batches from this number on (the first is 0) are not answered.
        fail: makes new batches fail, with this message.
    """

    def __init__(
        self,
        reply: Any = None,
        *,
        looks: int = 2,
        page: int = 100,
        spoil: Callable[[str, dict[str, Any]], dict[str, Any] | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(reply, **options)
        self.looks, self.page, self.spoil = looks, page, spoil or (lambda line, answer: answer)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.answered: dict[str, int] = {}
        self.forget_replies, self.held_from, self.fail = 0, 10**9, ""
        self._looked: dict[str, int] = {}
        self._made = 0

    def elsewhere(self, method: str, path: str, headers: dict[str, str], content: bytes) -> bytes | None:
        parts = urlsplit(path)
        first, *rest = parts.path.strip("/").split("/")
        if first == "files":
            return self._file(method, rest, headers, content)
        if first == "batches":
            return self._batch(method, rest, parse_qs(parts.query), content)
        return None

    def _new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def _file(self, method: str, rest: list[str], headers: dict[str, str], content: bytes) -> bytes:
        if method == "POST":
            name = self._new("file")
            self.files[name] = _part(headers["content-type"], content, "file")
            assert _part(headers["content-type"], content, "purpose") == b"batch"
            return _json({"id": name, "object": "file", "purpose": "batch"})
        if rest[0] not in self.files:
            return _error(404, "no such file")
        if method == "DELETE":
            del self.files[rest[0]]
            return _json({"id": rest[0], "deleted": True})
        return _http(200, self.files[rest[0]].decode(), {"content-type": "application/octet-stream"})

    def _batch(self, method: str, rest: list[str], query: dict[str, list[str]], content: bytes) -> bytes:
        if method == "POST":
            return self._create(json.loads(content))
        if rest:
            return _json(self._look(self.batches[rest[0]]))
        newest = list(self.batches.values())[::-1]
        if "after" in query:
            ids = [batch["id"] for batch in newest]
            newest = newest[ids.index(query["after"][0]) + 1 :]
        return _json({"object": "list", "data": newest[: self.page], "has_more": len(newest) > self.page})

    def _create(self, body: dict[str, Any]) -> bytes:
        assert body["completion_window"] == "24h"
        name = self._new("batch")
        status = "failed" if self.fail else "validating"
        batch = {"id": name, "object": "batch", "status": status, "output_file_id": None, **body}
        if self.fail:
            batch["errors"] = {"data": [{"message": self.fail}]}
        self.batches[name] = batch
        if self.forget_replies:
            self.forget_replies -= 1
            return _error(500, "oops")
        return _json(batch)

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._looked[batch["id"]] = self._looked.get(batch["id"], 0) + 1
        held = list(self.batches).index(batch["id"]) >= self.held_from
        if not held and batch["status"] == "validating" and self._looked[batch["id"]] >= self.looks:
            self._finish(batch)
        return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for text in self.files[batch["input_file_id"]].decode().splitlines():
            asked = json.loads(text)
            line = asked["custom_id"]
            status, body = self._completed(asked["url"].removeprefix("/v1"), asked["body"])
            answer = {"custom_id": line, "response": {"status_code": status, "body": body}, "error": None}
            spoiled = self.spoil(line, answer)
            if spoiled is None:
                expired = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append({"custom_id": line, "response": None, "error": expired})
                continue
            self.answered[line] = self.answered.get(line, 0) + 1
            (good if spoiled["response"]["status_code"] == 200 else bad).append(spoiled)
        for key, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[key] = self._new("file")
                self.files[batch[key]] = "".join(json.dumps(line) + "\n" for line in lines).encode()
        batch["status"] = "completed" if good or not bad else "expired"

    def _completed(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        chat = path == "/chat/completions"
        messages = body["messages"] if chat else [{"role": "user", "content": body["prompt"]}]
        said = self.reply(messages, body)
        reply = Reply(said) if isinstance(said, str) else said
        return reply.status, json.loads(self._text(reply, body, messages, chat))


def _part(kind: str, content: bytes, name: str) -> bytes:
    """Return a part of a multipart body."""
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    for part in content.split(b"--" + boundary):
        head, _, body = part.partition(b"\r\n\r\n")
        if re.search(rb'name="%s"' % name.encode(), head):
            return body.removesuffix(b"\r\n")
    raise AssertionError(f"no part {name!r}")


def _json(data: Any) -> bytes:
    return _http(200, json.dumps(data), {"content-type": "application/json"})


def _error(status: int, message: str) -> bytes:
    return _http(status, json.dumps({"error": {"message": message}}), {"content-type": "application/json"})
