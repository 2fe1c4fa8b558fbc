"""Soft prompts, LoRA and IA3 as PEFT keeps them (`adapter_config.json`, `adapter_model.safetensors`).

Exported folders load with `peft.PeftModel.from_pretrained` and give the logits of the engine, a row at a
time; in left-padded batches PEFT's own are wrong (it puts the vectors in front of the padding). Only
safetensors are read: pickled weights (`adapter_model.bin`) can run code. PEFT itself is not needed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from .adapter import Adapter, read_bytes, unpack, write_whole
from .contracts.model import Failure, GradientModel, LikelihoodRequest
from .errors import ConfigError, DataError
from .prompt import Prompt
from .records import Example

TYPES = {
    "prompt_tuning": "PROMPT_TUNING",
    "p_tuning": "P_TUNING",
    "prefix_tuning": "PREFIX_TUNING",
    "lora": "LORA",
    "ia3": "IA3",
}
"""Our names of the methods, and PEFT's."""
CUTS = {"lora": ".lora_", "ia3": ".ia3_"}
"""Where the name of a module ends in the names of its tensors."""
CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


def export_peft(adapter: Adapter, folder: str | Path, *, base: str) -> Path:
    """Write trained weights as a PEFT adapter, and return its folder.

    Args:
        adapter: of a prompt.
        folder: made if it is not there.
        base: name or folder of the model it was trained for, as PEFT's users will load it.

    Raises:
        ConfigError: PEFT has no such method.
        DataError: the weights are not here.
    """
    target = Path(folder)
    for name, content in peft_files(adapter, base=base).items():
        write_whole(target / name, content)
    return target


def peft_files(adapter: Adapter, *, base: str) -> dict[str, bytes]:
    """Return the files of a PEFT adapter by name; see `export_peft`."""
    if adapter.method not in TYPES:
        raise ConfigError(
            "export", "this method is not written for PEFT", got=adapter.method, do=f"use {', '.join(TYPES)}"
        )
    tensors, options = adapter.read()
    config = {
        "peft_type": TYPES[adapter.method],
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        **(_soft_config if adapter.vectors else _changed_config)(adapter.method, tensors, options),
    }
    assert adapter.file is not None
    return {WEIGHTS: adapter.file.read_bytes(), CONFIG: (json.dumps(config, indent=2) + "\n").encode()}


def _soft_config(method: str, tensors: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    count, width = tensors["prompt_embeddings"].shape
    config = {"num_virtual_tokens": count, "num_transformer_submodules": 1, "token_dim": width}
    if method == "prefix_tuning":
        layers = options["layers"]
        config |= {"num_layers": layers, "num_attention_heads": options["heads"]}
        config |= {"token_dim": width // (2 * layers), "prefix_projection": False}
    if method == "p_tuning":  # its network is folded into the vectors
        config |= {"encoder_hidden_size": width}
    return config


def _changed_config(method: str, tensors: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    from .changed_weights import PEFT_PREFIX

    names = {name: name.removeprefix(PEFT_PREFIX).rsplit(CUTS[method], 1)[0] for name in tensors}
    config: dict[str, Any] = {"target_modules": sorted(set(names.values()))}
    if method == "lora":
        width = options["width"]
        return config | {"r": width, "lora_alpha": options["scale"] * width, "bias": "none"}
    inner = sorted(names[name] for name, factor in tensors.items() if factor.shape[0] == 1)
    return config | {"feedforward_modules": inner}


def import_peft(folder: str | Path, model: GradientModel, into: str | Path) -> Adapter:
    """Read a PEFT adapter that was trained for `model`; its weights are copied into the folder `into`.

    Raises:
        DataError: the folder holds no such adapter, pickled weights, or one of another size.
    """
    source = Path(folder)
    where = f"adapter {source}"
    if not (source / WEIGHTS).is_file() and (source / PICKLED).exists():
        raise DataError(
            where, f"its weights are pickled ({PICKLED}), which can run code, and are never loaded",
            do="save it again with safe_serialization=True",
        )  # fmt: skip
    config = _config(source, where)
    kind = config.get("peft_type")
    method = next((ours for ours, theirs in TYPES.items() if theirs == kind), None)
    if method is None:
        raise DataError(where, "is of a type not read here", got=kind, do=f"give {', '.join(TYPES.values())}")
    tensors, _ = unpack(read_bytes(source / WEIGHTS, where), where)
    if method in CUTS:
        return _import_changes(config, tensors, method, model, Path(into), where)
    weights = tensors.get("prompt_embeddings")
    if weights is None or weights.ndim != 2:
        raise DataError(where, "holds no prompt_embeddings", got=sorted(tensors))
    return Adapter.write(
        Path(into),
        {"prompt_embeddings": weights.float()},
        method=method,
        model=model.identity.revision,
        vectors=len(weights),
        options=prefix_sizes(model) if method == "prefix_tuning" else None,
    )


def _import_changes(
    config: dict[str, Any],
    tensors: dict[str, Any],
    method: str,
    model: GradientModel,
    into: Path,
    where: str,
) -> Adapter:
    """Read LoRA or IA3; refuse what would be left out, for the model would then not be the one trained."""
    from .changed_weights import PARTS, linear_maps

    maps = linear_maps(model.loaded().module)
    known = {name for module in maps for name in PARTS[method](module)}
    if strange := sorted(set(tensors) - known):
        raise DataError(where, "holds weights that are not read here", got=strange[0], do="train it without")
    for option in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if config.get(option):
            raise DataError(where, f"uses {option}, which is not read here", do="train it without")
    options = None
    if method == "lora":
        width = int(config["r"])
        scale = config["lora_alpha"] / (width**0.5 if config.get("use_rslora") else width)
        options = {"scale": scale, "width": width}
    floats = {name: tensor.float() for name, tensor in tensors.items()}
    revision = model.identity.revision
    return Adapter.write(into, floats, method=method, model=revision, options=options)


def prefix_sizes(model: GradientModel) -> dict[str, int]:
    """Return the numbers of layers and of key-value heads of a model."""
    config = model.loaded().module.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return {"layers": config.num_hidden_layers, "heads": heads}


def prompt_embeddings(model: GradientModel, prompt: Prompt, example: Example) -> Any:
    """Return a row's prompt as embeddings `[tokens, hidden]`, the soft prompt's vectors in front.

    That is what servers take that accept prompt embeddings: with vLLM (`--enable-prompt-embeds`), send
    `prompt_embeds`, the base64 of what `torch.save` writes of it, to `/v1/completions`.

    Raises:
        ConfigError: the prompt has no vectors (prefix tuning has keys and values, which servers do not take).
        DataError: the row cannot be rendered for the model.
    """
    import torch

    adapter = prompt.adapter
    if adapter is None or adapter.method not in ("prompt_tuning", "p_tuning"):
        got = None if adapter is None else adapter.method
        raise ConfigError("prompt_embeddings", "the prompt has no vectors", got=got, do="use prompt tuning")
    plain = replace(prompt, adapter=None)
    (tokens,) = model.tokenise([LikelihoodRequest(plain.render(example), "")])
    if isinstance(tokens, Failure):
        raise DataError(f"row {example.id}", tokens.message)
    network = model.loaded().module
    ids = torch.tensor(tokens.prompt, device=network.device)
    with torch.no_grad():
        known = network.get_input_embeddings()(ids)
    vectors = adapter.read()[0]["prompt_embeddings"]
    return torch.cat([vectors.to(known.device, known.dtype), known])


def _config(source: Path, where: str) -> dict[str, Any]:
    data = read_bytes(source / CONFIG, where)
    try:
        config = json.loads(data)
    except ValueError as error:
        raise DataError(where, f"{CONFIG} is no JSON") from error
    if not isinstance(config, dict):
        raise DataError(where, f"{CONFIG} holds no object", got=config)
    return config
