"""Who came from whom: candidates as a tree in reading order, and the line of the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..prompt import Prompt
from .diff import Run, word_diff
from .spelling import spell
from .summary import Candidate


@dataclass(frozen=True, slots=True)
class Node:
    """A candidate in its place.

    Attributes:
        candidate: which.
        depth: how many steps from the root of its tree.
        parent: the one it is shown under; None for a root.
        others: ids of further parents.
        change: word by word from the parent.
        chosen: whether it is on the winner's line.
    """

    candidate: Candidate
    depth: int
    parent: Candidate | None
    others: tuple[str, ...]
    change: tuple[Run, ...]
    chosen: bool


def tree(candidates: Sequence[Candidate], winner: Prompt | None) -> tuple[Node, ...]:
    """Return all candidates, each after its first known parent, children as they were found."""
    known = {candidate.prompt.id: candidate for candidate in candidates}
    children: dict[str | None, list[Candidate]] = {}
    parents: dict[str, str | None] = {}
    for candidate in candidates:
        parent = _parent(candidate, known)
        parents[candidate.prompt.id] = parent
        children.setdefault(parent, []).append(candidate)
    line = _line(parents, winner)
    nodes: list[Node] = []
    waiting = [(root, 0) for root in reversed(children.get(None, []))]
    while waiting:
        candidate, depth = waiting.pop()
        over = parents[candidate.prompt.id]
        nodes.append(
            _node(candidate, depth, None if over is None else known[over], candidate.prompt.id in line)
        )
        waiting += [(child, depth + 1) for child in reversed(children.get(candidate.prompt.id, []))]
    return tuple(nodes)


def _parent(candidate: Candidate, known: Mapping[str, Candidate]) -> str | None:
    """Return the first parent that was found before it: so there are no circles."""
    return next(
        (
            parent
            for parent in candidate.prompt.parents
            if parent in known and known[parent].number < candidate.number
        ),
        None,
    )


def _line(parents: Mapping[str, str | None], winner: Prompt | None) -> set[str]:
    line: set[str] = set()
    step = None if winner is None else winner.id
    while step is not None and step in parents:
        line.add(step)
        step = parents[step]
    return line


def _node(candidate: Candidate, depth: int, parent: Candidate | None, chosen: bool) -> Node:
    new = spell(candidate.prompt)
    change = (Run("same", new),) if parent is None else word_diff(spell(parent.prompt), new)
    shown = None if parent is None else parent.prompt.id
    others = tuple(other for other in candidate.prompt.parents if other != shown)
    return Node(candidate, depth, parent, others, change, chosen)
