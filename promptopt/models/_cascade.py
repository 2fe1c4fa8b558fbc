"""Attention of packed tokens over branches that are kept apart and never copied, for transformers' models.

A pack's tokens see their tile of it and the branches above; a row's new token sees its row and the branches
before it. Where a kernel for that can be had, it attends to all of this at once; else each is a part. Source:
Juravsky et al. 2024, "Hydragen: High-Throughput LLM Inference with Shared Prefixes", section 3.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AttentionInterface

from . import _kernels, _ragged
from ._network import sent
from ._parts import Rule, additive, beyond, by_kernel, evened, joined, merge, missing, part
from ._ragged import RaggedPack, RaggedRows
from ._tree import Ints, Key, Pack
from ._virtual import States, override

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "gpt2", "gpt_neox")
"""Model types that are tested against the plain loop."""
STATIC_ROPE = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings of a token that do not depend on what other tokens a forward holds."""
NAME = "promptopt_cascade"


@dataclass(slots=True, eq=False)
class Branch:
    """Keys and values of the tokens from depth `start` on, a tensor `[1, heads, tokens, width]` a layer."""

    start: int
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    def part(self, key: Key) -> Branch:
        """Return a view of the tokens of a shorter branch."""
        here = slice(key[1] - self.start, len(key[0]) // 4 - self.start)
        keys, values = ([states[:, :, here] for states in layers] for layers in (self.keys, self.values))
        return Branch(key[1], keys, values)


class Layout(Protocol):
    """Who sees what in a forward."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule
    ) -> torch.Tensor:
        """Return attention's output `[1, tokens, heads, width]` for states `[1, heads, tokens, width]`."""
        ...


def supported(model: Any) -> bool:
    """Return whether a model's attention can be replaced by this one."""
    config = model.config
    ropes = set(_values(getattr(config, "rope_parameters", None) or {}, "rope_type"))
    odd = ("use_bidirectional_attention", "add_cross_attention", "reorder_and_upcast_attn")
    return (
        config.model_type in FAMILIES
        and ropes <= STATIC_ROPE
        and not any(getattr(config, name, False) for name in odd)
    )


def _values(tree: Mapping[str, Any], name: str) -> Iterator[Any]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _values(value, name)
        elif key == name:
            yield value


@contextmanager
def cascading(model: Any) -> Iterator[None]:
    """Let a model attend by the layout it is called with, for now."""
    before = model.config._attn_implementation
    # Without a mask function of this name, transformers makes no mask.
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    layer: int = module.layer_idx  # type: ignore[assignment]
    return layout.attend(layer, query, key, value, Rule(scaling, sliding_window, softcap)), None


AttentionInterface.register(NAME, _attention)


class PackLayout:
    """Attention inside a pack and over the branches above it; keeps the branches that end in it."""

    def __init__(self, pack: Pack, branches: Mapping[Key, Branch], device: torch.device) -> None:
        """Prepare the forward of `pack`; `branches` are those it looks at and those it is to fill."""
        self.depths, self._ends = sent(pack.depths, device), sent(pack.ends, device)
        self._pack, self._branches = pack, branches
        self._deepest = int(pack.depths.max())
        self._ragged: RaggedPack | None = None
        self._places: _kernels.Places | None = None
        self._masks: dict[tuple[int, int, bool, int | None], torch.Tensor | None] = {}
        self.states: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self.trained: Sequence[tuple[torch.Tensor, torch.Tensor, list[States]]] = ()

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rule: Rule,
        asked: Ints | None = None,
    ) -> torch.Tensor:
        """Attend as `Layout` says; the query holds the positions `asked` alone, ascending; None is all."""
        key, value = override(layer, key, value, self.trained)
        for low, high, name in self._pack.kept:
            self._branches[name].keys.append(key[:, :, low:high].contiguous())
            self._branches[name].values.append(value[:, :, low:high].contiguous())
        if self.states is not None:
            self.states.append((key, value))
        if asked is None and _plain(rule, self._deepest) and _ragged.fits(query):
            if self._ragged is None:
                lengths = [len(text) // 4 - start for _, _, (text, start) in self._pack.shared]
                self._ragged = RaggedPack(self._pack, lengths, query.device)
            above = [self._branches[name] for _, _, name in self._pack.shared]
            kept = [(branch.keys[layer], branch.values[layer]) for branch in above]
            return self._ragged.attend((query, key, value), kept, rule.scale)
        if asked is not None and not len(asked):
            return query.transpose(1, 2)
        if _plain(rule, self._deepest) and _kernels.attends(query):
            return self._in_one_pass(layer, (query, key, value), rule.scale, asked)
        heads = key.shape[1]
        query, shape = _grouped(query, heads), query.shape
        share = query.shape[1] if query.shape[0] == heads else 1
        key, value = _spread(key, share), _spread(value, share)
        scores = []
        for low, high in self._pack.tiles:
            asking = Queries.of(low, high, asked)
            if not len(asking.positions):
                continue
            seen = evened(low, high, key.shape[2]) if by_kernel(query, rule) else slice(low, high)
            mask, causal = self._tile(low, high, seen, asking, rule.window, query.dtype)
            scores.append(
                part(query[:, :, asking.slots], key[:, :, seen], value[:, :, seen], rule, mask, causal)
            )
        out, total = joined(scores)
        for low, high, name in self._pack.shared:
            asking, branch = Queries.of(low, high, asked), self._branches[name]
            if not len(asking.positions):
                continue
            mask = self._window(asking, branch, layer, rule.window, query.dtype)
            keys, values = _spread(branch.keys[layer], share), _spread(branch.values[layer], share)
            here = asking.slots
            merge(out[:, :, here], total[:, :, here], part(query[:, :, here], keys, values, rule, mask))
        return out.reshape(shape).transpose(1, 2)

    def _in_one_pass(
        self,
        layer: int,
        states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        scale: float,
        asked: Ints | None,
    ) -> torch.Tensor:
        """Attend to all that is seen at once."""
        places = self._seen() if asked is None else self._seen_from(asked)
        above = []
        for low, high, name in self._pack.shared:
            slots, branch = Queries.of(low, high, asked).slots, self._branches[name]
            if slots.start < slots.stop:
                kept = branch.keys[layer], branch.values[layer]
                above.append(_kernels.Above.of(slots.start, slots.stop, *kept))
        query, key, value = (given[0].transpose(0, 1) for given in states)
        return _kernels.attended((query, key, value), places, above, scale)[None]

    def _seen(self) -> _kernels.Places:
        """Return where the tokens stand, the first that each sees, and one past the last that sees each."""
        if self._places is None:
            ends = self._pack.ends.astype(np.int32)
            at, begins = np.arange(len(ends), dtype=np.int32), np.zeros_like(ends)
            for low, high in self._pack.tiles:
                begins[low:high] = low
                np.minimum(ends[low:high], high, out=ends[low:high])
            self._places = at, begins, ends
        return self._places

    def _seen_from(self, asked: Ints) -> _kernels.Places:
        """Return the same for those that are asked for."""
        at, begins, ends = self._seen()
        return at[asked], begins[asked], ends

    def _tile(
        self, low: int, high: int, keys: slice, asking: Queries, window: int | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor | None, bool]:
        """Return the mask `[queries, keys]` of a tile, or that it is plainly causal."""
        depths = self._pack.depths[low:high]
        if window is not None and int(depths.max() - depths.min()) < window:
            window = None
        key = (low, high, asking.whole, window)
        if key not in self._masks:
            mask = None
            plain = asking.whole and window is None and int(self._pack.ends[low:high].min()) >= high
            if not plain or keys != slice(low, high):
                at = torch.arange(keys.start, keys.stop, device=self.depths.device)
                own = sent(asking.positions, self.depths.device)[:, None]
                seen = (low <= at[None]) & (at[None] <= own) & (own < self._ends[None, keys])
                if window is not None:
                    seen &= self.depths[own] - self.depths[None, keys] < window
                mask = additive(seen, dtype)
            self._masks[key] = mask
        mask = self._masks[key]
        return mask, mask is None

    def _window(
        self, asking: Queries, branch: Branch, layer: int, window: int | None, dtype: torch.dtype
    ) -> torch.Tensor | None:
        """Return the mask of a range over a branch, where the layer's window ends inside it."""
        depths = self._pack.depths[asking.positions]
        if window is None or int(depths.max()) - branch.start < window:
            return None
        count = branch.keys[layer].shape[2]
        return beyond(sent(depths, self.depths.device), branch.start, count, window, dtype)


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of a range of a pack: their positions, where they are held, whether these are all."""

    positions: Ints
    slots: slice
    whole: bool

    @classmethod
    def of(cls, low: int, high: int, asked: Ints | None) -> Queries:
        """Return those of positions `low` to `high` that are asked for; None is all."""
        if asked is None:
            return cls(np.arange(low, high), slice(low, high), whole=True)
        begin, end = (int(at) for at in np.searchsorted(asked, (low, high)))
        return cls(asked[begin:end], slice(begin, end), whole=False)


def _plain(rule: Rule, deepest: int) -> bool:
    """Return whether a rule is none for tokens down to a depth, but for its scale."""
    return rule.cap is None and (rule.window is None or deepest < rule.window)


def _grouped(query: torch.Tensor, heads: int) -> torch.Tensor:
    """Give each key-value head its queries: `[1, all, n, w]` to `[heads, all / heads, n, w]`, a view."""
    return query if query.shape[1] == heads else torch.unflatten(query[0], 0, (heads, -1))


def _spread(states: torch.Tensor, share: int) -> torch.Tensor:
    """Show each key-value head to its queries: `[1, heads, n, w]` to `[heads, share, n, w]`, a view."""
    return states if share == 1 else states[0][:, None].expand(-1, share, -1, -1)


@dataclass(slots=True, eq=False)
class RowLayout:
    """Attention of one new token in each of several rows, over its row and the branches before it.

    Attributes:
        keys: a tensor `[slots, heads, room, width]` a layer; the new token's are written to it.
        values: the same.
        places: where each row is kept, ascending; how many tokens it holds already; the position of the
            new one: `[3, rows]`, here and in the device's memory.
        runs: ranges of rows whose slots follow each other, and the first slot.
        shared: ranges of rows, and the branch that all of them continue.
    """

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]
    places: tuple[Ints, torch.Tensor]
    runs: Sequence[tuple[int, int, int]]
    shared: Sequence[tuple[int, int, Branch]]
    slots: torch.Tensor = field(init=False)
    lengths: torch.Tensor = field(init=False)
    depths: torch.Tensor = field(init=False)
    most: int = field(init=False)
    deepest: int = field(init=False)
    _masks: dict[tuple[int | None, int], torch.Tensor] = field(default_factory=dict, init=False)
    _ragged: RaggedRows | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Take the places apart."""
        self.slots, self.lengths, self.depths = self.places[1]
        self.most, self.deepest = int(self.places[0][1].max()), int(self.places[0][2].max())

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule
    ) -> torch.Tensor:
        """Attend as `Layout` says; the rows are the tokens."""
        keys, values = self.keys[layer], self.values[layer]
        rows, heads, size = len(self.lengths), key.shape[1], self.most + 1
        size = min(size + missing(size), keys.shape[2])
        keys[self.slots, :, self.lengths] = key[0].transpose(0, 1)
        values[self.slots, :, self.lengths] = value[0].transpose(0, 1)
        if _plain(rule, self.deepest) and _ragged.fits(query):
            if self._ragged is None:
                self._ragged = self._prepare(keys, query.shape[1] // heads)
            above = [(branch.keys[layer], branch.values[layer]) for _, _, branch in self.shared]
            return self._ragged.attend(query, (keys, values), above, rule.scale)
        grouped = torch.unflatten(query[0], 0, (heads, -1))  # [heads, share, rows, width]
        own = grouped.permute(2, 0, 1, 3)
        mask = self._own(rule.window, size, query.dtype).expand(-1, heads, own.shape[2], -1)
        scores = []
        for low, high, slot in self.runs:
            its = slice(slot, slot + high - low)
            scores.append(
                part(own[low:high], keys[its, :, :size], values[its, :, :size], rule, mask[low:high])
            )
        out, total = scores[0] if len(scores) == 1 else tuple(map(torch.cat, zip(*scores, strict=True)))
        for low, high, branch in self.shared:
            here = grouped[:, :, low:high].flatten(1, 2)[None]
            beyond = self._window(low, high, branch, layer, rule.window, query.dtype)
            if beyond is not None:
                beyond = beyond.repeat(own.shape[2], 1)
            more, sums = part(here, branch.keys[layer], branch.values[layer], rule, beyond)
            apart = (own.shape[2], high - low)
            more = torch.unflatten(more[0], 1, apart).permute(2, 0, 1, 3)
            merge(out[low:high], total[low:high], (more, torch.unflatten(sums[0], 1, apart).permute(2, 0, 1)))
        return out.reshape(1, rows, -1, out.shape[-1])

    def _prepare(self, keys: torch.Tensor, share: int) -> RaggedRows:
        shared = [(low, high, branch.keys[0].shape[2]) for low, high, branch in self.shared]
        room = (keys.shape[0], keys.shape[2])
        slots, lengths, _ = self.places[0]
        return RaggedRows.of(slots, lengths + 1, room, shared, share, keys.device)

    def _own(self, window: int | None, size: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the mask `[rows, 1, 1, tokens]` of the rows' own tokens."""
        if window is not None and size <= window:
            window = None
        if (window, -1) not in self._masks:
            at = torch.arange(size, device=self.lengths.device)
            seen = at[None] <= self.lengths[:, None]
            if window is not None:
                seen &= self.lengths[:, None] - at[None] < window
            self._masks[window, -1] = additive(seen, dtype)[:, None, None]
        return self._masks[window, -1]

    def _window(
        self, low: int, high: int, branch: Branch, layer: int, window: int | None, dtype: torch.dtype
    ) -> torch.Tensor | None:
        if window is None or self.deepest - branch.start < window:
            return None
        count = branch.keys[layer].shape[2]
        return beyond(self.depths[low:high], branch.start, count, window, dtype)
