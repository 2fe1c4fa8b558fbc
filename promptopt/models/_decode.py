"""Complete and score batches of token sequences with a causal language model; knows nothing of messages.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..contracts.model import Completion, Failure, Likelihood
from ..records import Usage
from ._batch import SHARED_TOKENS, Job, Pair, shared
from ._text import cut


@dataclass(slots=True)
class _Row:
    """A job under way."""

    job: Job
    draws: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reply: Completion | None = None

    def take(self, token: int, logprob: float | None, text: Callable[[Sequence[int]], str]) -> None:
        """Append a token; set `reply` when it ends the completion."""
        self.tokens.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        decoding = self.job.decoding
        if token in self.job.ends:
            self.end(text(self.tokens[:-1]), "stop")
            return
        if decoding.stop:
            so_far = text(self.tokens)
            kept = cut(so_far, decoding.stop)
            if len(kept) < len(so_far):
                self.end(kept, "stop")
                return
        if len(self.tokens) >= decoding.max_tokens:
            self.end(text(self.tokens), "length")

    def end(self, text: str, finish: str) -> None:
        """Set the reply."""
        usage = Usage(len(self.job.prompt), len(self.tokens))
        told = min(0.0, math.fsum(self.logprobs) / len(self.logprobs)) if self.job.logprobs else None
        self.reply = Completion(text, finish, usage, logprob=told)


@dataclass(frozen=True)
class Decoder:
    """A causal language model and its decode loop.

    Attributes:
        model: a transformers causal language model in evaluation mode.
        tokenizer: turns its tokens into text.
    """

    model: Any
    tokenizer: Any

    def text(self, ids: Sequence[int]) -> str:
        """Turn tokens into text, without special ones."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @cached_property
    def accepted(self) -> frozenset[str]:
        """The names of what the model's forward takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @torch.inference_mode()
    def complete(self, jobs: Sequence[Job]) -> list[Completion | Failure]:
        """Complete jobs side by side; finished rows leave the batch."""
        rows = [_Row(job, np.random.default_rng(job.seed)) for job in jobs]
        prompts = [job.prompt for job in jobs]
        out, mask, positions = self._read(prompts, shared(prompts), keep=1, use_cache=True)
        live = list(rows)
        while True:
            tokens = choose(out.logits[:, -1], live)
            told: Sequence[float | None] = [None] * len(live)
            if any(row.job.logprobs for row in live):
                logprobs = out.logits[:, -1].float().log_softmax(-1)
                told = logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
            for row, token, logprob in zip(live, tokens.tolist(), told, strict=True):
                row.take(token, logprob, self.text)
            going = [index for index, row in enumerate(live) if row.reply is None]
            if not going:
                return [row.reply for row in rows if row.reply is not None]
            if len(going) < len(live):
                index = torch.tensor(going, device=mask.device)
                out.past_key_values.reorder_cache(index)
                tokens, mask, positions = tokens[index], mask[index], positions[index]
                live = [live[k] for k in going]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            positions = positions + 1
            cache = out.past_key_values
            out = self._forward(tokens[:, None], mask, positions, cache, keep=1)

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[Likelihood | Failure]:
        """Sum the log-probabilities (nats) of each continuation given its prompt."""
        sequences = [pair.prompt + pair.continuation for pair in pairs]
        keep = max(pair.kept for pair in pairs)
        common = shared([pair.prompt for pair in pairs])
        logits = self._read(sequences, common, keep=keep, use_cache=False)[0].logits
        sums = []
        # Row by row: a float32 copy of all rows would double the memory of half-precision models.
        for row, pair in enumerate(pairs):
            targets = torch.tensor(pair.continuation, dtype=torch.long, device=logits.device)
            logprobs = logits[row, -pair.kept : -1].float().log_softmax(-1)
            sums.append(logprobs.gather(-1, targets[:, None]).sum())
        values = torch.stack(sums).tolist()
        return [
            Likelihood(min(value, 0.0), len(pair.continuation), Usage(pair.width))
            if math.isfinite(value)
            else Failure("malformed", f"the log-probability is {value}; try dtype float32")
            for value, pair in zip(values, pairs, strict=True)
        ]

    def _read(
        self, sequences: Sequence[tuple[int, ...]], common: int, *, keep: int, use_cache: bool
    ) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Run the model over sequences whose first `common` tokens are equal; read those only once.

        Returns:
            The model's output (logits of the last `keep` positions, cache), the attention mask
            [batch, tokens], and the position of each row's last token [batch, 1].
        """
        cache = None
        if common >= SHARED_TOKENS and len(sequences) > 1:
            cache = self._prefix(sequences[0][:common], len(sequences))
        start = common if cache is not None else 0
        width = max(map(len, sequences)) - start
        pads = [width - (len(s) - start) for s in sequences]
        # Padding stands between the common tokens and a row's own. Its id does not matter: the mask hides it.
        ids = self._tensor([[0] * pad + list(s[start:]) for pad, s in zip(pads, sequences, strict=True)])
        mask = self._tensor([[1] * start + [0] * pad + [1] * (width - pad) for pad in pads])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self._forward(
            ids, mask, positions[:, start:], cache, keep=keep, use_cache=use_cache or start > 0
        )
        return out, mask, positions[:, -1:]

    def _prefix(self, tokens: tuple[int, ...], rows: int) -> Any:
        """Return the cache of `tokens`, repeated for each row; None if the model cannot share it exactly."""
        from transformers.cache_utils import DynamicLayer

        ids = self._tensor([list(tokens)])
        mask = torch.ones_like(ids)
        cache = self._forward(ids, mask, mask.cumsum(1) - 1, keep=1).past_key_values
        # A sliding window counts the padding behind the prefix as distance, a recurrent state cannot skip it.
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None
        cache.batch_repeat_interleave(rows)
        return cache

    def _tensor(self, values: list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, device=self.model.device)

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: Any = None,
        *,
        keep: int,
        use_cache: bool = True,
    ) -> Any:
        # Models without position embeddings (ALiBi) take no position_ids and read the mask instead.
        options = {"position_ids": positions, "logits_to_keep": keep}
        accepted = {name: value for name, value in options.items() if name in self.accepted}
        return self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=use_cache, **accepted
        )


def choose(logits: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """Return the next token of each row [batch] from its logits [batch, vocab]."""
    tokens = logits.argmax(-1)
    sampled = [k for k, row in enumerate(rows) if row.job.decoding.temperature > 0]
    if sampled:
        decodings = [rows[k].job.decoding for k in sampled]
        tokens[sampled] = draw(
            logits[sampled].float(),
            logits.new_tensor([d.temperature for d in decodings], dtype=torch.float32),
            logits.new_tensor([d.top_p for d in decodings], dtype=torch.float32),
            # 24 bits, so that the draw is below 1 in float32 as well.
            logits.new_tensor(
                [int(rows[k].draws.integers(1 << 24)) / (1 << 24) for k in sampled], dtype=torch.float32
            ),
        )
    return tokens


def draw(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Sample one token a row by inverting the cumulative distribution at `uniform`.

    The cumulation runs in vocabulary order, not in order of probability: rounding differences between
    batches then move a boundary by an epsilon, but never swap two tokens.

    Args:
        logits: float32 [n, vocab].
        temperature: [n], above 0.
        top_p: [n], nucleus mass in (0, 1].
        uniform: [n], in [0, 1).
    """
    probabilities = (logits / temperature[:, None]).softmax(-1)
    if bool((top_p < 1).any()):
        ranked, order = probabilities.sort(dim=-1, descending=True)
        before = ranked.cumsum(-1) - ranked
        # The most probable token always stays, also where rounding says otherwise.
        outside = before >= top_p[:, None]
        outside[:, 0] = False
        probabilities = torch.zeros_like(ranked).scatter(-1, order, ranked.masked_fill(outside, 0.0))
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = probabilities.cumsum(-1, dtype=exact)
    total = cumulative[:, -1:].contiguous()
    # right=True skips tokens of probability 0; the last one that has any is where the total is reached.
    found = torch.searchsorted(cumulative, uniform[:, None].to(exact) * total, right=True)
    last = torch.searchsorted(cumulative, total)
    return torch.minimum(found, last)[:, 0]
