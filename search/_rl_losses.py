"""Losses that TRL's trainers do not have, as classes to put before a trainer's own."""

from __future__ import annotations

from typing import Any

ENTROPY_DELTA = 0.005
"""How fast the bonus on entropy grows, a step: TRL's default for GRPO."""


class Drawing:
    """What makes a trainer draw only: at a learning rate of zero gradients would be computed in vain."""

    def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
        """Return a loss that is zero everywhere."""
        return next(model.parameters()).sum() * 0.0


class Floored:
    """What gives TRL's RLOO the entropy bonus that its GRPO has: adaptive, on each token.

    The coefficient grows by `ENTROPY_DELTA` with each optimizer step that ends below the floor, shrinks by
    as much with each other one, and counts only below the floor (He et al. 2025, "Skywork Open Reasoner 1",
    arXiv 2505.22312, section 4). It follows from the trainer's own log, which is part of its checkpoints.
    """

    entropy_floor: float

    def _get_per_token_logps_and_entropies(self, *args: Any, **options: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **options)  # type: ignore[misc]
        self._entropies = found[1]  # [proposals, tokens], nats; with a gradient where the policy learns
        return found

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)  # type: ignore[misc]
        mask = inputs["completion_mask"]
        return loss - self.entropy_coefficient * (self._entropies * mask).sum() / mask.sum().clamp(min=1)

    @property
    def entropy_coefficient(self) -> float:
        """What a nat a token is worth in this optimizer step."""
        log = self.state.log_history  # type: ignore[attr-defined]
        below = [entry["entropy"] <= self.entropy_floor for entry in log if "entropy" in entry]
        coefficient = 0.0
        for low in below:
            coefficient = min(max(coefficient + (ENTROPY_DELTA if low else -ENTROPY_DELTA), 0.0), 1.0)
        return coefficient if below and below[-1] else 0.0
