"""Sequences with common beginnings as a tree, and the plan that computes each distinct token once; no torch.

A branch that many tokens continue is computed first and kept (its keys and values), everything below it
looks at it from packs without padding: a cascade. What is small is computed whole, under a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Tokens = tuple[int, ...]
Ints = NDArray[np.int64]
Key = tuple[bytes, int]
"""A kept branch: all tokens down to its end, and the depth at which it begins."""

TILE = 128
"""Tokens that attend to each other under one mask; more than this below a branch make it worth keeping."""
SHORT = 8
"""A shared beginning of fewer tokens is repeated: looking at it apart would cost more."""


@dataclass(slots=True, eq=False)
class Node:
    """An edge of the radix tree: the tokens of `text` from depth `start` to depth `end`.

    Attributes:
        text: a sequence that runs through this edge, 4 bytes a token.
        own: what its sequences ask for beyond their tokens (tokens to be generated).
        scored: positions whose logits the sequences that end here need.
        first: the least depth whose logits are needed, here or below.
        ending: how many sequences end here; after planning, here and below.
        below: tokens under this edge.
        pack: the pack that holds the tokens, -1 for none.
        base: place of the first of them (depth `start`) in the pack.
        chain: the kept branches above, outermost first, and this one if it is kept.
    """

    text: bytes
    start: int
    end: int
    parent: Node | None
    children: list[Node] = field(default_factory=list)
    own: int = 0
    scored: int = 0
    first: int = 1 << 60
    ending: int = 0
    below: int = 0
    pack: int = -1
    base: int = 0
    chain: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Tokens of one forward, `[T]`, without padding.

    Token `j` is seen by token `q` if `j <= q < ends[j]`, and only within a tile.

    Attributes:
        tokens: ids.
        depths: positions in their sequences.
        ends: one past the last token that continues each token.
        tiles: consecutive ranges, no token sees one of another tile.
        shared: ranges, and the kept branch that all their tokens see.
        kept: branches that end here: their ranges.
    """

    tokens: Ints
    depths: Ints
    ends: Ints
    tiles: tuple[tuple[int, int], ...]
    shared: tuple[tuple[int, int, Key], ...]
    kept: tuple[tuple[int, int, Key], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to run, and where the tokens of each sequence are.

    Attributes:
        packs: in the order in which to run them.
        leaves: where each sequence ends.
        views: branches that are a part of one that is there already, and that one.
    """

    packs: tuple[Pack, ...]
    leaves: tuple[Node, ...]
    views: tuple[tuple[Key, Key], ...]

    def place(self, sequence: int, depth: int) -> tuple[int, int]:
        """Return the pack and the index in it of a token of a sequence."""
        node = self.leaves[sequence]
        while node.pack < 0:  # repeated before each of its continuations
            node = node.children[0]
        while depth < node.start:
            assert node.parent is not None
            node = node.parent
        return node.pack, node.base + depth - node.start

    def tail(self, sequence: int) -> Ints:
        """Return the indices, in its pack, of a sequence's tokens behind its kept branches."""
        node = leaf = self.leaves[sequence]
        while node.pack < 0:
            node = node.children[0]
        begin, end = len(leaf.chain[-1][0]) // 4 if leaf.chain else 0, leaf.end
        pieces = []
        while begin < end:
            low = max(begin, node.start)
            pieces.append(np.arange(low, max(low, end)) + (node.base - node.start))
            end = min(low, end)
            assert node.parent is not None
            node = node.parent
        return np.concatenate([np.empty(0, np.int64), *reversed(pieces)])


@dataclass(slots=True, eq=False)
class _Block:
    """What is computed in one go: a branch to keep, or a whole subtree."""

    nodes: list[Node]
    above: tuple[Key, ...]
    key: Key | None = None

    @property
    def size(self) -> int:
        """Tokens."""
        return sum(node.end - node.start for node in self.nodes)

    @property
    def scored(self) -> int:
        """Positions whose logits the sequences that end here need."""
        return sum(node.scored for node in self.nodes)


def plan(
    texts: Sequence[bytes],
    *,
    budget: int,
    scored: Sequence[int],
    logits: int = 1 << 60,
    ahead: Sequence[int] | None = None,
    have: Sequence[Key] = (),
) -> Plan:
    """Plan the forwards over sequences.

    Args:
        texts: the sequences `as_bytes`, at least a token each.
        budget: most tokens of a pack; a subtree that is larger is a pack of its own.
        scored: of how many of its last positions each sequence needs logits.
        logits: most positions of a pack whose logits are needed.
        ahead: tokens that are going to be generated behind each sequence; None when nothing is.
        have: branches along one path whose keys and values are there already.
    """
    # Nothing ends at a branch that is there, but the tree is to part where it does.
    root, ends = _grow({*texts, *(text for text, _ in have)})
    leaves = tuple(ends[text] for text in texts)
    for index, leaf in enumerate(leaves):
        leaf.ending += 1
        leaf.scored = max(leaf.scored, scored[index])
        leaf.first = min(leaf.first, leaf.end - scored[index])
        leaf.own += ahead[index] if ahead else 0
    _weigh(list(_preorder(root)))
    stages, views = _stages(root, generating=ahead is not None, have=have)
    packs: list[Pack] = []
    for blocks in stages:
        for group in _groups(blocks, budget, logits):
            packs.append(_lay(group, len(packs)))
    return Plan(tuple(packs), leaves, tuple(views))


def as_bytes(tokens: Tokens) -> bytes:
    """Return tokens as 4 bytes each; bytes order as the tokens do."""
    return np.asarray(tokens, dtype=">u4").tobytes()


def common(a: bytes, b: bytes) -> int:
    """Return how many leading tokens two texts share."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size // 4
    unequal = np.frombuffer(a[:size], np.uint32) != np.frombuffer(b[:size], np.uint32)
    return int(unequal.argmax())


def _grow(texts: set[bytes]) -> tuple[Node, dict[bytes, Node]]:
    """Return the root of the radix tree and the node at which each text ends."""
    root = Node(b"", 0, 0, None)
    ends: dict[bytes, Node] = {}
    stack, before = [root], b""
    for text in sorted(texts):
        shared, below = common(before, text), None
        while stack[-1].end > shared:
            below = stack.pop()
        if stack[-1].end < shared:
            assert below is not None
            stack.append(_split(below, shared))
        leaf = Node(text, shared, len(text) // 4, stack[-1])
        stack[-1].children.append(leaf)
        stack.append(leaf)
        ends[text] = leaf
        before = text
    return root, ends


def _split(node: Node, depth: int) -> Node:
    """Part an edge at a depth; return its upper half."""
    parent = node.parent
    assert parent is not None
    upper = Node(node.text, node.start, depth, parent, [node])
    parent.children[-1] = upper
    node.parent, node.start = upper, depth
    return upper


def _preorder(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _weigh(order: Sequence[Node]) -> None:
    """Sum what stands below each node, from the leaves up, and drop what leads nowhere."""
    for node in reversed(order):
        node.children = [child for child in node.children if child.ending]
        node.below += node.own
        if node.parent is not None and node.ending:
            node.parent.below += node.below + node.end - node.start
            node.parent.ending += node.ending
            node.parent.first = min(node.parent.first, node.first)


def _stages(
    root: Node, *, generating: bool, have: Sequence[Key]
) -> tuple[list[list[_Block]], list[tuple[Key, Key]]]:
    """Part the tree into blocks: kept branches by their depth in the cascade, at last what is left.

    Returns:
        The blocks, and which branches need no block, being a part of one that is there.
    """
    kept: list[list[_Block]] = []
    last: list[_Block] = []
    views: list[tuple[Key, Key]] = []
    stack = list(reversed(root.children))
    while stack:
        node = stack.pop()
        above, begin, key = node.chain, node.start, (node.text[: 4 * node.end], node.start)
        there = next((k for k in have if k[1] <= begin and k[0].startswith(key[0])), None)
        if node.first < node.end or node.end - begin < SHORT:
            there = None
        if there is None and (node.below <= TILE or (generating and node.ending < 2)):
            nodes = list(_preorder(node))
            for inner in nodes:
                inner.chain = above
            last.append(_Block(nodes, above))
            continue
        if there is not None:
            views.append((key, there))
        elif node.end - begin >= SHORT or not node.children:
            kept.extend([] for _ in range(len(above) + 1 - len(kept)))
            kept[len(above)].append(_Block([node], above, key))
        if node.end - begin >= SHORT or not node.children:
            node.chain, begin = (*above, key), node.end
        elif node.scored:
            # The first of the continuations answers for what ends here.
            node.children[0].first = min(node.children[0].first, node.first)
        for child in node.children:
            child.start, child.chain = begin, node.chain
        stack.extend(reversed(node.children))
    return [*kept, last], views


def _groups(blocks: Sequence[_Block], budget: int, logits: int) -> Iterator[list[_Block]]:
    group: list[_Block] = []
    size = scored = 0
    for block in blocks:
        size, scored = size + block.size, scored + block.scored
        if group and (size > budget or scored > logits):
            yield group
            group, size, scored = [], block.size, block.scored
        group.append(block)
    if group:
        yield group


def _lay(blocks: Sequence[_Block], number: int) -> Pack:
    """Write blocks one behind the other, in the order of the tree, so that subtrees are ranges."""
    total = sum(block.size for block in blocks)
    tokens, depths, ends = (np.empty(total, np.int64) for _ in range(3))
    tiles: list[tuple[int, int]] = []
    shared: dict[Key, tuple[int, int]] = {}
    kept: list[tuple[int, int, Key]] = []
    at = 0
    for block in blocks:
        begin = at
        for node in block.nodes:
            node.pack, node.base = number, at
            size = node.end - node.start
            tokens[at : at + size] = np.frombuffer(node.text, ">u4")[node.start : node.end]
            depths[at : at + size] = np.arange(node.start, node.end)
            at += size
        _close(block.nodes, ends, at)
        if block.key is not None:
            kept.append((begin, at, block.key))
        for key in block.above:
            shared[key] = (shared.get(key, (begin, 0))[0], at)
        if tiles and at - tiles[-1][0] <= TILE:
            begin = tiles.pop()[0]
        tiles.append((begin, at))
    ranges = tuple((low, high, key) for key, (low, high) in shared.items())
    return Pack(tokens, depths, ends, tuple(tiles), ranges, tuple(kept))


def _close(nodes: Sequence[Node], ends: Ints, end: int) -> None:
    """Say for each token of a subtree where its continuations end (`end` is that of the subtree)."""
    open_: list[Node] = []
    for node in nodes:
        while open_ and open_[-1] is not node.parent:
            last = open_.pop()
            ends[last.base : last.base + last.end - last.start] = node.base
        open_.append(node)
    for node in open_:
        ends[node.base : node.base + node.end - node.start] = end
