"""A plain Python function as a model: whatever can be called can be given prompts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal

from ..callables import function_name, resolve
from ..contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    always,
)
from ..errors import PluginError, shorten
from ..records import Message, digest
from ._text import cut, joined

OFFERED = ("seed", "temperature", "top_p", "max_tokens", "stop", "suffix")
"""Keyword arguments a function is given if it has a parameter of that name (or `**` anything)."""
TEXT_NAMES = ("text", "prompt", "prompt_text")

_REFUSED = Failure("budget", "the budget has no room for this call")


@dataclass
class FunctionModel:
    """What `function(messages)` returns: a text, or a `Completion` with its usage.

    `messages` is a list of `{"role": …, "content": …}`; a function whose first parameter is named `text`
    or `prompt`, or annotated `str`, is given one text instead, the contents joined by an empty line. It
    may also take `seed` (an integer that differs from sample to sample), `temperature`, `top_p`,
    `max_tokens`, `stop` and, if it can insert, `suffix`. What it raises becomes a failed call. Its tokens
    are not known unless it returns them in a `Completion`.

    Args:
        function: the function, or where it is: `path/to/file.py:name` or `package.module:name`.
        name: the model's name; if there is no `function`, where it is.
        version: change it when the function changes in a way its own source does not show.
        batch: the function takes a list (and a list of seeds, and of suffixes) and returns a list. All
            requests of one call have the same decoding otherwise.
        takes: `messages` or `text`; `auto` looks at the first parameter.
        likelihood: a function `(messages or text, continuation) -> (log-probability in nats, tokens)`, or
            where it is.
    """

    function: Callable[..., Any] | str | None = None
    name: str = ""
    version: str = ""
    batch: bool = False
    takes: Literal["auto", "messages", "text"] = "auto"
    likelihood: Callable[..., Any] | str | None = None
    _reply: _Function = field(init=False, repr=False, compare=False)
    _score: _Function | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Import the functions, so that a wrong name stops the run before anything is paid for."""
        named = self.function if self.function is not None else self.name
        self._reply = _Function.of(named, self.takes, "model python.function")
        self._score = None
        if self.likelihood is not None:
            self._score = _Function.of(self.likelihood, self.takes, "model python.likelihood")

    @property
    def identity(self) -> ModelIdentity:
        """The function's name; its version and a hash of its source."""
        sources = digest([self._reply.source, self._score.source if self._score else ""])
        revision = "+".join(part for part in (self.version, sources) if part)
        given = self.function if isinstance(self.function, str) else ""
        return ModelIdentity("python", self.name or given or self._reply.name, revision)

    @property
    def capabilities(self) -> Capabilities:
        """Likelihood if there is a function for it, insertion if the function takes a `suffix`."""
        return Capabilities(likelihood=self._score is not None, insert="suffix" in self._reply.offers)

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Call the function for each request, or for each group of requests that are decoded alike."""
        groups: dict[object, list[int]] = {}
        for index, request in enumerate(requests):
            if request.suffix is not None and not self.capabilities.insert:
                yield index, Failure("unsupported", "the function has no parameter `suffix`")
            else:
                alike = (replace(request.decoding, seed=0), request.suffix is None) if self.batch else index
                groups.setdefault(alike, []).append(index)
        for group in groups.values():
            admitted = []
            for index in group:
                if admit(index):
                    admitted.append(index)
                else:
                    yield index, _REFUSED
            if admitted:
                yield from zip(admitted, self._call([requests[index] for index in admitted]), strict=True)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Call the likelihood function for each request."""
        for index, request in enumerate(requests):
            if self._score is None:
                yield index, Failure("unsupported", "the model has no likelihood function")
            elif admit(index):
                yield index, _scored(self._score, request)
            else:
                yield index, _REFUSED

    def _call(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Answer requests that are decoded alike; one request unless the function takes batches."""
        decoding = requests[0].decoding
        options: dict[str, Any] = {
            "seed": [_seed(request) for request in requests],
            "suffix": [request.suffix for request in requests],
        }
        arguments: Any = [self._reply.argument(request.messages) for request in requests]
        if not self.batch:
            arguments, options = arguments[0], {name: values[0] for name, values in options.items()}
        options |= {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "max_tokens": decoding.max_tokens,
            "stop": list(decoding.stop),
        }
        if requests[0].suffix is None:
            del options["suffix"]
        try:
            replies = self._reply.call(
                arguments, **{name: value for name, value in options.items() if name in self._reply.offers}
            )
        except Exception as error:  # the user's function may fail in any way; a failure is data
            return [_raised(error)] * len(requests)
        if not self.batch:
            return [_completion(replies, decoding)]
        if not isinstance(replies, list | tuple) or len(replies) != len(requests):
            got = f"{len(replies)} replies" if isinstance(replies, list | tuple) else shorten(replies)
            return [Failure("malformed", f"asked for {len(requests)} replies, got {got}")] * len(requests)
        return [_completion(reply, decoding) for reply in replies]


@dataclass(frozen=True)
class _Function:
    """A user's function and what was learned of it."""

    call: Callable[..., Any]
    text: bool
    offers: frozenset[str]

    @classmethod
    def of(cls, function: Callable[..., Any] | str, takes: str, where: str) -> _Function:
        """Look at the signature once."""
        if function == "":
            raise PluginError(where, "missing", do="give a function, or where it is: path/to/file.py:name")
        call = resolve(function, where)
        try:
            parameters = list(inspect.signature(call, eval_str=False).parameters.values())
        except ValueError:  # some built-in functions have none
            return cls(call, takes == "text", frozenset())
        if not parameters:
            raise PluginError(where, "takes no arguments", got=call, do="give it the parameter messages")
        first = parameters[0]
        text = takes == "text" or (
            takes == "auto" and (first.name in TEXT_NAMES or first.annotation in (str, "str"))
        )
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = {p.name for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        # Insertion is a skill: `**anything` alone does not promise it.
        offers = named.intersection(OFFERED) | (set(OFFERED) - {"suffix"} if anything else set())
        return cls(call, text, frozenset(offers))

    @property
    def name(self) -> str:
        """The function's name, with its module's."""
        module = inspect.getmodule(self.call)
        name = function_name(self.call)
        return f"{module.__name__}:{name}" if module is not None else name

    def argument(self, messages: Sequence[Message]) -> Any:
        """Return the messages as the function wants them."""
        return joined(messages) if self.text else [message._asdict() for message in messages]

    @property
    def source(self) -> str:
        """The function's source text, empty where it cannot be found."""
        try:
            return inspect.getsource(self.call)
        except (OSError, TypeError):
            return ""


def _seed(request: GenerateRequest) -> int:
    """Return a 31-bit seed that differs from sample to sample."""
    return int(digest([request.decoding.seed, request.sample], 8), 16) & 0x7FFF_FFFF


def _completion(reply: object, decoding: Decoding) -> Completion | Failure:
    if isinstance(reply, str):
        return Completion(cut(reply, decoding.stop))
    if isinstance(reply, Completion):
        return replace(reply, text=cut(reply.text, decoding.stop))
    return Failure("malformed", f"the function must return a text, got {shorten(reply)}")


def _scored(function: _Function, request: LikelihoodRequest) -> Likelihood | Failure:
    try:
        result = function.call(function.argument(request.messages), request.continuation)
    except Exception as error:  # as in FunctionModel._call
        return _raised(error)
    match result:
        case (Real() as logprob, int(tokens)) if math.isfinite(logprob) and logprob <= 0 <= tokens:
            return Likelihood(float(logprob), tokens)
    return Failure(
        "malformed", f"the function must return (log-probability <= 0, tokens), got {shorten(result)}"
    )


def _raised(error: Exception) -> Failure:
    return Failure("error", " ".join(f"{type(error).__name__}: {error}".split())[:500])
