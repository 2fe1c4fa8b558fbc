"""Jobs under way, and how their next tokens are chosen.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..contracts.model import Completion
from ..records import Usage
from ._batch import Job
from ._text import cut


@dataclass(slots=True)
class Row:
    """A job under way."""

    job: Job
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reply: Completion | None = None
    draws: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        """Seed the draws."""
        self.draws = np.random.default_rng(self.job.seed)

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


def advance(rows: Sequence[Row], logits: torch.Tensor, text: Callable[[Sequence[int]], str]) -> torch.Tensor:
    """Give each row its next token, chosen from its logits `[rows, vocab]`; return the tokens `[rows]`."""
    tokens = choose(logits, rows)
    told: Sequence[float | None] = [None] * len(rows)
    if any(row.job.logprobs for row in rows):
        told = logits.float().log_softmax(-1).gather(-1, tokens[:, None])[:, 0].tolist()
    for row, token, logprob in zip(rows, tokens.tolist(), told, strict=True):
        row.take(token, logprob, text)
    return tokens


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
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
        # Stable: which of equally probable tokens are in the nucleus is no accident of the sort.
        ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
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
