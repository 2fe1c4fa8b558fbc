"""The options of searchers that train weights on search rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ._training import Schedule

Positive = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class TrainingOptions:
    """How long, on what and how fast to train, and when to stop.

    Attributes:
        steps: of the optimizer, at most.
        batch: rows of a step.
        accumulate: parts that a step's rows are run in one after the other, to save memory.
        learning_rate: at its highest, after the warm-up; None: one for the method.
        warmup: share of the steps in which it rises.
        weight_decay: as in AdamW.
        every: steps from one validation to the next.
        patience: validations without a better one that end the training; 0: none does.
        validation: share of the search rows that are scored on to stop in time.
        rows: most rows to train on; None: all others.
    """

    steps: Positive = 100
    batch: Positive = 16
    accumulate: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    every: Positive = 10
    patience: Whole = 3
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.25
    rows: Positive | None = None

    def schedule(self, learning_rate: float) -> Schedule:
        """Return the schedule, with the method's learning rate unless one is set."""
        return Schedule(
            self.steps,
            self.batch,
            self.accumulate,
            self.learning_rate or learning_rate,
            self.warmup,
            self.weight_decay,
        )
