"""Which requests are sent together, and in what order, so that servers read no prompt twice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from ..contracts.model import GenerateRequest, LikelihoodRequest

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
