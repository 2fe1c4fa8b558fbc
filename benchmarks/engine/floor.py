"""The floor: the matrix products of the packed engine's run and nothing else, replayed on random numbers.

The packs are the engine's own; of attention, the products of queries with keys and of weights with values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from promptopt.models import _cascade


class Floor:
    """Matrix products, by shape, in the order in which they were seen."""

    def __init__(self) -> None:
        self.linear: list[tuple[torch.Tensor, int]] = []
        self.attention: list[tuple[torch.Size, torch.Size]] = []
        self._inputs: dict[Any, torch.Tensor] = {}

    @contextmanager
    def seeing(self, model: torch.nn.Module) -> Iterator[None]:
        """Note the products of what runs inside."""

        def note(layer: Any, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
            weight = layer.weight if isinstance(layer, Conv1D) else layer.weight.t()
            self.linear.append((weight, inputs[0].numel() // inputs[0].shape[-1]))

        kinds = (torch.nn.Linear, Conv1D)
        hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, kinds)]
        before: Callable[..., Any] = _cascade.part

        def part(query: torch.Tensor, key: torch.Tensor, *rest: Any, **options: Any) -> Any:
            self.attention.append((query.shape, key.shape))
            return before(query, key, *rest, **options)

        _cascade.part = part
        try:
            yield
        finally:
            _cascade.part = before
            for hook in hooks:
                hook.remove()

    @torch.inference_mode()
    def run(self, *, attention: bool = True) -> None:
        """Compute the products again."""
        for weight, rows in self.linear:
            self._input((rows, weight.shape[0]), weight) @ weight
        if attention and self.linear:
            like = self.linear[0][0]
            for query, key in self.attention:
                self._input(query, like) @ self._input(key, like).transpose(-1, -2)
                self._input((*query[:-1], key[-2]), like) @ self._input(key, like)

    def _input(self, shape: Any, like: torch.Tensor) -> torch.Tensor:
        key = tuple(shape)
        if key not in self._inputs:
            self._inputs[key] = torch.randn(key, device=like.device).to(like.dtype)
        return self._inputs[key]
