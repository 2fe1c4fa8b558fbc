"""Soft prompts in the engines: trained vectors as virtual tokens, with ids behind those of the vocabulary.

A soft prompt is then a beginning that prompts share like any other: computed once, kept, and never copied.
Vectors stand in for the embeddings of their tokens (prompt tuning, P-tuning); with prefix tuning, trained
keys and values stand in for those that the layers compute at their places.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..adapter import Adapter
from ..errors import DataError, UnsupportedError

FIRST = 1 << 30
"""The id of the first virtual token: no vocabulary is so large."""

States = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, `[heads, tokens, width]` each."""


@dataclass(slots=True, eq=False)
class VirtualTokens:
    """The soft prompts that a network has met; every new one is given the next ids.

    Attributes:
        vectors: embeddings of all virtual tokens `[tokens, hidden]`, None where there is none; zeros where
            keys and values are trained instead.
        prefixes: first id of a prefix, and its keys and values, a pair a layer.
    """

    vectors: torch.Tensor | None = None
    prefixes: dict[int, list[States]] = field(default_factory=dict)
    _ids: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def ids(self, adapter: Adapter, model: Any, *, prefixes: bool) -> tuple[int, ...]:
        """Return the ids that stand for a soft prompt, which is read when it is met first.

        Raises:
            DataError: it does not fit the model.
            UnsupportedError: it holds keys and values, and the engine takes none (`prefixes` is False).
        """
        if adapter.digest not in self._ids:
            weights = adapter.read()[0]["prompt_embeddings"].to(model.device, model.dtype)
            first = FIRST + (0 if self.vectors is None else len(self.vectors))
            hidden = model.get_input_embeddings().embedding_dim
            if adapter.method == "prefix_tuning":
                if not prefixes:
                    raise UnsupportedError(
                        f"model type {model.config.model_type!r}", "takes no trained keys and values",
                        do="use prompt tuning or P-tuning",
                    )  # fmt: skip
                self.prefixes[first] = prefix_states(weights, model.config)
                weights = weights.new_zeros(len(weights), hidden)
            if weights.shape[1] != hidden:
                raise DataError(
                    f"adapter {adapter.digest[:16]}",
                    f"has vectors of {weights.shape[1]} numbers, not {hidden}",
                    do="train it for this model",
                )  # fmt: skip
            self.vectors = weights if self.vectors is None else torch.cat([self.vectors, weights])
            self._ids[adapter.digest] = tuple(range(first, first + len(weights)))
        return self._ids[adapter.digest]

    def embed(self, tokens: torch.Tensor, model: Any) -> torch.Tensor | None:
        """Return the embeddings `[.., hidden]` of tokens `[..]`, or None if all are of the vocabulary."""
        if self.vectors is None:
            return None
        virtual = tokens >= FIRST
        if not bool(virtual.any()):
            return None
        known: torch.Tensor = model.get_input_embeddings()(tokens.masked_fill(virtual, 0))
        return torch.where(virtual[..., None], self.vectors[(tokens - FIRST).clamp(min=0)], known)

    def overrides(self, tokens: NDArray[np.int64]) -> list[tuple[torch.Tensor, torch.Tensor, list[States]]]:
        """Return where in a pack, and which tokens of a prefix, trained keys and values stand in.

        Each is: places in the pack, places in the prefix, the prefix's states by layer.
        """
        found = []
        for first, states in self.prefixes.items():
            (places,) = np.nonzero((tokens >= first) & (tokens < first + states[0][0].shape[1]))
            if len(places):
                device = states[0][0].device
                inside = torch.from_numpy(tokens[places] - first).to(device)
                found.append((torch.from_numpy(places).to(device), inside, states))
        return found


def override(
    layer: int,
    key: torch.Tensor,
    value: torch.Tensor,
    overrides: Sequence[tuple[torch.Tensor, torch.Tensor, list[States]]],
) -> States:
    """Return a layer's keys and values `[1, heads, tokens, width]` with trained ones in their places."""
    for places, inside, states in overrides:
        key, value = (
            one.index_copy(2, places, trained[None, :, inside])
            for one, trained in zip((key, value), states[layer], strict=True)
        )
    return key, value


def prefix_states(weights: torch.Tensor, config: Any) -> list[States]:
    """Return a prefix's keys and values by layer, from one row of numbers a token.

    The row holds, layer by layer, first the key and then the value of each head, as PEFT stores it.

    Raises:
        DataError: the rows are not of that length.
    """
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    expected = 2 * text.num_hidden_layers * heads * width
    if weights.shape[1] != expected:
        raise DataError(
            "prefix", f"has rows of {weights.shape[1]} numbers, not {expected}", do="train it for this model"
        )
    # [layers, 2, heads, tokens, width]
    parts = weights.reshape(len(weights), text.num_hidden_layers, 2, heads, width).permute(1, 2, 3, 0, 4)
    return [(layer[0].contiguous(), layer[1].contiguous()) for layer in parts]
