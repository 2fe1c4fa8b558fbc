"""What a model call is known by: everything that decides its answer, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, fields

from .contracts.model import Decoding, LikelihoodRequest, ModelIdentity, Request
from .records import canonical_json, digest_text

KEY_VERSION = 1
DECODING_FIELDS = tuple(field.name for field in fields(Decoding))


def request_key(identity: ModelIdentity, request: Request) -> str:
    """Return the cache key: everything that decides the answer, and nothing else (LAW 2)."""
    return make_key(canonical_json(asdict(identity)), request_text(request))


def make_key(identity: str, request: str) -> str:
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
