"""The cascade's attention on a GPU: a few calls of the variable-length kernel, whatever the tree looks like.

A run of tokens attends to itself causally, and what continues it attends to all of it. So all runs of a pack
are one causal call, and the runs of one depth of its tree, or the kept branches of one depth above it, are
one call more each: no masks, no padding, no loop over tiles. Sources: Dao 2023, "FlashAttention-2", section 3
(the kernel); Juravsky et al. 2024, "Hydragen", section 3 (the parts and their merge).

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ._network import sent
from ._tree import Ints, Pack

Scores = tuple[torch.Tensor, torch.Tensor]
"""Attention's output `[queries, heads, width]`; in float32, its log-sum-exp `[heads, queries]`."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Which queries see which keys, range by range, for one call of the kernel.

    Attributes:
        rows: the queries, `[n]`, or a slice of all.
        query_ends: where the queries of each range end, beginning with 0, int32.
        key_ends: the same of its keys.
        most: the most queries and the most keys of a range.
        used: how many keys of each range are seen, from its first; None is all.
    """

    rows: torch.Tensor | slice
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    most: tuple[int, int]
    used: torch.Tensor | None = None


def fits(states: torch.Tensor) -> bool:
    """Return whether the kernel takes states like these `[.., width]`."""
    width = states.shape[-1]
    return (
        states.device.type == "cuda"
        and states.dtype in (torch.float16, torch.bfloat16)
        and width % 8 == 0
        and width <= 256
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(states.device) >= (8, 0)
    )


def kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ranges: Ranges, scale: float, *, causal: bool
) -> Scores:
    """Attend range by range; states `[tokens, heads, width]`, heads of keys serve as many of queries each."""
    out: tuple[torch.Tensor, ...] = torch.ops.aten._flash_attention_forward(
        query, key, value, ranges.query_ends, ranges.key_ends,
        # For one query a range there is another kernel, which wants one in every range.
        max(2, ranges.most[0]), ranges.most[1], 0.0, causal, False,
        scale=scale, seqused_k=ranges.used,
    )  # fmt: skip
    return out[0], out[1]


def merge(out: torch.Tensor, total: torch.Tensor, more: Scores, rows: torch.Tensor | slice) -> None:
    """Merge the scores of a further part into those of some queries, in place."""
    before, sums = out[rows], total[:, rows]
    weight = torch.sigmoid(more[1] - sums).t()[..., None]
    # Products of half and float32 are float32, without copies.
    out[rows] = (before * (1 - weight)).addcmul_(more[0], weight).to(out.dtype)
    total[:, rows] = torch.logaddexp(sums, more[1])


class RaggedPack:
    """Attention inside a pack and over the branches above it."""

    def __init__(self, pack: Pack, lengths: Sequence[int], device: torch.device) -> None:
        """Prepare the forward of `pack`; `lengths` are those of the branches it shares, in its order."""
        self._own, self._levels = _runs(pack.ends, device)
        self._above = _calls([(*at[:2], size) for at, size in zip(pack.shared, lengths, strict=True)], device)

    def attend(
        self,
        states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        above: Sequence[tuple[torch.Tensor, torch.Tensor]],
        scale: float,
    ) -> torch.Tensor:
        """Attend.

        Args:
            states: queries, keys, values of the pack, `[1, heads, tokens, width]`.
            above: keys and values of the branches it shares, in its order, alike.
            scale: the factor on the products.

        Returns:
            `[1, tokens, heads, width]`.
        """
        query, key, value = map(_by_token, states)
        out, total = kernel(query, key, value, self._own, scale, causal=True)
        for level in self._levels:
            merge(out, total, kernel(query[level.rows], key, value, level, scale, causal=False), level.rows)
        for these, level in self._above:
            keys, values = (_chained([_by_token(above[k][i]) for k in these]) for i in (0, 1))
            more = kernel(query[level.rows], keys, values, level, scale, causal=False)
            merge(out, total, more, level.rows)
        return out[None]


def _calls(shared: Sequence[tuple[int, int, int]], device: torch.device) -> list[tuple[list[int], Ranges]]:
    """Return calls over branches, which and how, for ranges of queries and the tokens of their branch."""
    levels: list[list[int]] = []
    for k, (low, _, _) in enumerate(shared):
        # The branches of one depth stand side by side, those of the next depth over the same queries.
        level = next((these for these in levels if shared[these[-1]][1] <= low), None)
        if level is None:
            levels.append([k])
        else:
            level.append(k)
    calls = []
    for these in levels:
        lows, highs, sizes = (np.array([shared[k][i] for k in these]) for i in range(3))
        stops = np.cumsum(sizes)
        calls.append((these, _ranges(lows, highs, stops - sizes, stops, device)))
    return calls


def _by_token(states: torch.Tensor) -> torch.Tensor:
    return states[0].transpose(0, 1)


def _chained(states: Sequence[torch.Tensor]) -> torch.Tensor:
    return states[0] if len(states) == 1 else torch.cat(list(states))


def _runs(ends: Ints, device: torch.device) -> tuple[Ranges, list[Ranges]]:
    """Return the causal call over all runs, and a call for each depth of the trees that they make.

    A run is a stretch of tokens that are continued up to the same token (`Pack.ends`).
    """
    size = len(ends)
    begins = np.flatnonzero(np.concatenate([[True], ends[1:] != ends[:-1]]))
    stops = np.append(begins[1:], size)
    closes = ends[begins]
    edges = np.append(begins, size)
    most = int((stops - begins).max())
    both = sent(edges.astype(np.int32), device)
    own = Ranges(slice(None), both, both, (most, most))
    # How many runs are open at a token, those that end before it and are continued after it.
    open_ = np.zeros(size + 1, np.int64)
    np.add.at(open_, stops, 1)
    np.add.at(open_, closes, -1)
    depth = np.cumsum(open_)[begins]
    levels = []
    for level in range(int(depth.max()) + 1):
        here = (depth == level) & (closes > stops)
        if here.any():
            levels.append(_ranges(stops[here], closes[here], begins[here], stops[here], device))
    return own, levels


def _ranges(lows: Ints, highs: Ints, begins: Ints, ends: Ints, device: torch.device) -> Ranges:
    """Let queries `lows` to `highs` see keys `begins` to `ends`; both ascend."""
    sizes = highs - lows
    if np.array_equal(lows[1:], highs[:-1]):
        rows: torch.Tensor | slice = slice(int(lows[0]), int(highs[-1]))
    else:
        starts = np.cumsum(sizes) - sizes
        rows = sent(np.arange(int(sizes.sum())) + np.repeat(lows - starts, sizes), device)
    # Between two ranges of keys there may be others, which a range without queries skips.
    query_ends = np.repeat(np.concatenate([[0], np.cumsum(sizes)]), 2)[:-1]
    key_ends = np.concatenate([[0], np.stack([begins, ends], 1).ravel()])
    both = [sent(array.astype(np.int32), device) for array in (query_ends, key_ends)]
    gaps = begins - np.concatenate([[0], ends[:-1]])
    return Ranges(rows, both[0], both[1], (int(sizes.max()), int(max((ends - begins).max(), gaps.max()))))


@dataclass(slots=True, eq=False)
class RaggedRows:
    """Attention of one new token in each of several rows, over its row and the branches before it.

    Attributes:
        own: the rows and their slots.
        shared: for each depth of the branches, which of them, and the rows that continue them.
    """

    own: Ranges
    shared: Sequence[tuple[Sequence[int], Ranges]]

    @classmethod
    def of(
        cls,
        slots: Ints,
        used: Ints,
        room: tuple[int, int],
        shared: Sequence[tuple[int, int, int]],
        share: int,
        device: torch.device,
    ) -> RaggedRows:
        """Prepare a step.

        Args:
            slots: where each row is kept, ascending, `[rows]`.
            used: how many tokens are seen in each of these slots.
            room: how many slots there are, and the tokens of one.
            shared: ranges of rows, and the tokens of the branch that they continue.
            share: heads of queries to one of keys.
            device: where the states are.
        """
        held, seen = np.zeros((2, room[0]), np.int64)
        held[slots], seen[slots] = share, used
        arrays = (np.append(0, np.cumsum(held)), np.arange(room[0] + 1) * room[1], seen)
        ends, edges, there = (sent(array.astype(np.int32), device) for array in arrays)
        own = Ranges(slice(None), ends, edges, (share, room[1]), there)
        return cls(own, _calls([(low * share, high * share, size) for low, high, size in shared], device))

    def attend(
        self,
        query: torch.Tensor,
        states: tuple[torch.Tensor, torch.Tensor],
        above: Sequence[tuple[torch.Tensor, torch.Tensor]],
        scale: float,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query: of the new tokens, `[1, heads, rows, width]`.
            states: keys and values of all slots, `[slots, heads, room, width]`, in memory by token.
            above: keys and values of the branches, `[1, heads, tokens, width]`.
            scale: the factor on the products.

        Returns:
            `[1, rows, heads, width]`.
        """
        rows, heads = query.shape[2], states[0].shape[1]
        # The queries of a head of keys see the same keys: they are rows of one range.
        grouped = torch.unflatten(query[0], 0, (heads, -1)).permute(2, 1, 0, 3).flatten(0, 1)
        keys, values = (part.transpose(1, 2).flatten(0, 1) for part in states)
        out, total = kernel(grouped, keys, values, self.own, scale, causal=False)
        for these, level in self.shared:
            keys, values = (_chained([_by_token(above[k][i]) for k in these]) for i in (0, 1))
            more = kernel(grouped[level.rows], keys, values, level, scale, causal=False)
            merge(out, total, more, level.rows)
        return torch.unflatten(out, 0, (rows, -1)).transpose(1, 2).flatten(1, 2)[None]
