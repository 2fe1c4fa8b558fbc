"""Random models of given sizes, and the embedded one."""

from __future__ import annotations

from typing import Any

import torch
import transformers

SHAPES = {
    "15M": (384, 1152, 6, 6, 6, 8192),
    "100M": (768, 2048, 12, 12, 12, 16384),
    "0.5B": (896, 4864, 24, 14, 2, 151936),
    "1B": (2048, 8192, 16, 32, 8, 128256),
    "3B": (3072, 8192, 28, 24, 8, 128256),
    "8B": (4096, 14336, 32, 32, 8, 128256),
}
"""Width, inner width, layers, heads, key-value heads, vocabulary; 0.5B is Qwen2.5's, 1B to 8B Llama 3's."""


def build(name: str, dtype: str, device: str) -> Any:
    """Return a model in evaluation mode: `embedded/SIZE`, or a random one of a shape in `SHAPES`."""
    if name.startswith("embedded/"):
        from promptopt.models.embedded import EmbeddedModel

        folder = EmbeddedModel(name.removeprefix("embedded/"))._folder
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        return model.to(device).eval()
    width, inner, layers, heads, kv_heads, vocabulary = SHAPES[name]
    config = transformers.LlamaConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocabulary, max_position_embeddings=2048,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.eval()
