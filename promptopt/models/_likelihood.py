"""Log-probability of a continuation through a completions endpoint that echoes its prompt.

The endpoint is asked to generate nothing and to return the tokens of the prompt with their
log-probabilities (`echo`, `logprobs`). Many servers ignore one or the other without a word, so no reply
is believed before its tokens, joined, have been found to be the text that was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..contracts.model import Likelihood, LikelihoodRequest
from ._text import joined
from ._trouble import Trouble
from ._wire import Dialect, first_choice, usage_or_bound

CURE = "use a reward on the text, or a local model"


@dataclass
class Echo:
    """What was learned of one endpoint.

    Attributes:
        max_tokens: what to send; 0, or 1 where a server insists on generating something.
        proven: whether an echo has been answered well.
    """

    max_tokens: int = 0
    proven: bool = False

    def body(self, request: LikelihoodRequest, dialect: Dialect) -> dict[str, Any]:
        """Return the body that asks for the log-probabilities of `request`."""
        text = joined(request.messages) + request.continuation
        body = {"model": dialect.model, "prompt": text, "echo": True, "logprobs": 1, "temperature": 0}
        return dialect.completed({**body, dialect.max_tokens_parameter: self.max_tokens})

    def refused(self, trouble: Trouble, sent: int) -> Trouble:
        """Say what a refusal means, given the `max_tokens` that was sent."""
        if self.proven or not trouble.reached or trouble.reason not in ("rejected", "server"):
            return trouble
        if sent == 0 and not trouble.congested:  # some servers say 400 to a 0, and some break with a 500
            self.max_tokens = 1
            return Trouble(trouble.reason, trouble.message, again="now")
        if re.search("echo|log.?prob", trouble.message, re.IGNORECASE):
            return _unable(f"the endpoint refuses: {trouble.message}")
        return trouble


def read_likelihood(data: Mapping[str, Any], request: LikelihoodRequest, sent: int) -> Likelihood:
    """Read a reply, and check that it is what it should be.

    A token that straddles the end of the prompt counts to the continuation. A continuation with nothing
    before it has no probability for its first token; that token is then left out of the count.

    Raises:
        Trouble: the reply has no log-probabilities, or not those of this text.
    """
    prompt = joined(request.messages)
    tokens, values, offsets = _columns(first_choice(data))
    ends = _ends(tokens, prompt + request.continuation) or _ends_by_offset(
        tokens, offsets, prompt + request.continuation
    )
    if ends is None:
        raise _unable("the tokens that the endpoint returns are not those of the prompt")
    begin, end = len(prompt.encode()), len((prompt + request.continuation).encode())
    if len(ends) > 8 and all(value in (0, None) for value in values[: len(ends)]):
        raise _unable("all log-probabilities that the endpoint returns are 0")
    scored = []
    for i, (here, value) in enumerate(zip(ends, values, strict=False)):
        if here <= begin or (i == 0 and value is None):
            continue
        if value is None or not math.isfinite(value) or value > 1e-3:
            raise Trouble("malformed", f"a token's log-probability is {value}", lost=True)
        scored.append(value)
    if not scored:
        raise Trouble(
            "rejected", "nothing stands before the continuation, so it has no probability", lost=True
        )
    usage = usage_or_bound(data, end, sent, written=False)
    return Likelihood(min(0.0, math.fsum(scored)), len(scored), usage)


def _unable(problem: str) -> Trouble:
    return Trouble("unsupported", f"{problem}; {CURE}", lost=True)


def _columns(choice: Mapping[str, Any]) -> tuple[list[str], list[float | None], list[int]]:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        raise _unable("the endpoint returns no log-probabilities of the prompt")
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    offsets = logprobs.get("text_offset") or []
    if not (
        isinstance(tokens, list)
        and isinstance(values, list)
        and isinstance(offsets, list)
        and len(tokens) == len(values)
        and all(isinstance(token, str) for token in tokens)
        and all(value is None or isinstance(value, int | float) for value in values)
        and all(isinstance(offset, int) for offset in offsets)
    ):
        raise _unable("the endpoint returns no log-probabilities of the prompt")
    return tokens, values, offsets


def _ends(tokens: Sequence[str], text: str) -> list[int] | None:
    """Return where each token of `text` ends, in UTF-8 bytes; None if the tokens are not those of `text`.

    A first token that is no part of the text (a beginning-of-text mark) ends at 0. Tokens beyond the
    text were generated after it, and are left out.
    """
    whole = text.encode("utf-8", "replace")
    pieces = [_bytes(token) for token in tokens]
    for mark in (0, 1):
        ends, at = [0] * mark, 0
        for piece in pieces[mark:]:
            if at == len(whole) or not whole.startswith(piece, at):
                break
            at += len(piece)
            ends.append(at)
        if at == len(whole) and ends:
            return ends
    return None


def _bytes(token: str) -> bytes:
    r"""Return the bytes of a token; a part of a character is written `bytes:\xe2\x82`."""
    if re.fullmatch(r"bytes:(\\x[0-9a-f]{2})+", token):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode("utf-8", "replace")


def _ends_by_offset(tokens: Sequence[str], offsets: Sequence[int], text: str) -> list[int] | None:
    """Return the same from the offsets (in characters), for servers that spell parts of characters as `�`.

    The offsets are believed if they begin at 0, never fall, and each token is found where they say, as far
    as its spelling lets that be seen.
    """
    inside = sum(offset < len(text) for offset in offsets)
    offsets = offsets[:inside]
    if not inside or len(tokens) < inside or offsets[0] != 0 or list(offsets) != sorted(offsets):
        return None
    ends = [*offsets[1:], len(text)]
    for i, (token, offset, end) in enumerate(zip(tokens, offsets, ends, strict=False)):
        mark = i == 0 and end == 0
        fits = end - offset <= len(token) if "�" in token else text[offset:end] == token
        if not fits and not mark:
            return None
    return [len(text[:end].encode()) for end in ends]
