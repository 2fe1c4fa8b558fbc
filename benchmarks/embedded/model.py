"""The shapes of the embedded models, their initial weights, and a forward pass that is fast to train with.

Knows nothing of documents or schedules: it takes token numbers, positions and a mask of who may see whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

PAD, BOS, EOS = 0, 1, 2
THETA, EPSILON = 10_000.0, 1e-6
LONGEST = 1024
"""Tokens of the longest text the models can read."""


@dataclass(frozen=True)
class Shape:
    """The shape of a model.

    Attributes:
        hidden: width of the residual stream.
        layers: number of blocks.
        heads: attention heads; `hidden / heads` is 32 or 64.
        intermediate: width of the gated layer.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int


# With 4,700 tokens: 1.1, 3.4 and 7.7 million parameters, 24.4 MB of bfloat16 together (in one wheel), and
# 31 million, which is for studies of size.
SIZES = {
    "tiny": Shape(hidden=128, layers=3, heads=4, intermediate=256),
    "small": Shape(hidden=192, layers=6, heads=6, intermediate=480),
    "medium": Shape(hidden=256, layers=8, heads=8, intermediate=704),
    "large": Shape(hidden=512, layers=9, heads=8, intermediate=1408),
}


def build(shape: Shape, vocab_size: int) -> LlamaForCausalLM:
    """Return a model of that shape with transformers' usual initial weights, in float32."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=LONGEST,
            rms_norm_eps=EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )


@torch.no_grad()
def relate_word_forms(model: LlamaForCausalLM, vocabulary: Mapping[str, int]) -> None:
    """Start `dog`, ` dog`, `Dog` and ` Dog` from one vector, plus one for the space and one for the capital.

    What the model learns of a word in one form then holds for the others, too, which a small model trained
    on few tokens would otherwise have to learn four times.

    Args:
        model: changed in place.
        vocabulary: byte-level tokens (a leading space is `Ġ`) and their numbers.
    """
    embeddings = model.get_input_embeddings().weight
    spread = model.config.initializer_range
    space, capital = spread * torch.randn(2, embeddings.shape[1])
    shared: dict[str, Tensor] = {}
    # Sorted by number: the order of a vocabulary loaded from disk differs from process to process.
    for token, number in sorted(vocabulary.items(), key=lambda entry: entry[1]):
        word = token.removeprefix("Ġ")
        if len(word) > 1 and word.isalpha():
            base = shared.setdefault(word.lower(), embeddings[number].clone())
            embeddings[number] = base + space * (word != token) + capital * word[0].isupper()


@lru_cache(maxsize=4)
def _turns(head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the rotary embedding, `[positions, head_dim]` each."""
    rates = THETA ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(LONGEST).float(), rates).repeat(1, 2).to(device)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


def block(x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """Return the residual stream `[rows, length, hidden]` after one block of the transformer.

    A function of tensors only, so that one compiled version of it serves all layers.

    Args:
        x: the residual stream before, `[rows, length, hidden]`.
        cosine: of the rotary embedding, `[rows, 1, length, head_dim]`.
        sine: likewise.
        mask: true where a token (first of the two) may see another, `[rows, 1, length, length]`.
        weights: as `layer_weights` returns them.
    """
    norm, attend, output, second_norm, gates, down = weights
    rows, length, hidden = x.shape
    head_dim = cosine.shape[-1]
    read = F.linear(F.rms_norm(x, (hidden,), norm, EPSILON), attend)
    query, key, value = read.view(rows, length, 3, hidden // head_dim, head_dim).permute(2, 0, 3, 1, 4)
    query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    x = x + F.linear(seen.transpose(1, 2).reshape(rows, length, hidden), output)
    gate, up = F.linear(F.rms_norm(x, (hidden,), second_norm, EPSILON), gates).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, down)


Block = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, ...]], Tensor]


def layer_weights(layer: torch.nn.Module) -> tuple[Tensor, ...]:
    """Return a layer's weights: query, key, value are joined in one matrix, gate and up in another.

    Joining is cheap, and two wide products are faster than five narrow ones.
    """
    attention, gated = layer.self_attn, layer.mlp
    return (
        layer.input_layernorm.weight,
        torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]),
        attention.o_proj.weight,
        layer.post_attention_layernorm.weight,
        torch.cat([gated.gate_proj.weight, gated.up_proj.weight]),
        gated.down_proj.weight,
    )


def forward(
    model: LlamaForCausalLM, ids: Tensor, positions: Tensor, mask: Tensor, step: Block = block
) -> Tensor:
    """Return the final hidden states `[rows, length, hidden]`, which transformers would multiply by the head.

    Args:
        model: any Llama model without grouped queries.
        ids: tokens, `[rows, length]`.
        positions: of the tokens in their documents, `[rows, length]`.
        mask: true where a token may see another, `[rows, length, length]`.
        step: `block`, or a compiled version of it.
    """
    inner = model.model
    cosine, sine = (table[positions].unsqueeze(1) for table in _turns(model.config.head_dim, ids.device))
    x = F.embedding(ids, inner.embed_tokens.weight)
    for layer in inner.layers:
        x = step(x, cosine, sine, mask.unsqueeze(1), layer_weights(layer))
    return F.rms_norm(x, (x.shape[-1],), inner.norm.weight, EPSILON)
