"""What a call is known by: everything that decides its answer (LAW 2); and how large it can be."""

from __future__ import annotations

from dataclasses import asdict, fields

from .contracts.model import Decoding, LikelihoodRequest, ModelIdentity, Request
from .records import Usage, canonical_json, digest_text

KEY_VERSION = 1
DECODING_FIELDS = tuple(field.name for field in fields(Decoding) if field.name != "reasoning_tokens")
"""What a model is sent."""
MESSAGE_OVERHEAD = 64
"""Tokens a chat template may add around one message, for the worst case."""


def request_key(identity: ModelIdentity, request: Request) -> str:
    """Return the cache key: everything that decides the answer, and nothing else (LAW 2)."""
    return key_of(canonical_json(asdict(identity)), request_text(request))


def key_of(identity: str, request: str) -> str:
    """Digest the canonical JSON of `{"model": …, "request": …, "v": …}`, given that of its two parts."""
    return digest_text(f'{{"model":{identity},"request":{request},"v":{KEY_VERSION}}}', 32)


def request_text(request: Request) -> str:
    """Return a request as canonical JSON."""
    if isinstance(request, LikelihoodRequest):
        return canonical_json(
            {
                "kind": "likelihood",
                "messages": request.messages,
                "continuation": request.continuation,
                **_adapted(request),
            }
        )
    decoding = request.decoding
    return canonical_json(
        {
            "kind": "generate",
            "messages": request.messages,
            # By hand: `asdict` takes longer than all else that is done for a call.
            "decoding": {name: getattr(decoding, name) for name in DECODING_FIELDS},
            "sample": request.sample,
            "suffix": request.suffix,
            **({"logprobs": True} if request.logprobs else {}),
            **_adapted(request),
        }
    )


def _adapted(request: Request) -> dict[str, str]:
    """Name the trained weights by their content: where they lie does not change an answer."""
    return {} if request.adapter is None else {"adapter": request.adapter.digest}


def worst_case(request: Request) -> Usage:
    """Return the most tokens a request can use: no token is shorter than a byte of UTF-8."""
    size = sum(_bytes(message.content) + MESSAGE_OVERHEAD for message in request.messages) + MESSAGE_OVERHEAD
    size += 0 if request.adapter is None else request.adapter.vectors
    if isinstance(request, LikelihoodRequest):
        return Usage(size + _bytes(request.continuation), 1)
    return Usage(size + _bytes(request.suffix or ""), request.decoding.max_tokens)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
