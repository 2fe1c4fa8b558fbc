"""Changes of a model's weights under training.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from promptopt.changed_weights import changed, fresh
from promptopt.contracts.model import GradientModel

from ._soft_methods import last_logits
from ._training_rows import TrainingRow, total_loss


class ChangedModel:
    """A model whose weights are changed by a method: a specialist for one task."""

    def __init__(self, model: GradientModel, method: str, *, width: int, scale: float, seed: int) -> None:
        """Start with a change that changes nothing."""
        self._network = model.loaded().module
        self._method, self._scale = method, scale
        made = fresh(self._network, method, width=width, seed=seed)
        self.weights = {name: tensor.requires_grad_() for name, tensor in made.items()}

    def loss(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return the sum of the rows' losses."""
        device = self._network.device
        if self._method == "full":
            return total_loss(rows, self._whole, device)
        with changed(self._network, self._method, self.weights, self._scale):
            return total_loss(rows, self._forward, device)

    def _forward(self, ids: torch.Tensor, keep: int) -> torch.Tensor:
        return last_logits(self._network, keep, input_ids=ids, use_cache=False)

    def _whole(self, ids: torch.Tensor, keep: int) -> torch.Tensor:
        """Run the network with all its weights replaced: gradients flow to the replacements."""
        given = {"input_ids": ids, "use_cache": False}
        weights = {name: weight.to(self._network.dtype) for name, weight in self.weights.items()}
        out = torch.func.functional_call(self._network, weights, kwargs=given)
        return out.logits[:, -keep:]  # type: ignore[no-any-return]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights; those of a whole model in its own number format."""
        found = {name: weight.detach() for name, weight in self.weights.items()}
        if self._method == "full":
            found = {name: tensor.to(self._network.dtype) for name, tensor in found.items()}
        return found
