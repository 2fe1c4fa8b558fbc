"""Requests filed as a batch for half the price: a file of lines is uploaded, and collected within a day.

Source: OpenAI's Batch API (`/files`, `/batches`). Nothing is kept on this side. A batch carries a tag, its
lines carry digests of what they ask, and its files are deleted only once the caller has taken the answers
to all of its lines and come back: whoever asks the same before that, after a kill as well, finds the batch
at the server, waits for it and pays nothing again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ..errors import ModelError
from ._trouble import Trouble

A = TypeVar("A")

MOST_LINES = 50_000
"""Requests in a batch."""
WINDOW = "24h"
OUTAGE = 3600.0
"""Seconds for which the server may be out of reach while a batch is waited for."""
PAGES = 20
"""Pages of a hundred batches that are looked through for those of an earlier process."""
TAG = "promptopt"

_OVER = ("completed", "expired", "cancelled", "failed")


class Http(Protocol):
    """What is needed of an HTTP client; see `_http.Http`."""

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Send one request; return the JSON object that is answered, and the headers."""
        ...

    async def get(self, path: str) -> dict[str, Any]:
        """Return a JSON object."""
        ...

    async def upload(self, name: str, content: bytes) -> str:
        """Store a file for a batch; return its id."""
        ...

    async def download(self, file: str) -> bytes | None:
        """Return what a file holds; None if it is not there or not to be had."""
        ...

    async def delete(self, file: str) -> None:
        """Delete a file, if it is there."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of the lines that were asked for.

    Attributes:
        replies: the bodies of answers, or why there is none, by line.
        refused: lines that the budget did not admit.
    """

    replies: Mapping[str, dict[str, Any] | Trouble]
    refused: frozenset[str]


@dataclass
class Filing:
    """The batches of one call of a model; used on the endpoint's loop only.

    Attributes:
        http: the client.
        where: the model, for messages.
        path: what the lines ask, such as `/chat/completions`.
        tag: what marks this model's batches.
        poll: seconds between two looks at a batch.
        attempts: most attempts to file one.
        taken: lines whose answers callers have taken, in this call and before.
    """

    http: Http
    where: str
    path: str
    tag: str
    poll: float
    attempts: int
    taken: set[str]
    _asked: set[str] = field(default_factory=set)
    _collected: list[tuple[dict[str, Any], set[str]]] = field(default_factory=list)

    async def answer(self, lines: Mapping[str, Mapping[str, Any]], admit: Callable[[str], bool]) -> Filed:
        """File the lines that no earlier batch holds, wait, and return all replies.

        Args:
            lines: request bodies by a digest that is theirs alone.
            admit: asked for each line that is to be filed.

        Raises:
            ModelError: the server refuses the batch, or is gone for good.
        """
        self._asked |= lines.keys()
        batches = await self._earlier(lines.keys())
        held = lines.keys() & {line for _, ids in batches for line in ids}
        admitted = {line: body for line, body in lines.items() if line not in held and admit(line)}
        if admitted:
            batches.append((await self._file(admitted), set(admitted)))
        replies: dict[str, dict[str, Any] | Trouble] = {}
        for batch, ids in batches:
            over = await self._wait(batch)
            unanswered = Trouble("server", f"the batch {over['id']} is {over['status']}", again="later")
            found = await self._replies(over)
            for line in ids & lines.keys() - replies.keys():
                replies[line] = found.get(line, unanswered)
            self._collected.append((over, ids))
        return Filed(replies, frozenset(lines.keys() - held - admitted.keys()))

    async def forget(self) -> None:
        """Note that the caller has taken all answers; delete the files of batches that hold no others."""
        self.taken |= {line for _, ids in self._collected for line in ids & self._asked}
        for batch, ids in self._collected:
            if not ids <= self.taken:
                continue
            for kind in ("input_file_id", "output_file_id", "error_file_id"):
                if batch.get(kind):
                    await self.http.delete(batch[kind])

    async def _earlier(self, wanted: Iterable[str]) -> list[tuple[dict[str, Any], set[str]]]:
        """Return batches of this model that hold wanted lines and are not collected, with all their lines."""
        left, found = set(wanted), []
        collected = {batch["id"] for batch, _ in self._collected}
        async for batch in self._listed():
            if batch["id"] in collected:
                continue
            file = batch.get("input_file_id")
            if (batch.get("metadata") or {}).get(TAG) != self.tag or batch["status"] == "failed" or not file:
                continue
            content = await self.http.download(file)
            ids = {line["custom_id"] for line in _json_lines(content or b"")}
            if left & ids:
                found.append((batch, ids))
                left -= ids
        return found

    async def _listed(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the newest batches at the server."""
        after = ""
        for _ in range(PAGES):
            try:
                page = await self.http.get(f"/batches?limit=100{after}")
            except Trouble as trouble:
                raise self._gone(trouble) from None
            batches = [batch for batch in page.get("data") or [] if batch.get("id")]
            for batch in batches:
                yield batch
            if not page.get("has_more") or not batches:
                return
            after = f"&after={batches[-1]['id']}"

    async def _file(self, lines: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Upload the lines and create a batch of them."""
        url = f"/v1{self.path}"
        made = (
            {"custom_id": line, "method": "POST", "url": url, "body": body} for line, body in lines.items()
        )
        content = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in made).encode()
        file = await self._insist(lambda: self.http.upload("promptopt.jsonl", content))
        body = {
            "input_file_id": file,
            "endpoint": url,
            "completion_window": WINDOW,
            "metadata": {TAG: self.tag},
        }

        async def create() -> dict[str, Any]:
            # Where an answer was lost, the batch may be there: to create another would be to pay twice.
            async for batch in self._listed():
                if batch.get("input_file_id") == file:
                    return dict(batch)
            return (await self.http.post("/batches", body))[0]

        return await self._insist(create)

    async def _insist(self, call: Callable[[], Awaitable[A]]) -> A:
        for attempt in range(1, self.attempts + 1):
            try:
                return await call()
            except Trouble as trouble:
                if trouble.again == "no" or attempt == self.attempts:
                    raise self._gone(trouble) from None
                await asyncio.sleep(min(self.poll, 2.0**attempt))
        raise AssertionError("unreachable")

    async def _wait(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch once it is over."""
        clock = asyncio.get_running_loop().time
        seen = clock()
        while batch.get("status") not in _OVER:
            await asyncio.sleep(self.poll)
            try:
                batch, seen = await self.http.get(f"/batches/{batch['id']}"), clock()
            except Trouble as trouble:
                if trouble.again == "no" or clock() - seen > OUTAGE:
                    raise self._gone(trouble) from None
        if batch["status"] == "failed":
            errors = (batch.get("errors") or {}).get("data") or []
            said = "; ".join(str(error.get("message")) for error in errors) or "it does not say why"
            raise ModelError(self.where, f"the batch {batch['id']} failed: {said}", do="set batch: false")
        return batch

    async def _replies(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any] | Trouble]:
        """Read what a batch answered."""
        replies: dict[str, dict[str, Any] | Trouble] = {}
        for kind in ("output_file_id", "error_file_id"):
            if not batch.get(kind):
                continue
            content = await self.http.download(batch[kind])
            if content is None:
                raise ModelError(
                    self.where, f"the file {batch[kind]} of the batch {batch['id']} cannot be read",
                    do="run again: the batch is found at the server, and not paid again",
                )  # fmt: skip
            for line in _json_lines(content):
                replies[line["custom_id"]] = _reply(line)
        return replies

    def _gone(self, trouble: Trouble) -> ModelError:
        return ModelError(
            self.where,
            f"cannot work with batches: {trouble.message}",
            do="run again once it is back, batches under way are found; or set batch: false",
        )


def _reply(line: Mapping[str, Any]) -> dict[str, Any] | Trouble:
    """Return the body of a line's answer, or why there is none."""
    response, error = line.get("response") or {}, line.get("error") or {}
    body, status = response.get("body"), response.get("status_code")
    if status == 200 and isinstance(body, dict):
        return body
    said = error or (body.get("error") if isinstance(body, dict) else None) or body
    said = said.get("message") or said.get("code") if isinstance(said, dict) else said
    again = status is None or status in (408, 409, 425, 429) or status >= 500
    where = f"HTTP {status}: " if status is not None else ""
    return Trouble(
        "server" if again else "rejected", f"{where}{str(said)[:300]}", again="later" if again else "no"
    )


def _json_lines(content: bytes) -> Iterable[dict[str, Any]]:
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("custom_id"), str):
            yield line
