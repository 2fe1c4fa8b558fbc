"""The floor: the matrix products of the packed engine's run and nothing else, replayed on random numbers.

The engine runs the last layer only where something is asked for; `seeing_whole` makes it run all layers for
every distinct token, which is the floor of who does not.

The packs are the engine's own; keys that it adds for the kernel's sake do not count. Of attention, the
products of queries with keys and of weights with values, for as many keys as a query sees on average in its
part of a pack; on a GPU, where one kernel does both, that kernel.
Beside it the roofline: what each forward takes at least, by its operations at the measured rate of one large
product, or by its weights, keys and values at the measured rate of a copy, whichever is longer (Williams et
al. 2009, "Roofline").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from promptopt.models import _cascade, _kernels, _llama, _parts, _ragged

from .measure import seconds


@dataclass(frozen=True, slots=True)
class Rates:
    """What the device reaches: operations (multiplications and additions) and bytes, a second."""

    operations: float
    bytes: float

    @classmethod
    @torch.inference_mode()
    def measured(cls, dtype: torch.dtype, device: str) -> Rates:
        """Measure one large product, and a copy (each byte is read and written)."""
        gpu = device.startswith("cuda")
        size, count = (8192, 1 << 29) if gpu else (1024, 1 << 25)
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        source = torch.ones(count, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)

        def best(run: Callable[[], object]) -> float:
            repeated = 10 if gpu else 1
            times = [seconds(lambda: [run() for _ in range(repeated)], device) for _ in range(4)]
            return min(times) / repeated

        product = best(lambda: torch.matmul(a, b, out=out))
        return cls(2 * size**3 / product, 2 * count / best(lambda: target.copy_(source)))


@dataclass(slots=True)
class Work:
    """What a forward has to do at least: operations; bytes of weights, keys and values."""

    operations: int = 0
    bytes: int = 0


class Floor:
    """Matrix products and calls of attention, in the order in which they were seen."""

    def __init__(self) -> None:
        self.linear: list[tuple[torch.Tensor, int]] = []
        self.attention: list[Callable[[], object]] = []
        self.forwards: list[Work] = []
        self._inputs: dict[Any, torch.Tensor] = {}
        self._ranges: tuple[_ragged.Ranges, int, int] | None = None

    @contextmanager
    def seeing(self, model: torch.nn.Module) -> Iterator[None]:
        """Note the products of what runs inside."""

        def note(layer: Any, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
            weight = layer.weight if isinstance(layer, Conv1D) else layer.weight.t()
            rows = inputs[0].numel() // inputs[0].shape[-1]
            self.linear.append((weight, rows))
            self._add(2 * rows * weight.numel(), weight.numel() * weight.element_size())

        kinds = (torch.nn.Linear, Conv1D)
        hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, kinds)]
        begin = model.get_input_embeddings()  # type: ignore[operator]
        hooks.append(begin.register_forward_pre_hook(lambda *_: self.forwards.append(Work())))
        part, kernel, lanes, attends = _cascade.part, _ragged.kernel, _parts.LANES, _kernels.attends

        def seen_part(
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            rule: Any,
            mask: Any = None,
            causal: bool = False,
        ) -> Any:
            self._note_part(query, key, _seen(key.shape[-2], mask, causal))
            return part(query, key, value, rule, mask, causal)

        def seen_kernel(*states: Any, causal: bool) -> Any:
            self._note_kernel(*states, causal=causal)
            return kernel(*states, causal=causal)

        _cascade.part, _ragged.kernel = seen_part, seen_kernel  # type: ignore[assignment]
        _parts.LANES = 1
        _kernels.attends = lambda _: False
        try:
            yield
        finally:
            _cascade.part, _ragged.kernel, _parts.LANES, _kernels.attends = part, kernel, lanes, attends
            for hook in hooks:
                hook.remove()

    def _add(self, operations: int, size: int) -> None:
        self.forwards[-1].operations += operations
        self.forwards[-1].bytes += size

    def _note_part(self, query: torch.Tensor, key: torch.Tensor, seen: int) -> None:
        shapes = query.shape, (*key.shape[:-2], seen, key.shape[-1])

        def products() -> None:
            like = self.linear[0][0]
            query, key = (self._input(shape, like) for shape in shapes)
            query @ key.transpose(-1, -2)
            self._input((*shapes[0][:-1], shapes[1][-2]), like) @ key

        self.attention.append(products)
        self._add(4 * query.numel() * seen, 2 * key.numel() * key.element_size())

    def _note_kernel(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        _: Any,
        ranges: _ragged.Ranges,
        scale: float,
        *,
        causal: bool,
    ) -> None:
        shapes = query.shape, key.shape
        if self._ranges is None or self._ranges[0] is not ranges:  # the same for all layers
            queries = ranges.query_ends.diff()
            keys = ranges.key_ends.diff() if ranges.used is None else ranges.used
            keys = keys * (queries > 0)
            self._ranges = ranges, int((queries.long() * keys).sum()), int(keys.sum())
        _, pairs, seen = self._ranges
        like = self.linear[0][0]

        def call() -> object:
            states = (self._input(shapes[k], like) for k in (0, 1, 1))
            return _ragged.kernel(*states, ranges, scale, causal=causal)

        self.attention.append(call)
        self._add(
            4 * pairs * query.shape[1] * query.shape[2] // (1 + causal),
            2 * seen * key.shape[1] * key.shape[2] * key.element_size(),
        )

    @contextmanager
    def seeing_whole(self, model: torch.nn.Module) -> Iterator[None]:
        """Note the products where all layers run for all tokens."""
        shaped = _llama.shaped
        _llama.shaped = lambda _: False
        try:
            with self.seeing(model):
                yield
        finally:
            _llama.shaped = shaped

    @torch.inference_mode()
    def run(self, *, attention: bool = True) -> None:
        """Compute the products again."""
        for weight, rows in self.linear:
            self._input((rows, weight.shape[0]), weight) @ weight
        if attention:
            for call in self.attention:
                call()

    def roofline(self, rates: Rates) -> float:
        """Return the least seconds that all forwards take at these rates."""
        return sum(
            max(work.operations / rates.operations, work.bytes / rates.bytes) for work in self.forwards
        )

    def _input(self, shape: Any, like: torch.Tensor) -> torch.Tensor:
        key = tuple(shape)
        if key not in self._inputs:
            self._inputs[key] = torch.randn(key, device=like.device).to(like.dtype)
        return self._inputs[key]


def _seen(keys: int, mask: torch.Tensor | None, causal: bool) -> int:
    """Return how many keys a query of a part sees, on average."""
    if mask is not None:
        shown = int((mask == 0).sum())
        return -(-shown * keys // mask.numel())
    return -(-(keys + 1) // 2) if causal else keys
