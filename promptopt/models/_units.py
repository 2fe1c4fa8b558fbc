"""Which requests are sent together, and in what order, so that servers read no prompt twice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any

from ..contracts.model import GenerateRequest, LikelihoodRequest

BLOCK = 64
"""Characters, about what a server's prefix cache holds or drops together (16 tokens in vLLM)."""
MOST_SAMPLES = 16
"""Most samples of one request in one call: more share little more, and are lost together."""


def in_order(requests: Sequence[GenerateRequest] | Sequence[LikelihoodRequest]) -> list[int]:
    """Return the positions so that requests which begin with the same lines stand side by side.

    This is a depth-first walk through the tree of their prefixes, which keeps a prefix in a server's cache
    until nobody needs it any more (Zheng et al. 2024, "SGLang: Efficient Execution of Structured Language
    Model Programs", section 3). Whatever begins otherwise keeps its order.
    """
    tree: dict[str, Any] = {}
    paths: list[list[int]] = []
    for request in requests:
        node, path = tree, []
        for message in request.messages:
            for line in (message.role, *message.content.split("\n")):
                place, node = node.setdefault(line, (len(node), {}))
                path.append(place)
        paths.append(path)
    return sorted(range(len(requests)), key=paths.__getitem__)


def units(requests: Sequence[GenerateRequest], most: int) -> list[list[int]]:
    """Return the positions in order, the samples of a request together, at most `most` in a unit.

    A greedy reply has no samples; some servers refuse to give several.
    """
    found: dict[Hashable, list[int]] = {}
    made: list[list[int]] = []
    for i in in_order(requests):
        request = requests[i]
        key = (request.messages, request.decoding, request.suffix, request.logprobs)
        unit = found.get(key)
        if (
            unit is None
            or len(unit) >= most
            or request.decoding.temperature == 0
            or request.sample in {requests[member].sample for member in unit}
        ):
            unit = found[key] = []
            made.append(unit)
        unit.append(i)
    return made


def beginnings(requests: Sequence[GenerateRequest] | Sequence[LikelihoodRequest]) -> list[str]:
    """Return how each request begins that others may begin with, too: whole blocks shared with a neighbour.

    What stands alone is its own beginning, up to its last whole block.
    """
    texts = ["\0".join(f"{m.role}\n{m.content}" for m in request.messages) for request in requests]
    order = in_order(requests)
    shared = [_blocks(texts[one], texts[other]) for one, other in pairwise(order)]
    found = [""] * len(texts)
    for i, before, after in zip(order, [0, *shared], [*shared, 0], strict=False):
        most = max(before, after) or len(texts[i]) // BLOCK
        found[i] = texts[i][: most * BLOCK]
    return found


def _blocks(one: str, other: str) -> int:
    """Return how many blocks two texts have in common at their beginnings."""
    most = min(len(one), len(other)) // BLOCK
    step = (block for block in range(most) if _block(one, block) != _block(other, block))
    return next(step, most)


def _block(text: str, number: int) -> str:
    return text[number * BLOCK : (number + 1) * BLOCK]
