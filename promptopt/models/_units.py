"""Which requests are sent together, and in what order, so that servers read no prompt twice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..contracts.model import GenerateRequest, LikelihoodRequest

MOST_SAMPLES = 16
"""Most samples of one request in one call: more share little more, and are lost together."""


def in_order(requests: Sequence[GenerateRequest] | Sequence[LikelihoodRequest]) -> list[int]:
    """Return the positions so that requests which begin alike stand side by side.

    Sorted texts are a depth-first walk through the tree of their prefixes, which keeps a prefix in the
    server's cache until nobody needs it any more (Zheng et al. 2024, "SGLang", section 3).
    """
    return sorted(range(len(requests)), key=lambda i: (requests[i].messages, i))


def units(requests: Sequence[GenerateRequest], most: int) -> list[list[int]]:
    """Return the positions in order, the samples of a request together, at most `most` in a unit."""
    found: dict[Hashable, list[list[int]]] = {}
    made: list[list[int]] = []
    for i in in_order(requests):
        request = requests[i]
        of_same = found.setdefault((request.messages, request.decoding, request.suffix), [])
        if not of_same or len(of_same[-1]) >= most:
            of_same.append([])
            made.append(of_same[-1])
        of_same[-1].append(i)
    return made
