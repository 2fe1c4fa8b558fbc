"""A language model behind an OpenAI-compatible endpoint: `openai/<name>`, with `base_url` for others.

What stands behind these options: `_http` makes one call through the openai SDK, `_wire` and
`_likelihood` know what is sent and answered, `_retry` and `_endpoint` keep trying at a bearable pace,
`_stream` turns it all into a plain generator.
"""

from __future__ import annotations

import ipaddress
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from ..contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    always,
)
from ..errors import ConfigError
from ..records import digest
from ..redact import redact, secret
from . import _endpoint
from ._connection import Connection, Traffic
from ._fleet import Fleet, Replica
from ._retry import Patience
from ._wire import Dialect

DEFAULT_URL = "https://api.openai.com/v1"
LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens", "min_tokens")
OURS = ("model", "messages", "prompt", "suffix", "n", "best_of", "stream", "echo", "logprobs", *LIMITS)


@dataclass
class RemoteModel:
    """A model served over HTTP.

    Attributes are options; the connection is opened on first use and shared by all threads. `close` it, or
    use it in a `with` statement.

    Requests of all models at one `base_url` share one pace: how many the endpoint takes at once is learned
    from its refusals, timeouts and latencies, up to `concurrency`; a `Retry-After` makes all of them wait;
    requests and tokens a minute are kept as the `x-ratelimit-*` headers tell them, or lower ones set here.
    Within one call of `generate` or `loglikelihood`, an answer keeps its place among these `concurrency`
    until the consumer asks for the next one. Requests that begin alike are sent one after the other, so
    that servers which cache prefixes find them.

    The samples of one request are asked for in one call (`n`) where the server can: the prompt is then
    read and billed once, and booked on the first of them. Whether it can is found out with the first two;
    a server that refuses, or gives one, is asked for one at a time from then on. Each sample counts as a
    call in the budget. A sample drawn together with others may differ from the same sample drawn alone.

    With `endpoints` the same model is asked at several servers. Requests that begin alike go to the same one,
    whose prefix cache then knows them, as long as that one has not much more to do than the others; what is
    said above of pace, limits and waits holds for each of them. One that fails is left alone for a while, and
    its calls go to the others.

    Where a server states no believable usage, an upper bound is reported: UTF-8 bytes of the prompt, and
    `max_tokens`.

    Attributes:
        name: the server's name of the model.
        base_url: where the server is, usually ending in /v1; None is OPENAI_BASE_URL, or else OpenAI.
        endpoints: where several servers of the model are, instead of `base_url`. Their order does not matter.
        fleet: a name for these servers together. Answers are kept under it, so servers can be added and taken
            away without asking again what is known; without a name, other servers are another model.
        api_key_env: the environment variable that holds the key; a server on this machine needs none.
        api: chat, or completions. Completions sends the messages' contents joined by a blank line, and can
            give log-probabilities and insert text before a suffix where the server can. A server that
            ignores `suffix` without a word cannot be told from one that honours it.
        concurrency: most requests under way at each endpoint.
        adaptive: whether to find out how many of them the endpoint takes; otherwise it is `concurrency`
            from the start, whatever the endpoint says.
        requests_per_minute: most calls of this model a minute at each endpoint; None is what its headers say.
        tokens_per_minute: most tokens of this model a minute, likewise.
        timeout: seconds for one request with all its retries, counted from its first attempt.
        attempt_timeout: seconds for one attempt.
        max_attempts: most attempts of one request.
        backoff: the first wait before another attempt is at most this many seconds; waits double.
        extra_body: parameters to add to each request; null takes one out (`temperature: null`).
        seed_parameter: whether to send a seed, mixed of the run's seed and the sample's number.
        n_parameter: whether several samples of a request may be asked for in one call.
        max_tokens_parameter: max_completion_tokens for newer OpenAI models.
        batch: file requests as batches (`/files`, `/batches`) instead of sending them one by one: half the
            price at OpenAI, answers within a day, and nothing paid twice after a kill: the batch is found
            at the server again. Each wave of a search is a batch, so choose searchers with few of them.
        batch_poll: seconds between two looks at a batch.

    Raises:
        ConfigError: an option has no sensible meaning.
    """

    name: str
    base_url: str | None = None
    endpoints: Sequence[str] = ()
    fleet: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    api: Literal["chat", "completions"] = "chat"
    concurrency: int = 128
    adaptive: bool = True
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 120.0
    attempt_timeout: float = 60.0
    max_attempts: int = 5
    backoff: float = 0.5
    extra_body: dict[str, Any] = field(default_factory=dict)
    seed_parameter: bool = True
    n_parameter: bool = True
    max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    batch: bool = False
    batch_poll: float = 30.0

    def __post_init__(self) -> None:
        """Check the options; nothing is opened."""
        where = f"openai/{self.name}"
        if not self.name:
            raise ConfigError("model openai", "a model needs a name", do="write openai/<name>")
        if self.api not in ("chat", "completions"):
            raise ConfigError(
                f"{where}.api", "no such interface", got=self.api, do="choose chat or completions"
            )
        for option in ("concurrency", "max_attempts", "requests_per_minute", "tokens_per_minute"):
            if vars(self)[option] is not None and vars(self)[option] < 1:
                raise ConfigError(f"{where}.{option}", "must be at least 1", got=vars(self)[option])
        for option in ("timeout", "attempt_timeout", "batch_poll"):
            if not vars(self)[option] > 0:
                raise ConfigError(f"{where}.{option}", "must be more than 0 seconds", got=vars(self)[option])
        for key in sorted(self.extra_body.keys() & set(OURS)):
            raise ConfigError(f"{where}.extra_body", f"{key!r} is set by promptopt", do="remove it")
        if self.base_url is not None:
            normalised_url(self.base_url, f"{where}.base_url")
        self._check_endpoints(where)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._finalizer: weakref.finalize[[], RemoteModel] | None = None

    @property
    def identity(self) -> ModelIdentity:
        """Where and which; whatever else changes the answers is in the revision."""
        extra = digest(self.extra_body) if self.extra_body else ""
        api = "" if self.api == "chat" else self.api
        seedless = "" if self.seed_parameter else "seedless"
        place = f"fleet:{self.fleet}" if self.fleet else " ".join(sorted(self._urls()))
        return ModelIdentity(place, self.name, "+".join(filter(None, (api, extra, seedless))))

    @property
    def capabilities(self) -> Capabilities:
        """A completions endpoint may give log-probabilities and insert; only a real request can tell."""
        able = self.api == "completions"
        return Capabilities(likelihood=able, insert=able, concurrency=self.concurrency * len(self._urls()))

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completion of each request as it finishes.

        Raises:
            ConfigError: the key's environment variable is not set.
            AuthError: the key is refused, or its quota is spent.
            ModelError: the model does not exist, or nothing answers at the endpoint.
        """
        yield from self._connect().generate(requests, admit)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probability of each continuation as it finishes; raises as `generate` does."""
        yield from self._connect().loglikelihood(requests, admit)

    def close(self) -> None:
        """Cancel what is under way and close the connection; the next call opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if self._finalizer is not None:
                self._finalizer.detach()
        if connection is not None:
            connection.close()

    def __enter__(self) -> RemoteModel:
        """Return the model itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
                self._finalizer = weakref.finalize(self, self._connection.close)
            return self._connection

    def _open(self) -> Connection:
        urls = self._urls()
        where = f"openai/{self.name} at {urls[0] if len(urls) == 1 else f'{len(urls)} endpoints'}"
        attempt_timeout = min(self.attempt_timeout, self.timeout)
        dialect = Dialect(
            self.name, self.api, dict(self.extra_body), self.seed_parameter, self.max_tokens_parameter
        )
        patience = Patience(where, self.timeout, attempt_timeout, self.max_attempts, self.backoff)
        traffic = Traffic(self.concurrency, self.adaptive, self.requests_per_minute, self.tokens_per_minute)
        # Less than an attempt: nothing was sent, nothing is billed.
        connect = min(10.0, 0.9 * attempt_timeout)
        keys = [self._key(url) for url in urls]
        return Connection(
            Fleet([self._replica(url, key, connect) for url, key in zip(urls, keys, strict=True)]),
            dialect,
            patience,
            traffic,
            together=self.n_parameter,
            batch_poll=self.batch_poll if self.batch else None,
        )

    def _replica(self, url: str, key: str, connect: float) -> Replica:
        from ._http import Http

        where = f"openai/{self.name} at {url}"
        http = Http(where, url, key, self.api_key_env, self.name, connect, direct=_is_loopback(url))
        return Replica(where, _endpoint.join(url), http)

    def _urls(self) -> list[str]:
        where = f"openai/{self.name}"
        if self.endpoints:
            return [normalised_url(url, f"{where}.endpoints") for url in self.endpoints]
        if self.base_url is not None:
            return [normalised_url(self.base_url, f"{where}.base_url")]
        return [normalised_url(os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL, "OPENAI_BASE_URL")]

    def _check_endpoints(self, where: str) -> None:
        """See that several servers are several, and are asked for what several can do."""
        if isinstance(self.endpoints, str) or not all(isinstance(url, str) for url in self.endpoints):
            raise ConfigError(f"{where}.endpoints", "must be a list of URLs", got=self.endpoints)
        if self.fleet and not self.endpoints:
            raise ConfigError(f"{where}.fleet", "names no servers", do="list them in `endpoints`")
        if not self.endpoints:
            return
        if self.base_url is not None:
            raise ConfigError(
                f"{where}.endpoints", "base_url is there, too", do="write all servers into `endpoints`"
            )
        if self.batch:
            raise ConfigError(
                f"{where}.batch", "a batch is filed at one server", do="use base_url, or leave out `batch`"
            )
        urls = self._urls()
        if twice := [url for url in urls if urls.count(url) > 1]:
            raise ConfigError(f"{where}.endpoints", "a server is there twice", got=twice[0], do="remove one")

    def _key(self, url: str) -> str:
        where, key = f"openai/{self.name}", secret(self.api_key_env)
        if key is None:
            if _is_loopback(url):
                return "none"
            raise ConfigError(
                where,
                f"the environment variable {self.api_key_env} is not set",
                do="put the key of the endpoint into it (any word, where no key is needed)",
            )
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(where, f"the key in {self.api_key_env} holds characters that cannot be sent")
        return key


def normalised_url(url: str, where: str) -> str:
    """Return an endpoint's base URL in the form that makes equal endpoints equal.

    Raises:
        ConfigError: it is no URL of an endpoint, or it holds a secret.
    """
    cure = "write it like http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(where, "not a URL", got=redact(url), do=cure) from None
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            where,
            "a base URL holds neither user, password, query nor fragment",
            got=redact(urlunsplit(parts._replace(query="", fragment=""))),
            do="put the key into an environment variable and name that in api_key_env",
        )
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in url.strip()):
        raise ConfigError(where, "not an http(s) URL", got=redact(url), do=cure)
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
