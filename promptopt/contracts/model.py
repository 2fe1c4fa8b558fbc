"""The contract of a language model: batch in, outcomes out as they finish.

A model knows nothing of prompts, rewards, budgets or journals. It is handed requests and yields
`(position, outcome)` pairs in the order in which they finish. Retrying, pacing and deadlines are the
model's own business; what it cannot answer it yields as a `Failure`, and only what concerns every
request alike (a refused key, a model that does not exist) is raised, as a `ModelError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from ..adapter import Adapter
from ..records import Message, Usage

Admit = Callable[[int], bool]
FailureReason = Literal["timeout", "server", "malformed", "rejected", "unsupported", "budget", "error"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a completion is decoded; every field but the last is part of the cache key.

    Attributes:
        max_tokens: most tokens to generate.
        temperature: 0 is greedy.
        top_p: nucleus mass; 1 is off.
        stop: strings that end the completion; they are not part of its text.
        seed: sampling seed of the run. A model mixes in the request's `sample`, so that the n samples
            of one request differ and each is reproducible where the model allows it.
        reasoning_tokens: most tokens of a reply that reasons before it answers, where a program asks for one;
            None: `max_tokens`. A request's own decoding has it as `max_tokens`: no model sees this field.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A text to complete.

    Attributes:
        messages: what to complete.
        decoding: how.
        sample: numbers repeated draws.
        suffix: text that must follow (insertion).
        logprobs: whether the log-probability of the reply is wanted; a model that cannot tell leaves it out.
        adapter: trained weights to answer with.
    """

    messages: tuple[Message, ...]
    decoding: Decoding = Decoding()
    sample: int = 0
    suffix: str | None = None
    logprobs: bool = False
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class LikelihoodRequest:
    """Score `continuation` as the assistant's reply to `messages`, with trained weights if there are any."""

    messages: tuple[Message, ...]
    continuation: str
    adapter: Adapter | None = None


Request = GenerateRequest | LikelihoodRequest


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated reply.

    Attributes:
        text: the reply.
        finish: `stop` or `length`.
        usage: tokens.
        lost: as in `Failure`.
        logprob: mean log-probability of its tokens in nats, under the model at temperature 1 where it can be
            had; None when it was not asked for, or the model does not tell.
        served: who answered, as the endpoint says: behind a name another model may stand one day. None where
            nobody can tell; empty where it is who was asked.
    """

    text: str
    finish: str = "stop"
    usage: Usage = Usage()
    lost: int = 0
    logprob: float | None = None
    served: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-probability of a continuation: `logprob` is the sum in nats over its `tokens` tokens."""

    logprob: float
    tokens: int
    usage: Usage = Usage()
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that could not be answered.

    Attributes:
        reason: timeout, server (5xx, connection, rate limit past the deadline), malformed (not a valid
            reply), rejected (this request alone is refused, HTTP 400), unsupported (the model cannot do
            this kind of request), budget (`admit` said no), error (anything else).
        message: one line for people; holds no secret.
        lost: attempts that may have been billed although their usage was never seen (a timeout after
            sending); they are charged at their worst case.
    """

    reason: FailureReason
    message: str = ""
    lost: int = 0


Outcome = Completion | Likelihood | Failure


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What makes two models the same for the cache: where, which, and which version of it.

    Attributes:
        endpoint: base URL, `local`, or a name for in-process code.
        model: the name given by the user or the server.
        revision: hash of the weights, or the revision the endpoint reports; empty when unknown.
    """

    endpoint: str
    model: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model may be able to do, as far as can be said without calling it.

    The truth about an endpoint is found by a probe: a real request, which an unable model answers with
    a `Failure("unsupported")`.

    Attributes:
        likelihood: give log-probabilities.
        insert: complete before a suffix.
        concurrency: answer so many requests side by side, each as fast as alone; None is not known.
        adapters: answer with trained weights. One that cannot is never sent a request that has some.
    """

    likelihood: bool = False
    insert: bool = False
    concurrency: int | None = None
    adapters: bool = False


def always(_: int) -> bool:
    """Admit every attempt."""
    return True


@runtime_checkable
class LanguageModel(Protocol):
    """A target, proposer or judge.

    `admit(i)` must be asked before every attempt, also a repeated one, to answer `requests[i]`; when it
    says False, no call is made and `Failure("budget")` is yielded. Every position is yielded exactly
    once. A caller may stop iterating early: the model then cancels what it has under way. Results for a
    request must not depend on what else is in the batch.
    """

    @property
    def identity(self) -> ModelIdentity:
        """Name, place and version, for the cache key."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the model may be able to do; costs no call."""
        ...

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completion of each request as it finishes."""
        ...

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probability of each continuation as it finishes."""
        ...


@runtime_checkable
class LocalWeights(Protocol):
    """A model whose weights lie in a folder on this machine, for those who train them further."""

    @property
    def folder(self) -> Path:
        """An ordinary Hugging Face folder: configuration, tokenizer, safetensors weights."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A model that another process can build, and that answers the same there."""

    @property
    def recipe(self) -> tuple[str, Mapping[str, Any]]:
        """`provider/name`, and the other options of the plug-in."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a prompt and of the reply to it, as the model reads them when it scores or completes.

    `end` is the token that ends a reply; None: the model knows none.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    end: int | None


class Loaded(NamedTuple):
    """A causal language model of transformers in evaluation mode, its weights frozen, and its tokenizer."""

    module: Any
    tokenizer: Any


@runtime_checkable
class GradientModel(Protocol):
    """A model in this process that gradients can be taken through; implemented beside `LanguageModel`."""

    @property
    def identity(self) -> ModelIdentity:
        """As of the `LanguageModel`: trained weights go with its revision."""
        ...

    def loaded(self) -> Loaded:
        """Return the network and its tokenizer."""
        ...

    def tokenise(self, requests: Sequence[LikelihoodRequest]) -> list[Tokens | Failure]:
        """Turn requests into tokens; their trained weights are not looked at."""
        ...

    def computing(self) -> AbstractContextManager[None]:
        """Keep other threads off the network while a block computes; no request is answered inside."""
        ...
