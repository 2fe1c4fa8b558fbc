"""A model that computes with trained changes of its weights while it is asked to; no copy of it is made.

The names of LoRA's and IA3's tensors are those of PEFT's files. Imports torch, so it is imported on first use
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from .errors import UnsupportedError

METHODS = ("lora", "ia3", "bitfit", "bottleneck", "full")
PEFT_PREFIX = "base_model.model."
KEYS_VALUES, INNER = ("k_proj", "v_proj"), ("down_proj",)
"""What IA3 scales: the outputs of the first, the inputs of the second."""
SUBLAYER_ENDS = ("o_proj", "down_proj", "attention.dense", "dense_4h_to_h", "attn.c_proj", "mlp.c_proj")
"""Ends of the names of the last linear map of a sublayer, behind which bottlenecks stand."""

Tensors = Mapping[str, torch.Tensor]
Parts = Sequence[torch.Tensor]
Given = tuple[torch.Tensor, ...]


def linear_maps(network: Any) -> dict[str, torch.nn.Module]:
    """Return the linear maps of a model's layers by name, the head left out."""
    from transformers.pytorch_utils import Conv1D

    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }


def widths(module: Any) -> tuple[int, int]:
    """Return the widths of a linear map's input and output."""
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    return module.nx, module.nf


def fresh(network: Any, method: str, *, width: int, seed: int) -> dict[str, torch.Tensor]:
    """Return tensors of a method, in float32, with which the model does what it does without them.

    Args:
        network: of transformers.
        method: of `METHODS`.
        width: rank of LoRA, or of a bottleneck.
        seed: of the random ones.

    Raises:
        UnsupportedError: the model has no parts of the names that the method needs.
    """
    draws = torch.Generator().manual_seed(seed)
    device = network.device
    maps = linear_maps(network)
    made: dict[str, torch.Tensor] = {}
    for name, module in maps.items():
        into, out = widths(module)
        last = name.rsplit(".", 1)[-1]
        if method == "lora":
            down, up = PARTS[method](name)
            made |= {down: torch.randn(width, into, generator=draws) / into**0.5, up: torch.zeros(out, width)}
        if method == "ia3" and last in KEYS_VALUES:
            made[f"{PEFT_PREFIX}{name}.ia3_l"] = torch.ones(out, 1)
        if method == "ia3" and last in INNER:
            made[f"{PEFT_PREFIX}{name}.ia3_l"] = torch.ones(1, into)
        if method == "bitfit":
            made[f"{name}.bias"] = torch.zeros(out)
        if method == "bottleneck" and name.endswith(SUBLAYER_ENDS):
            made[f"{name}.down"] = torch.randn(width, out, generator=draws) / out**0.5
            made[f"{name}.down bias"] = torch.zeros(width)
            made[f"{name}.up"] = torch.zeros(out, width)
            made[f"{name}.up bias"] = torch.zeros(out)
    if method == "full":
        made = {name: weight.detach().float().clone() for name, weight in network.named_parameters()}
    if not made:
        raise UnsupportedError(
            f"model type {network.config.model_type!r}", f"has no layers that {method} knows by name",
            do="use lora or bitfit",
        )  # fmt: skip
    return {name: tensor.to(device) for name, tensor in made.items()}


@contextmanager
def changed(network: Any, method: str, tensors: Tensors, scale: float = 1.0) -> Iterator[None]:
    """Let the model compute with trained tensors inside; gradients flow to them, not to its own weights.

    Sources: Hu et al. 2021, "LoRA", section 4.1 (`scale` is alpha / r); Liu et al. 2022, "Few-Shot
    Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", section 3.3 (IA3); Ben
    Zaken, Ravfogel and Goldberg 2022, "BitFit", section 3 (where a map has no bias, one is added); Houlsby et
    al. 2019, "Parameter-Efficient Transfer Learning for NLP", section 2.1 (bottlenecks in both sublayers).
    """
    with ExitStack() as stack:
        if method == "full":
            stack.enter_context(_replaced(network, tensors))
        else:
            for name, module in linear_maps(network).items():
                for hook in _hooks(method, name, module, tensors, scale):
                    stack.callback(hook.remove)
        yield


def _hooks(method: str, name: str, module: Any, tensors: Tensors, scale: float) -> Iterator[Any]:
    """Yield the hooks that make a linear map do what it was trained for."""
    names = PARTS[method](name)
    if names[0] in tensors:
        parts = [tensors[part] for part in names]
        if method == "ia3" and parts[0].shape[0] == 1:
            yield module.register_forward_pre_hook(partial(_scale_input, parts[0]))
        else:
            yield module.register_forward_hook(partial(AFTER[method], parts, scale))


def _scale_input(factor: torch.Tensor, _: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (given[0] * factor[0].to(given[0].dtype), *given[1:])


def _after_lora(parts: Parts, scale: float, _: Any, given: Given, out: torch.Tensor) -> torch.Tensor:
    down, up = (part.to(out.dtype) for part in parts)
    return out + (given[0] @ down.T @ up.T) * scale


def _after_ia3(parts: Parts, _scale: float, _: Any, _given: Given, out: torch.Tensor) -> torch.Tensor:
    return out * parts[0][:, 0].to(out.dtype)


def _after_bitfit(parts: Parts, _scale: float, _: Any, _given: Given, out: torch.Tensor) -> torch.Tensor:
    return out + parts[0].to(out.dtype)


def _after_bottleneck(parts: Parts, _scale: float, _: Any, _given: Given, out: torch.Tensor) -> torch.Tensor:
    down, low, up, high = (part.to(out.dtype) for part in parts)
    return out + torch.nn.functional.gelu(out @ down.T + low) @ up.T + high


AFTER: Mapping[str, Callable[..., torch.Tensor]] = {
    "lora": _after_lora,
    "ia3": _after_ia3,
    "bitfit": _after_bitfit,
    "bottleneck": _after_bottleneck,
}
PARTS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "lora": lambda name: [f"{PEFT_PREFIX}{name}.lora_{part}.weight" for part in "AB"],
    "ia3": lambda name: [f"{PEFT_PREFIX}{name}.ia3_l"],
    "bitfit": lambda name: [f"{name}.bias"],
    "bottleneck": lambda name: [f"{name}.{part}" for part in ("down", "down bias", "up", "up bias")],
}
"""What a linear map's tensors are called."""


@contextmanager
def _replaced(network: Any, tensors: Tensors) -> Iterator[None]:
    """Put other tensors in the place of the model's weights; those of the model come back untouched."""
    own = dict(network.named_parameters())
    before = {name: own[name].data for name in tensors}
    try:
        for name, tensor in tensors.items():
            own[name].data = tensor.detach().to(before[name].dtype)
        yield
    finally:
        for name, data in before.items():
            own[name].data = data
