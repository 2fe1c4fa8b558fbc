"""What is sent to an OpenAI-compatible endpoint, and how its reply is read; knows nothing of HTTP.

A completions endpoint takes one text, so the messages' contents are joined by a blank line, in their
order, the system message first, without roles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Literal

from ..contracts.model import Completion, Decoding, GenerateRequest
from ..records import Message, Usage, digest
from ._text import joined
from ._trouble import malformed

Api = Literal["chat", "completions"]

_ABSURD = 10_000_000
"""More tokens than any model reads or writes in one call."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this endpoint wants its parameters.

    Attributes:
        model: the server's name of the model.
        api: which of the two interfaces.
        extra: merged into each body; a None takes the parameter out.
        seed_parameter: whether to send a seed.
        max_tokens_parameter: name of the limit of generated tokens.
    """

    model: str
    api: Api = "chat"
    extra: Mapping[str, Any] = field(default_factory=dict)
    seed_parameter: bool = True
    max_tokens_parameter: str = "max_tokens"

    @property
    def path(self) -> str:
        """Where to post to."""
        return "/chat/completions" if self.api == "chat" else "/completions"

    def body(self, request: GenerateRequest, n: int = 1) -> dict[str, Any]:
        """Return the body that asks for `n` completions of `request`; the seed is that of the first."""
        decoding = request.decoding
        body: dict[str, Any] = {"model": self.model}
        if self.api == "chat":
            body["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
        else:
            body["prompt"] = joined(request.messages)
        if request.suffix is not None:
            body["suffix"] = request.suffix
        body[self.max_tokens_parameter] = decoding.max_tokens
        body["temperature"] = decoding.temperature
        if decoding.top_p != 1.0:
            body["top_p"] = decoding.top_p
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        if request.logprobs:
            body["logprobs"] = True if self.api == "chat" else 1
        if self.seed_parameter:
            body["seed"] = mixed_seed(decoding, request.sample)
        if n > 1:
            body["n"] = n
        return self.completed(body)

    def completed(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return `body` with the user's extra parameters."""
        return {key: value for key, value in {**body, **self.extra}.items() if value is not None}


def mixed_seed(decoding: Decoding, sample: int) -> int:
    """Return a 31-bit seed, the same everywhere, that differs from sample to sample."""
    return int(digest([decoding.seed, sample], 8), 16) & 0x7FFF_FFFF


def read_completions(
    data: Mapping[str, Any], request: GenerateRequest, api: Api, n: int, model: str
) -> list[Completion]:
    """Read a reply of at most `n` completions of `model`; the usages add up to what it states.

    The prompt was billed once, and is booked on the first completion. What is stated of the completions'
    tokens is shared out by their lengths.

    Raises:
        Trouble: it holds no text.
    """
    first_choice(data)
    choices = sorted(data["choices"][:n], key=_index)
    served = _served(data, model)
    read = [replace(_read_choice(choice, request, api), served=served) for choice in choices]
    texts = [completion.text for completion in read]
    whole = read_usage(data, request, len(read), any(texts))
    shares = _shared_out(whole.completion_tokens, texts, request.decoding.max_tokens)
    return [
        replace(completion, usage=Usage(0 if place else whole.prompt_tokens, share))
        for place, (completion, share) in enumerate(zip(read, shares, strict=True))
    ]


def _served(data: Mapping[str, Any], model: str) -> str | None:
    """Return who answered, if the reply says so; empty if it is who was asked."""
    served = data.get("model")
    return None if not isinstance(served, str) else "" if served == model else served[:200]


def _index(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, Mapping) else None
    return index if isinstance(index, int) else 0


def _read_choice(choice: object, request: GenerateRequest, api: Api) -> Completion:
    """Return what a choice holds; its usage is still to be found."""
    if not isinstance(choice, Mapping):
        raise malformed("the reply holds a choice that is none")
    finish = "length" if choice.get("finish_reason") == "length" else "stop"
    message = choice.get("message")
    text = _text(message) if api == "chat" and isinstance(message, Mapping) else choice.get("text")
    if not isinstance(text, str):
        cure = (
            "; the limit was reached before the reply began, raise max_tokens" if finish == "length" else ""
        )
        raise malformed(f"the reply holds no text (finish_reason {choice.get('finish_reason')!r}){cure}")
    if request.suffix:  # some servers repeat it, though it is what follows the completion
        text = text.removesuffix(request.suffix)
    # Some servers ignore `stop`; the contract is that a stop string is never part of the text.
    ends = [at for stop in request.decoding.stop if stop and (at := text.find(stop)) >= 0]
    if ends:
        text, finish = text[: min(ends)], "stop"
    logprob = _mean_logprob(choice, api) if request.logprobs else None
    return Completion(text, finish, logprob=logprob)


def _mean_logprob(choice: Mapping[str, Any], api: Api) -> float | None:
    """Return the mean log-probability of the reply's tokens; None where the endpoint does not tell."""
    told = choice.get("logprobs")
    if not isinstance(told, Mapping):
        return None
    listed = told.get("content") if api == "chat" else told.get("token_logprobs")
    if not isinstance(listed, list):
        return None
    if api == "chat":
        listed = [token.get("logprob") for token in listed if isinstance(token, Mapping)]
    values = [float(value) for value in listed if isinstance(value, int | float) and math.isfinite(value)]
    return min(0.0, math.fsum(values) / len(values)) if values and len(values) == len(listed) else None


def _shared_out(total: int, texts: Sequence[str], most: int) -> list[int]:
    """Share out `total` tokens by the length of texts, at most `most` each as long as that can be."""
    if len(texts) == 1:
        return [total]
    ends = list(accumulate(len(text.encode("utf-8", "replace")) + 1 for text in texts))
    marks = [0, *(total * end // ends[-1] for end in ends)]
    shares = [min(most, after - before) for before, after in pairwise(marks)]
    over = total - sum(shares)
    for place, share in enumerate(shares):
        more = min(over, most - share)
        shares[place] += more
        over -= more
    shares[0] += over
    return shares


def first_choice(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first choice of a reply.

    Raises:
        Trouble: there is none.
    """
    choices = data.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        return choices[0]
    error = data.get("error")
    raise malformed("the reply holds no choices" + (f": {error}" if error else ""))


def read_usage(data: Mapping[str, Any], request: GenerateRequest, n: int, written: bool) -> Usage:
    """Return the usage that a reply of `n` completions states, or, where that cannot be true, an upper bound.

    The bounds: no token is shorter than a byte, so the prompt has no more tokens than its text has UTF-8
    bytes; a completion has no more than `max_tokens`.
    """
    suffix = len((request.suffix or "").encode("utf-8", "replace"))
    bound = prompt_bytes(request.messages) + suffix
    return usage_or_bound(data, bound, n * request.decoding.max_tokens, written)


def usage_or_bound(data: Mapping[str, Any], prompt: int, completion: int, written: bool) -> Usage:
    """Return the stated usage, number by number, or the given bound in place of one that cannot be true."""
    stated = data.get("usage")
    stated = stated if isinstance(stated, Mapping) else {}
    return Usage(
        _count(stated.get("prompt_tokens"), 1 if prompt else 0, prompt),
        _count(stated.get("completion_tokens"), 1 if written else 0, completion),
    )


def prompt_bytes(messages: Sequence[Message]) -> int:
    """Return how many UTF-8 bytes the messages hold."""
    return len(joined(messages).encode("utf-8", "replace"))


def _count(value: object, least: int, bound: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _ABSURD:
        return value
    return bound


def _text(message: Mapping[str, Any]) -> object:
    content = message.get("content")
    if content is None:
        return message.get("refusal")
    if isinstance(content, list):  # parts; those that are not text (reasoning, say) are no answer
        texts = [
            part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"
        ]
        return "".join(text for text in texts if isinstance(text, str)) if texts else None
    return content
