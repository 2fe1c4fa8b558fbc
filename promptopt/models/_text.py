"""What several models do to text: join messages, cut at stop strings, look for broken Unicode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..contracts.model import LikelihoodRequest
from ..records import Message


def joined(messages: Sequence[Message]) -> str:
    """Return the contents of the messages, an empty line between them: the prompt of a plain model."""
    return "\n\n".join(message.content for message in messages)


def spaced(request: LikelihoodRequest) -> LikelihoodRequest:
    """Part prompt and continuation by a space where a plain model would otherwise read `Output:yes`.

    A chat template parts them itself, and what ends or begins with white space is parted already (the
    target delimiter of lm-evaluation-harness).
    """
    before, after = joined(request.messages), request.continuation
    if not before or before[-1].isspace() or not after or after[0].isspace():
        return request
    return replace(request, continuation=f" {after}")


def cut(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first of the stop strings."""
    return text[: min((text.find(stop) for stop in stops if stop and stop in text), default=len(text))]


def storable(text: str) -> bool:
    """Return whether `text` is valid Unicode, without lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
