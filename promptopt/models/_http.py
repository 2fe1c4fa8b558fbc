"""One HTTP call to an OpenAI-compatible endpoint, as the openai SDK makes it: JSON in, JSON or `Trouble` out.

Imported on first use, because importing the SDK takes a second. The SDK's retries are off: `_retry` has
the whole endpoint in view, the SDK one request. Calls of the model go to its HTTP client directly, under the
SDK's headers: making a request takes the SDK a third of all that a call costs.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import ssl
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio
import httpx2
import openai

from ..contracts.model import FailureReason
from ..errors import AuthError, ModelError, did_you_mean
from ..redact import redact
from ._trouble import Trouble, malformed

KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept: longer, and servers have closed it at their end."""
R = TypeVar("R")

_MAY_BE_BILLED = {408, 502, 504}  # said by a gateway that gave up waiting while the model may go on
_CONGESTED = {429, 503, 529}
_UNKNOWN = re.compile("no such|unknown|not found|not exist|pinned", re.IGNORECASE)
_AGAIN = {408, 409, 425, 429}


class Http:
    """A client of one endpoint with one key.

    Raises, from `post`:
        Trouble: this attempt failed.
        AuthError: the key is refused, or its quota is spent.
        ModelError: there is no such model, or no such path.
    """

    def __init__(
        self, where: str, url: str, key: str, key_name: str, model: str, connect: float, direct: bool
    ) -> None:
        """Make a client that connects within `connect` seconds; `direct` means past any proxy."""
        self._where, self._key_name, self._model = where, key_name, model
        self._worked = False
        self._addresses: dict[str, httpx2.URL] = {}
        self._client = _transport(connect, direct)
        self._sdk = openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=self._client)
        # What the SDK sends: the key, who asks, and what its environment variables add or take out.
        for name, value in {**self._sdk.auth_headers, **self._sdk.default_headers}.items():
            if isinstance(value, str):
                self._client.headers[name] = value
            else:
                self._client.headers.pop(name, None)

    async def close(self) -> None:
        """Close all connections."""
        await self._sdk.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Send one request; return the JSON object that is answered, and the headers."""
        try:
            content = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            problem = "the text holds a lone surrogate, which UTF-8 cannot carry"
            raise Trouble("rejected", problem, reached=False) from None
        request = self._client.build_request("POST", self._address(path), content=content)
        try:
            response = await self._client.send(request)
        except (httpx2.RequestError, ssl.SSLError, anyio.EndOfStream) as error:
            raise _connection(error) from None
        if not response.is_success:
            raise await self._refusal(_status_error(response))
        data = _json_object(response)
        self._worked = True
        return data, response.headers

    def _address(self, path: str) -> httpx2.URL:
        if path not in self._addresses:
            self._addresses[path] = httpx2.URL(f"{self._sdk.base_url}{path.lstrip('/')}")
        return self._addresses[path]

    async def get(self, path: str) -> dict[str, Any]:
        """Return a JSON object."""
        return _json_object(await self._plainly(self._sdk.get(path, cast_to=httpx2.Response)))

    async def upload(self, name: str, content: bytes) -> str:
        """Store a file for a batch; return its id."""
        made = await self._plainly(self._sdk.files.create(file=(name, content), purpose="batch"))
        return str(made.id)

    async def download(self, file: str) -> bytes | None:
        """Return what a file holds; None if it is not there or not to be had."""
        try:
            got = await self._plainly(self._sdk.get(f"/files/{file}/content", cast_to=httpx2.Response))
        except (Trouble, AuthError):
            return None
        return bytes(got.content)

    async def delete(self, file: str) -> None:
        """Delete a file, if it is there."""
        with suppress(Trouble, AuthError):
            await self._plainly(self._sdk.delete(f"/files/{file}", cast_to=httpx2.Response))

    async def _plainly(self, call: Awaitable[R]) -> R:
        """Make a call that is not a request to the model, within a minute."""
        try:
            async with asyncio.timeout(60):
                return await call
        except TimeoutError:
            raise Trouble("timeout", "no whole reply within 60 s", again="later", lost=True) from None
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except openai.OpenAIError as error:
            raise _trouble(error) from None

    async def models(self) -> list[str]:
        """Return the models that the endpoint lists; none if it does not say."""
        try:
            response = await self._sdk.get("/models", cast_to=httpx2.Response, options={"timeout": 5.0})
            return sorted(str(entry["id"]) for entry in json.loads(response.content)["data"])
        except (openai.OpenAIError, ValueError, KeyError, TypeError):
            return []

    def _status(self, error: openai.APIStatusError) -> Trouble | ModelError:
        status, said = error.status_code, _said(error)
        if status in (401, 403):
            return AuthError(
                self._where,
                f"the key is refused: HTTP {status}: {said}",
                do=f"set {self._key_name} to a valid key",
            )
        if status == 402 or (status == 429 and _is_quota(error)):
            return AuthError(
                self._where,
                f"the quota of the key is spent: HTTP {status}: {said}",
                do=f"check the plan and billing of the account, or set {self._key_name} to another key",
            )
        if status in (405, 410) or status < 400:
            return ModelError(
                self._where, f"HTTP {status}: {said}", do="check base_url; it usually ends in /v1"
            )
        again = status in _AGAIN or (status >= 500 and status != 501)
        reason: FailureReason = "unsupported" if status == 501 else "server" if again else "rejected"
        return Trouble(
            reason,
            f"HTTP {status}: {said}",
            again="later" if again else "no",
            lost=status in _MAY_BE_BILLED,
            congested=status in _CONGESTED,
            wait=_retry_after(error.response.headers) if again else None,
        )

    async def _refusal(self, error: openai.APIStatusError) -> Trouble | ModelError:
        """Tell a model or path that does not exist from all else."""
        missing = error.status_code == 404 or error.code == "model_not_found"
        if not missing and not self._names_model(error):
            return self._status(error)
        listed = await self.models()
        unlisted = bool(listed) and self._model not in listed
        if not (missing or unlisted or _UNKNOWN.search(str(error.body))):
            return self._status(error)
        cure = "check name and base_url; base_url usually ends in /v1"
        if unlisted:
            cure = did_you_mean(self._model, listed[:20])
        problem = f"no such model or path: HTTP {error.status_code}: {_said(error)}"
        return ModelError(self._where, problem, do=redact(cure))

    def _names_model(self, error: openai.APIStatusError) -> bool:
        """Whether a refusal may concern the model: not all servers answer 404 for one they do not have."""
        name = rf"(?<![\w.-]){re.escape(self._model)}(?![\w-])"
        return error.status_code in (400, 422) and not self._worked and bool(re.search(name, str(error.body)))


def _json_object(response: httpx2.Response) -> dict[str, Any]:
    try:
        data = json.loads(response.content)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        kind = response.headers.get("content-type", "no content type")
        raise malformed(f"the reply is not JSON ({kind}): {brief(response.text, 80)}")
    return data


def brief(text: str, limit: int = 300) -> str:
    """Redact, put on one line and shorten what a server said."""
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _transport(connect: float, direct: bool) -> httpx2.AsyncClient:
    """Return a client without a limit of its own: aiohttp's, where it is installed, takes less CPU a call."""
    timeout = httpx2.Timeout(None, connect=connect)
    if find_spec("aiohttp") is not None:  # its 0 is httpx2's None
        unlimited = httpx2.Limits(max_connections=0, keepalive_expiry=KEEP_ALIVE)
        return openai.DefaultAioHttpClient(trust_env=not direct, timeout=timeout, limits=unlimited)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE)
    return openai.DefaultAsyncHttpxClient(trust_env=not direct, timeout=timeout, limits=limits)


def _trouble(error: Exception) -> Trouble:
    """Return what a call that got no HTTP status came to."""
    if isinstance(error, openai.APIConnectionError):
        return _connection(error)
    return Trouble("error", brief(f"{type(error).__name__}: {error}"))


@cache
def _never_sent() -> tuple[type[BaseException], ...]:
    """Return the errors of connections that did not come about."""
    if find_spec("aiohttp") is None:
        return httpx2.ConnectError, httpx2.ConnectTimeout
    import aiohttp

    # The SDK's transport calls every lost connection a ConnectTimeout; only aiohttp's own error tells.
    return aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError


def _status_error(response: httpx2.Response) -> openai.APIStatusError:
    """Return what the SDK makes of a refusal."""
    body: object = response.text.strip()
    with suppress(ValueError, RecursionError):
        body = json.loads(response.content)
    if isinstance(body, Mapping):
        body = body.get("error", body)
    return openai.APIStatusError(f"HTTP {response.status_code}", response=response, body=body)


def _connection(error: Exception) -> Trouble:
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    # The SDK says "Connection error.", the one who knows stands deepest.
    message = brief(f"{type(chain[-1]).__name__}: {chain[-1]}")
    if any(isinstance(link, _never_sent()) for link in chain):
        return Trouble("server", f"cannot connect: {message}", again="later", reached=False, unreachable=True)
    # Broken off after sending: the model may have answered, and been paid for it.
    return Trouble("server", f"connection lost: {message}", again="later", lost=True, reached=False)


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    for key in ("message", "detail", "error"):
        if isinstance(body, Mapping) and body.get(key):
            return brief(str(body[key]))
    return brief(str(body or error.response.reason_phrase or "no explanation"))


def _is_quota(error: openai.APIStatusError) -> bool:
    # Ordinary rate limits may carry a link to a billing page too; they say what they are in their code.
    names = f"{error.code} {error.type}".lower()
    if "quota" in names or "billing" in names:
        return True
    text = str(error.body).lower()
    return "rate_limit" not in names and ("insufficient_quota" in text or "billing" in text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, given as seconds or as a date."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value)) if float(value) < 1e9 else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
