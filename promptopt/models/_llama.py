"""The forward of Llama-shaped models, in few passes over memory.

transformers' own layers compute the same, and write each step of a norm, a rotation or a gate to memory
before the next one reads it; beside the products of small matrices that is a fifth of the time. Here each
is one pass where the kernels for CPUs can be had, and most are in place elsewhere; residuals are added by the
product itself, and the last layer goes on with the positions alone that are asked for. What hangs on a linear
map, such as the hooks of trained weights, is called as ever.
Sources: Touvron et al. 2023, "LLaMA", section 2.2 (the layer); Zhang & Sennrich 2019, "Root Mean Square Layer
Normalization"; Su et al. 2021, "RoFormer", section 3.4.2 (the rotation); Shazeer 2020, "GLU Variants Improve
Transformer" (the gate).

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import silu

from . import _kernels
from ._cascade import Layout, PackLayout
from ._parts import Rule

FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
"""Model types whose layers are these: norm, attention, sum; norm, gated linear maps, sum."""


def shaped(model: Any) -> bool:
    """Return whether a model can be run by `logits`."""
    return model.config.model_type in FAMILIES


def logits(
    model: Any,
    tokens: torch.Tensor,
    depths: torch.Tensor,
    layout: Layout,
    keep: torch.Tensor | None = None,
    embeds: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run tokens that see what a layout says.

    Args:
        model: of transformers, for which `shaped` holds.
        tokens: `[T]`.
        depths: where they stand, `[T]`.
        layout: who sees whom.
        keep: positions whose logits are asked for, `[kept]`; None is all.
        embeds: their embeddings, `[1, T, hidden]`, if some of them have others than the model's.

    Returns:
        `[kept, vocabulary]`.
    """
    trunk = model.model
    hidden = trunk.embed_tokens(tokens) if embeds is None else embeds[0].clone()  # [T, hidden]
    turn = tuple(part[0, :, None] for part in trunk.rotary_emb(hidden[None], position_ids=depths[None]))
    last = len(trunk.layers) - 1
    for number, layer in enumerate(trunk.layers):
        asked = keep if number == last else None
        mixed = _attended(number, layer, hidden, turn, layout, asked)
        if asked is not None:
            hidden = hidden[asked]
        hidden = _added(hidden, layer.self_attn.o_proj, mixed)
        hidden = _added(hidden, layer.mlp.down_proj, _gated(layer, hidden))
    return model.lm_head(normed(hidden, trunk.norm))  # type: ignore[no-any-return]


def _attended(
    number: int,
    layer: Any,
    hidden: torch.Tensor,
    turn: tuple[torch.Tensor, ...],
    layout: Layout,
    keep: torch.Tensor | None,
) -> torch.Tensor:
    """Return what attention mixes for the positions kept, before its last map: `[kept, heads * width]`."""
    own = layer.self_attn
    inputs = normed(hidden, layer.input_layernorm)
    # The kernel of the GPU takes all queries of a pack.
    packed = layout if isinstance(layout, PackLayout) and hidden.device.type == "cpu" else None
    asked = None if packed is None else keep
    here = slice(None) if asked is None else asked
    query, key, value = (
        torch.unflatten(linear(given), -1, (-1, own.head_dim))
        for linear, given in ((own.q_proj, inputs[here]), (own.k_proj, inputs), (own.v_proj, inputs))
    )  # [T, heads, width]
    if hasattr(own, "q_norm"):
        query, key = normed(query, own.q_norm), normed(key, own.k_norm)
    query, key = turned(query, *(part[here] for part in turn)), turned(key, *turn)
    query, key, value = (
        states.transpose(0, 1)[None] for states in (query, key, value)
    )  # [1, heads, T, width]
    rule = Rule(own.scaling, _window(own), None)
    if packed is not None and asked is not None:
        return packed.attend(number, query, key, value, rule, asked.numpy())[0].flatten(1)
    mixed = layout.attend(number, query, key, value, rule)[0].flatten(1)
    return mixed if keep is None else mixed[keep]


def _window(own: Any) -> int | None:
    """Return how many tokens a layer's attention sees, if not all."""
    if own.config.model_type == "mistral":
        return own.config.sliding_window  # type: ignore[no-any-return]
    return getattr(own, "sliding_window", None)


def _gated(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return the inner states of the gated linear maps, `[T, inner]`."""
    inputs = normed(hidden, layer.post_attention_layernorm)
    gate, up = layer.mlp.gate_proj(inputs), layer.mlp.up_proj(inputs)
    if layer.mlp.config.hidden_act != "silu":
        return layer.mlp.act_fn(gate).mul_(up)  # type: ignore[no-any-return]
    return _kernels.gated(gate, up) if _kernels.fit(gate, up) else silu(gate, inplace=True).mul_(up)


def _added(hidden: torch.Tensor, linear: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Add a linear map's output to `hidden`, in place."""
    if linear.bias is not None or linear._forward_hooks or linear._forward_pre_hooks:
        hidden += linear(inputs)
    else:
        hidden.addmm_(inputs, linear.weight.t())
    return hidden


def normed(states: torch.Tensor, norm: Any) -> torch.Tensor:
    """Divide by the root mean square over the last dimension, computed in float32; scale by the weights."""
    if _kernels.fit(states, norm.weight):
        return _kernels.normed(states, norm.weight, norm.variance_epsilon)
    wide = states.float()
    square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(states.shape[-1])
    factor = square.add_(norm.variance_epsilon).rsqrt_()
    out: torch.Tensor = wide * factor if wide is states else wide.mul_(factor).to(states.dtype)
    out *= norm.weight
    return out


def turned(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotate features `i` and `i + width / 2` of `[T, heads, width]` by `[T, 1, width]`; may overwrite."""
    if _kernels.fit(states, cosine, sine, width=2 * _kernels.LANES):
        return _kernels.turned(states, cosine, sine)
    half = states.shape[-1] // 2
    first, second = states[..., :half], states[..., half:]
    out = states * cosine
    out[..., :half].addcmul_(second, sine[..., :half], value=-1)
    out[..., half:].addcmul_(first, sine[..., half:])
    return out
