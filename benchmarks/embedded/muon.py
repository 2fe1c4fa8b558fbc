"""Muon in float32, its work shared out among processes (Jordan et al., "Muon", 2024).

`torch.optim.Muon` works in bfloat16, which is ten times slower on a processor without instructions for it,
and repeats in every process what one of them could do for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return nearby matrices `[matrices, rows, columns]`, rows <= columns, whose singular values are near 1.

    Five Newton-Schulz steps X <- aX + (bA + cA^2)X with A = XX^T.
    """
    a, b, c = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon:
    """Moves matrices by their orthogonalized momentum.

    Every process keeps the momentum of all matrices (which is cheap) and orthogonalizes its share (which
    is dear): their weights stay equal, and any process can save the state.

    Args:
        matrices: the parameters, equal in all processes.
        momentum: Nesterov's.
        decay: of the weights, times the learning rate.
        rank: of this process.
        world: number of processes.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        momentum: float = 0.95,
        decay: float = 0.01,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.matrices = list(matrices)
        self.momentum, self.decay = momentum, decay
        self.rank, self.world = rank, world
        self.averages = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the matrices along their gradients, which are the same in all processes."""
        gradients = [matrix.grad for matrix in self.matrices]
        torch._foreach_lerp_(self.averages, gradients, 1 - self.momentum)
        updates = self._orthogonal(torch._foreach_lerp(gradients, self.averages, self.momentum))
        torch._foreach_mul_(self.matrices, 1 - rate * self.decay)
        for matrix, update in zip(self.matrices, updates, strict=True):
            matrix.sub_(update, alpha=rate * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5)

    def _orthogonal(self, updates: Sequence[Tensor]) -> list[Tensor]:
        # Lying matrices of one size go together, which keeps the products large; the processes take turns.
        shapes: dict[tuple[int, ...], list[int]] = {}
        for place, update in enumerate(updates):
            shapes.setdefault(tuple(sorted(update.shape)), []).append(place)
        flat = torch.zeros(sum(update.numel() for update in updates), device=updates[0].device)
        done = [
            piece.view_as(update)
            for piece, update in zip(flat.split([u.numel() for u in updates]), updates, strict=True)
        ]
        for places in shapes.values():
            mine = places[self.rank :: self.world]
            if mine:
                tall = [updates[place].shape[0] > updates[place].shape[1] for place in mine]
                lying = [updates[p].mT if t else updates[p] for p, t in zip(mine, tall, strict=True)]
                for place, turned, new in zip(mine, tall, orthogonalize(torch.stack(lying)), strict=True):
                    done[place].copy_(new.mT if turned else new)
        if self.world > 1:
            dist.all_reduce(flat)
        return done
