"""Attention in parts: each part of what is seen on its own, merged by the logarithms of their sums.

On a CPU torch's kernel attends to a part, elsewhere its products do. Sources: Dao et al. 2022,
"FlashAttention", section 3.1 (the merge); Juravsky et al. 2024, "Hydragen: High-Throughput LLM Inference with
Shared Prefixes", section 3.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

HIDDEN = -1e30
"""What masks add where nothing may be seen: finite, so that a part without anything to see has weight 0."""

LANES = 16
"""The CPU's kernel takes so many keys at once, and those that are left over one by one."""
WORTH = 32
"""From so many queries on it is worth copying keys so that none is left over."""

Scores = tuple[torch.Tensor, torch.Tensor]
"""Attention's output `[.., heads, queries, width]`; in float32, its log-sum-exp `[.., heads, queries]`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a layer attends: the factor on the products, the sliding window (tokens), the cap on products."""

    scale: float
    window: int | None
    cap: float | None


def part(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rule: Rule,
    mask: torch.Tensor | None = None,
    causal: bool = False,
) -> Scores:
    """Attend to one part of what is seen; shapes `[batch, heads, tokens, width]`, the mask broadcasts."""
    if by_kernel(query, rule):
        more = missing(key.shape[-2])
        if more and not causal and query.shape[-2] >= WORTH:
            mask = query.new_zeros(1, key.shape[-2]) if mask is None else mask
            mask = pad(mask, (0, more), value=_least(mask.dtype))
            key, value = pad(key, (0, 0, 0, more)), pad(value, (0, 0, 0, more))
        scores: Scores = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=rule.scale
        )
        return scores
    products = (query @ key.transpose(-1, -2)).float() * rule.scale
    if rule.cap is not None:
        products = torch.tanh(products / rule.cap) * rule.cap
    if causal:
        size = products.shape[-1]
        mask = additive(
            torch.ones(size, size, dtype=torch.bool, device=products.device).tril(), products.dtype
        )
    if mask is not None:
        products = products + mask
    total = products.logsumexp(-1)
    return (products - total[..., None]).exp().to(value.dtype) @ value, total


def merge(out: torch.Tensor, total: torch.Tensor, more: Scores) -> None:
    """Merge the scores of a further part into `out` and `total`, in place."""
    weight = torch.sigmoid(more[1] - total)[..., None]
    if out.dtype == torch.float32:
        out.lerp_(more[0], weight)
    else:
        out.copy_(torch.lerp(out.float(), more[0].float(), weight))
    total.copy_(torch.logaddexp(total, more[1]))


def joined(scores: Sequence[Scores]) -> Scores:
    """Put the tiles one behind the other."""
    if len(scores) == 1:
        return scores[0]
    # Laid out by tokens, as the kernel returns them and the model wants them.
    out = torch.cat([out.transpose(1, 2) for out, _ in scores], 1).transpose(1, 2)
    return out, torch.cat([total for _, total in scores], 2)


def by_kernel(query: torch.Tensor, rule: Rule) -> bool:
    """Return whether torch's kernel for CPUs attends."""
    return query.device.type == "cpu" and rule.cap is None


def missing(keys: int) -> int:
    """Return how many keys more the kernel would take as soon as these."""
    return -keys % LANES


def evened(low: int, high: int, size: int) -> slice:
    """Return the range, and so much more of `size` tokens that no key is left over, if there is so much."""
    more = missing(high - low)
    after = min(more, size - high)
    return slice(low - more + after, high + after) if more - after <= low else slice(low, high)


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the mask to be added, for one that says what is seen."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, _least(dtype))


def _least(dtype: torch.dtype) -> float:
    return max(HIDDEN, torch.finfo(dtype).min)


def beyond(depths: torch.Tensor, start: int, count: int, window: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the mask `[queries, keys]` of a sliding window over so many keys from depth `start` on."""
    at = torch.arange(start, start + count, device=depths.device)
    return additive(depths[:, None] - at[None] < window, dtype)
