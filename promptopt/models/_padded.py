"""Any causal language model, in padded batches: the plain path, for what the packed one does not know.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts.model import Completion, Failure, Likelihood
from ._batch import SHARED_TOKENS, Job, Pair, pack, shared
from ._network import Network, halving, likelihood
from ._rows import Row, advance


@dataclass
class PaddedEngine:
    """Completes and scores in batches of similar length.

    Attributes:
        network: the model.
        limit: most padded tokens in a batch.
    """

    network: Network
    limit: int

    def complete(
        self, jobs: Sequence[Job], admit: Callable[[Job], bool]
    ) -> Generator[tuple[Job, Completion | Failure]]:
        """Yield the completions, batch by batch, longest prompts first."""
        for batch in pack(jobs, self.limit, self.network.vocabulary):
            admitted = [job for job in batch if admit(job)]
            yield from zip(admitted, halving(self.complete_batch, admitted), strict=True)

    def score(
        self, pairs: Sequence[Pair], admit: Callable[[Pair], bool]
    ) -> Generator[tuple[Pair, Likelihood | Failure]]:
        """Yield the log-probabilities, batch by batch, longest first."""
        for batch in pack(pairs, self.limit, self.network.vocabulary):
            admitted = [pair for pair in batch if admit(pair)]
            yield from zip(admitted, halving(self.score_batch, admitted), strict=True)

    @torch.inference_mode()
    def complete_batch(self, jobs: Sequence[Job]) -> list[Completion | Failure]:
        """Complete jobs side by side; finished rows leave the batch."""
        rows = [Row(job) for job in jobs]
        prompts = [job.prompt for job in jobs]
        out, mask, positions = self._read(prompts, shared(prompts), keep=1, use_cache=True)
        live = list(rows)
        while True:
            tokens = advance(live, out.logits[:, -1], self.network.text)
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
    def score_batch(self, pairs: Sequence[Pair]) -> list[Likelihood | Failure]:
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
        return [
            likelihood(pair, value) for pair, value in zip(pairs, torch.stack(sums).tolist(), strict=True)
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
        return torch.tensor(values, device=self.network.device)

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
        accepted = {name: value for name, value in options.items() if name in self.network.accepted}
        embeds = self.network.virtual.embed(ids, self.network.model)
        given = {"input_ids": ids} if embeds is None else {"inputs_embeds": embeds}
        return self.network.model(
            **given, attention_mask=mask, past_key_values=cache, use_cache=use_cache, **accepted
        )
