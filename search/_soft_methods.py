"""Soft prompts under training: vectors, vectors behind a small network, keys and values of every layer.

Every method starts from vectors in the place of the embeddings of its virtual tokens. What is trained is
added to where it starts, in units of its root mean square: one learning rate then suits models whose
embeddings are large and such whose embeddings are small.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch.utils.checkpoint import checkpoint

from promptopt.contracts.model import GradientModel

from ._training_rows import TrainingRow, total_loss

INNER = 128
"""Width of the network behind which vectors are reparameterised."""


COMMON = 5000
"""Tokens of the vocabulary that count as common: byte-pair vocabularies begin with those merged first."""

Method = Literal["prompt_tuning", "p_tuning", "prefix_tuning"]


class SoftPrompt(Protocol):
    """Weights that make up a soft prompt of `vectors` virtual tokens."""

    weights: dict[str, torch.Tensor]

    def loss(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return the sum of the rows' losses."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the soft prompt as PEFT stores it: `prompt_embeddings`, a row a virtual token."""
        ...


class PromptTuning:
    """Vectors before the embeddings of the prompt.

    Source: Lester, Al-Rfou and Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning".
    """

    def __init__(self, model: GradientModel, start: torch.Tensor, *, recompute: bool = False) -> None:
        """Start from vectors `[tokens, hidden]`."""
        self._network = model.loaded().module
        self._recompute = recompute
        self._start = start.detach().float()
        self._unit = self._start.square().mean().sqrt()
        self.weights = {"steps": torch.zeros_like(self._start, requires_grad=True)}

    def vectors(self) -> torch.Tensor:
        """Return the vectors `[tokens, hidden]` in float32."""
        return self._start + self._unit * self.weights["steps"]

    def loss(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return the sum of the rows' losses."""
        with recomputing(self._network, self._recompute):
            return total_loss(rows, self._forward, self._network.device)

    def _forward(self, ids: torch.Tensor, keep: int) -> torch.Tensor:
        known = self._network.get_input_embeddings()(ids)
        mine = self.vectors().to(known.dtype).expand(len(ids), -1, -1)
        return last_logits(self._network, keep, inputs_embeds=torch.cat([mine, known], 1), use_cache=False)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the vectors."""
        return {"prompt_embeddings": self.vectors().detach()}


class PTuning(PromptTuning):
    """Vectors behind a network that they share; only what comes out of it is stored.

    Source: Liu et al. 2021, "GPT Understands, Too", section 3.2 (the network; theirs has an LSTM in front).
    That the network's output is added to the vectors is of Razdaibiedina et al. 2023, "Residual Prompt
    Tuning", section 2.2: training starts from the text that the vectors were made of.
    """

    def __init__(
        self, model: GradientModel, start: torch.Tensor, *, seed: int = 0, recompute: bool = False
    ) -> None:
        """Start from vectors `[tokens, hidden]`; the network, from the seed."""
        super().__init__(model, start, recompute=recompute)
        self.weights |= shared_network(start.shape[1], start.shape[1], seed, start.device)

    def vectors(self) -> torch.Tensor:
        """Return the vectors `[tokens, hidden]` in float32."""
        inside = self._start / self._unit + self.weights["steps"]
        return self._start + self._unit * (self.weights["steps"] + through(self.weights, inside))


class PrefixTuning:
    """Keys and values of every layer, for tokens before the prompt.

    Source: Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", sections 4.2
    (the prefix), 4.3 (the network behind which it is trained; only what comes out of it is stored) and 7.4
    (starting from the activations of real words).
    """

    def __init__(self, model: GradientModel, start: torch.Tensor, *, seed: int = 0) -> None:
        """Start from the keys and values that the model computes for vectors `[tokens, hidden]`."""
        self._network = model.loaded().module
        self._vectors = start.detach().float()
        self._embedded = self._vectors / self._vectors.square().mean().sqrt()
        self._start = flat_states(self._network, self._vectors)
        # Keys and values of each layer have sizes of their own.
        self._unit = self._start.square().mean((1, 2), keepdim=True).sqrt()
        groups, _, width = self._start.shape
        self.weights = {"steps": torch.zeros_like(self._start, requires_grad=True)}
        self.weights |= shared_network(start.shape[1], groups * width, seed, start.device)

    def states(self) -> torch.Tensor:
        """Return keys and values `[2 x layers, tokens, heads x width]`, in float32."""
        groups, tokens, width = self._start.shape
        made = through(self.weights, self._embedded).reshape(tokens, groups, width).transpose(0, 1)
        return self._start + self._unit * (self.weights["steps"] + made)

    def loss(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return the sum of the rows' losses."""
        return total_loss(rows, self._forward, self._network.device)

    def _forward(self, ids: torch.Tensor, keep: int) -> torch.Tensor:
        cache = cached(self._network, self.states(), len(ids))
        return last_logits(self._network, keep, input_ids=ids, past_key_values=cache, use_cache=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the prefix: a row a token; in it the layers' keys and values by turns."""
        states = self.states().detach()
        return {"prompt_embeddings": states.transpose(0, 1).flatten(1)}


def shared_network(inside: int, outside: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the weights of a network of one hidden layer; its output is 0 at first."""
    draws = torch.Generator().manual_seed(seed)
    into = torch.randn(inside, INNER, generator=draws) / inside**0.5
    made = {"into": into, "bias": torch.zeros(INNER), "out of": torch.zeros(INNER, outside)}
    return {name: weight.to(device).requires_grad_() for name, weight in made.items()}


def through(weights: dict[str, torch.Tensor], inside: torch.Tensor) -> torch.Tensor:
    """Return what the network makes of its input."""
    return torch.tanh(inside @ weights["into"] + weights["bias"]) @ weights["out of"]


@torch.no_grad()
def flat_states(network: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Return the keys and values of vectors `[tokens, hidden]`: `[2 x layers, tokens, heads x width]`."""
    out = network(inputs_embeds=vectors[None].to(network.dtype), use_cache=True)
    states = [one for layer in out.past_key_values.layers for one in (layer.keys, layer.values)]
    return torch.stack([one[0].transpose(0, 1).flatten(1).float() for one in states])


def cached(network: Any, states: torch.Tensor, rows: int) -> Any:
    """Return keys and values, as `flat_states` gives them, as a cache that `rows` sequences continue."""
    from transformers import DynamicCache

    text = network.config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    cache = DynamicCache(config=network.config)
    for layer, (key, value) in enumerate(zip(states[::2], states[1::2], strict=True)):
        split = [one.unflatten(1, (heads, -1)).transpose(0, 1).to(network.dtype) for one in (key, value)]
        cache.update(*(one.expand(rows, -1, -1, -1) for one in split), layer)
    return cache


def last_logits(network: Any, keep: int, **given: Any) -> torch.Tensor:
    """Run the network; return the logits of the last `keep` positions."""
    if "logits_to_keep" in inspect.signature(network.forward).parameters:
        given["logits_to_keep"] = keep
    return network(**given).logits[:, -keep:]  # type: ignore[no-any-return]


@contextmanager
def recomputing(network: Any, wanted: bool) -> Iterator[None]:
    """Let the layers keep no activations, but compute them again on the way back, if that is wanted.

    Only the flag that transformers looks at is set: dropout stays off.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [m for m in network.modules() if wanted and isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False


def make_soft_prompt(
    method: Method, model: GradientModel, start: torch.Tensor, *, seed: int, recompute: bool
) -> SoftPrompt:
    """Return a soft prompt to be trained from vectors `[tokens, hidden]`."""
    if method == "prompt_tuning":
        return PromptTuning(model, start, recompute=recompute)
    if method == "p_tuning":
        return PTuning(model, start, seed=seed, recompute=recompute)
    return PrefixTuning(model, start, seed=seed)


def embed_text(model: GradientModel, text: str, count: int) -> torch.Tensor:
    """Return the embeddings `[count, hidden]` of a text's tokens, cut or repeated to `count`.

    Source: Lester et al. 2021, section 3.2, "class label" initialisation, with any text.
    """
    ids = model.loaded().tokenizer(text, add_special_tokens=False)["input_ids"]
    return _embed(model, [ids[place % len(ids)] for place in range(count)])


def embed_vocabulary(model: GradientModel, count: int, seed: int, special: set[int]) -> torch.Tensor:
    """Return the embeddings `[count, hidden]` of tokens drawn from the 5,000 first, the most common ones.

    Source: Lester et al. 2021, section 3.2, "sampled vocabulary".
    """
    size = len(model.loaded().module.get_input_embeddings().weight)
    common = [token for token in range(size) if token not in special][:COMMON]
    return _embed(model, random.Random(f"vocabulary {seed}").choices(common, k=count))


def embed_random(model: GradientModel, count: int, seed: int) -> torch.Tensor:
    """Return random vectors `[count, hidden]`; each column has the mean and spread of the embeddings'."""
    weights: torch.Tensor = model.loaded().module.get_input_embeddings().weight.float()
    draws = torch.randn(count, weights.shape[1], generator=torch.Generator().manual_seed(seed))
    return weights.mean(0) + weights.std(0) * draws.to(weights.device)


def _embed(model: GradientModel, ids: Sequence[int]) -> torch.Tensor:
    network = model.loaded().module
    with torch.no_grad():
        embedded: torch.Tensor = network.get_input_embeddings()(torch.tensor(ids, device=network.device))
    return embedded.float()
