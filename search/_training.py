"""Training weights through a frozen model: steps of AdamW that end the same wherever they are killed.

Knows nothing of what the weights are: a `Tuned` turns them into a loss. The order of the rows follows from
the seed alone, and a checkpoint holds all else, so a training that is taken up again goes on bit by bit as if
nothing had happened (on the same machine, with the same number of threads).

Source of the optimizer: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from promptopt.adapter import METADATA, Adapter, unpack, write_whole

from ._training_rows import TrainingRow

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Tuned(Protocol):
    """Weights under training, and what they do.

    Attributes:
        weights: leaf tensors in float32, by name.
    """

    weights: dict[str, torch.Tensor]

    def loss(self, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Return the sum of the rows' losses (nats), and lets gradients flow to the weights."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is stored of them, in float32."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """How weights are trained.

    Attributes:
        steps: of the optimizer.
        batch: rows of a step.
        accumulate: parts that a step's rows are run in, one after the other, to save memory.
        learning_rate: at its highest.
        warmup: share of the steps in which it rises from 0; in the others it falls to 0 in a line.
        weight_decay: share of the learning rate by which weights shrink in a step.
        clip: longest gradient, over all weights together.
    """

    steps: int
    batch: int
    accumulate: int = 1
    learning_rate: float = 0.1
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of which is 0."""
        rising = max(1, round(self.steps * self.warmup))
        up = (step + 1) / rising
        down = (self.steps - step) / max(1, self.steps - rising)
        return self.learning_rate * min(1.0, up, down)


class Training:
    """One training: its weights, the optimizer's moments, the step, and what was seen on the way."""

    def __init__(
        self, tuned: Tuned, rows: Sequence[TrainingRow], schedule: Schedule, *, seed: int, file: Path
    ) -> None:
        """Go on from the checkpoint in `file` if there is one."""
        self.step = 0
        self.losses: list[float] = []
        self.kept: list[Adapter] = []
        self._tuned, self._rows, self._schedule = tuned, rows, schedule
        self._seed, self._file = seed, file
        self._moments = {
            name: (torch.zeros_like(weight), torch.zeros_like(weight))
            for name, weight in tuned.weights.items()
        }
        if file.exists():
            self._load()

    def batch(self, step: int) -> list[TrainingRow]:
        """Return the rows of a step: shuffled passes over all rows, one after the other."""
        count, size = len(self._rows), min(self._schedule.batch, len(self._rows))
        places: list[int] = []
        at = step * size
        while len(places) < size:
            order = list(range(count))
            random.Random(f"rows {self._seed} {at // count}").shuffle(order)
            inside = order[at % count : at % count + size - len(places)]
            places += inside
            at += len(inside)
        return [self._rows[place] for place in places]

    def advance(self) -> None:
        """Take one step."""
        rows = self.batch(self.step)
        weights = self._tuned.weights
        for weight in weights.values():
            weight.grad = None
        total = 0.0
        scale = sum(row.weight for row in rows)
        for part in _parts(rows, self._schedule.accumulate):
            loss = self._tuned.loss(part) / scale
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        self._update(weights)
        self.losses.append(total)
        self.step += 1

    @torch.no_grad()
    def _update(self, weights: dict[str, torch.Tensor]) -> None:
        schedule, time = self._schedule, self.step + 1
        rate = schedule.rate(self.step)
        gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        shrink = torch.clamp(schedule.clip / (length + 1e-6), max=1.0)
        for name, gradient in gradients.items():
            weight, (first, second) = weights[name], self._moments[name]
            gradient = gradient * shrink
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            spread = (second / (1 - BETAS[1] ** time)).sqrt_().add_(EPSILON)
            weight.mul_(1 - rate * schedule.weight_decay)
            weight.addcdiv_(first / (1 - BETAS[0] ** time), spread, value=-rate)

    def keep(self, adapter: Adapter) -> None:
        """Remember weights that were written, and save the checkpoint."""
        self.kept.append(adapter)
        self.save()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        from safetensors.torch import save

        tensors = {f"weight {name}": weight.detach() for name, weight in self._tuned.weights.items()}
        for name, (first, second) in self._moments.items():
            tensors |= {f"first {name}": first, f"second {name}": second}
        state = {
            "step": self.step,
            "losses": [loss.hex() for loss in self.losses],
            "kept": [adapter.to_dict() for adapter in self.kept],
        }
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_whole(self._file, save(plain, {METADATA: json.dumps(state)}))

    @torch.no_grad()
    def _load(self) -> None:
        tensors, metadata = unpack(self._file.read_bytes(), str(self._file))
        state: dict[str, Any] = json.loads(metadata[METADATA])
        for name, weight in self._tuned.weights.items():
            weight.copy_(tensors[f"weight {name}"])
            for moment, which in zip(self._moments[name], ("first", "second"), strict=True):
                moment.copy_(tensors[f"{which} {name}"])
        self.step = state["step"]
        self.losses = [float.fromhex(loss) for loss in state["losses"]]
        self.kept = [Adapter.from_dict(data, self._file.parent) for data in state["kept"]]


def _parts(rows: Sequence[TrainingRow], count: int) -> Iterator[Sequence[TrainingRow]]:
    """Part rows into at most `count` parts of nearly equal size."""
    size = -(-len(rows) // count)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
