"""One family, one seed and one model: what every measure is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random

from promptopt.errors import DataError

from .asking import Engine, Expected
from .contracts import Family
from .material import Material

MOST_WORDINGS = 10
"""Most human wordings of a family and seed; the annotators wrote up to some dozens."""
TRIES = 20


@dataclass(frozen=True)
class Case:
    """What to measure on.

    Attributes:
        engine: the model.
        material: families and wordings.
        name: of the family.
        seed: of the evaluation; another one has other rows and other draws of wordings.
        split: of the rows and the held-out wordings: `test` or `dev`.
        n: rows of a cell.
    """

    engine: Engine
    material: Material
    name: str
    seed: int
    split: str
    n: int

    @property
    def family(self) -> Family:
        """The family."""
        return self.material.families[self.name]

    @cached_property
    def rows(self) -> list[Expected]:
        """The rows to test on."""
        found = list(self.material.rows(self.name, self.split, self.n, self.seed))
        if not found:
            raise DataError(f"family {self.name}", f"has no row of the split {self.split}")
        return found

    @cached_property
    def beyond(self) -> list[Expected]:
        """Rows beyond those taught; none where the family has no such rows."""
        draw, rng = self.family.beyond, self.rng("beyond")
        if draw is None:
            return []
        return [(x, (str(self.family.solve(x)),)) for x in distinct(lambda: draw(rng), self.n)]

    def rng(self, purpose: str) -> Random:
        """Return draws of their own for each purpose, so that no measure moves another one's."""
        return Random(f"{self.name}/{self.seed}/{purpose}")

    def training(self, count: int) -> list[str]:
        """Draw training wordings."""
        rng = self.rng("training")
        return distinct(lambda: self.material.precise(self.name, rng).text, count)

    @cached_property
    def human(self) -> list[str]:
        """The annotators' wordings, or none; for testing only, they may not steer the training."""
        if self.split != "test":
            return []
        found = sorted(set(self.material.human(self.name)))
        return self.rng("human").sample(found, min(MOST_WORDINGS, len(found)))

    @cached_property
    def held_out(self) -> list[str]:
        """The wordings that the training has not seen."""
        return list(dict.fromkeys(self.material.held_out(self.name, self.split)))


def distinct(draw: Callable[[], str], count: int) -> list[str]:
    """Draw until there are `count` different texts, or until further draws bring none."""
    found: dict[str, None] = {}
    for _ in range(count * TRIES):
        if len(found) == count:
            break
        found[draw()] = None
    return list(found)
