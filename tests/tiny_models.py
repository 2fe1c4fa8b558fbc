"""Tiny models with random weights, saved as ordinary Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FIM = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
CHAT = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    "<u>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def save_tokenizer(folder: Path, *, special: tuple[str, ...] = (), chat: str | None = None) -> int:
    """Save a byte-level tokenizer; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<bos>", "<eos>", "<u>", "<a>", *special]
    vocabulary = {name: index for index, name in enumerate(names)}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=["<u>", "<a>", *special],
    )
    if chat is not None:
        fast.chat_template = chat
    fast.save_pretrained(str(folder))
    return len(vocabulary)


def save_model(folder: Path, kind: str = "llama", *, context: int = 256, **tokenizer: Any) -> Path:
    """Save a random model of an architecture, large weights so that replies differ."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = save_tokenizer(folder, **tokenizer)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    usual = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
        "initializer_range": 0.3,
        **ends,
    }
    old = {"vocab_size": size, "n_layer": 2, "n_head": 2, "initializer_range": 0.3, **ends}
    configs = {
        "llama": lambda: transformers.LlamaConfig(**usual),
        "mistral": lambda: transformers.MistralConfig(**usual, sliding_window=6, head_dim=16),
        "qwen2": lambda: transformers.Qwen2Config(**usual),
        "qwen3": lambda: transformers.Qwen3Config(**usual, head_dim=16),
        "gemma3": lambda: transformers.Gemma3TextConfig(**usual, head_dim=16, sliding_window=6),
        "gemma2": lambda: transformers.Gemma2Config(**usual, head_dim=16, sliding_window=6),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(
            **{key: value for key, value in usual.items() if key != "num_key_value_heads"}
        ),
        "gpt2": lambda: transformers.GPT2Config(**old, n_embd=32, n_positions=context),
        "bloom": lambda: transformers.BloomConfig(**old, hidden_size=32),
    }
    torch.set_num_threads(1)  # threads of tests that run side by side would wait for each other
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(configs[kind]())
    model.save_pretrained(str(folder))
    return folder
