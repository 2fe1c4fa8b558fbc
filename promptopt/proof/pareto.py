"""Reward against cost: what an answer takes, the front of prompts that no other beats in both, the objective.

Costs are metered: the tokens that the model counted for the very answers that were scored. A model that
counts none has no costs, and no front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ..errors import ConfigError, did_you_mean
from ..prompt import Prompt
from ..records import Evaluation, Price, Usage
from .stats import Interval, mean_interval

CostName = Literal["prompt_tokens", "output_tokens", "usd"]
Scored = tuple[Prompt, Evaluation]

UNITS: dict[CostName, str] = {
    "prompt_tokens": "prompt tokens an answer",
    "output_tokens": "output tokens an answer",
    "usd": "US dollars for 1,000 answers",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one answer takes on average, all calls of the prompt's program together.

    Attributes:
        prompt_tokens: read by the model.
        output_tokens: written by it.
        usd: US dollars for 1,000 answers; None when the price is not known.
    """

    prompt_tokens: float
    output_tokens: float
    usd: float | None = None

    def of(self, name: CostName) -> float:
        """Return one of the three; infinite when it is not known."""
        value = {"prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens, "usd": self.usd}[
            name
        ]
        return math.inf if value is None else value


def measure(evaluation: Evaluation, price: Price | None = None) -> Cost | None:
    """Return the mean cost of an evaluation's answers; None when the model counted no tokens.

    Only cells with an answer count: what a failed attempt costs is the endpoint's doing, not the prompt's.
    """
    metered = [cell.usage for cell in evaluation.cells if cell.status == "ok" and cell.usage.tokens]
    if not metered:
        return None
    total = sum(metered, Usage())
    return Cost(
        total.prompt_tokens / len(metered),
        total.completion_tokens / len(metered),
        None if price is None else 1000 * price.usd(total) / len(metered),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A prompt on the front: its mean reward and what an answer costs, both on the same `n` rows."""

    prompt: Prompt
    n: int
    mean: float
    interval: Interval
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: what `result.json` holds of the front."""
        return {
            "id": self.prompt.id,
            "instruction": self.prompt.instruction,
            "n": self.n,
            "mean": self.mean,
            "interval": [self.interval.low, self.interval.high],
            "prompt_tokens": self.cost.prompt_tokens,
            "output_tokens": self.cost.output_tokens,
            "usd_per_1000": self.cost.usd,
        }


@dataclass(frozen=True, slots=True)
class Objective:
    """What a run is after.

    Attributes:
        name: `reward` alone, or `pareto`: finalists are taken from the front of reward against cost.
        cost: what is weighed against the reward.
        prefer: which of the finalists within the noise of the best wins (`promptopt.proof.reselect.pick`):
            `reward`: the shortest; `cheap`: the one whose answers cost least.
    """

    name: Literal["reward", "pareto"] = "reward"
    cost: CostName = "prompt_tokens"
    prefer: Literal["reward", "cheap"] = "reward"

    def __post_init__(self) -> None:
        """Refuse what is not on the menu."""
        menu = {"name": ("reward", "pareto"), "cost": get_args(CostName), "prefer": ("reward", "cheap")}
        for field in fields(self):
            value = getattr(self, field.name)
            if value not in menu[field.name]:
                raise ConfigError(
                    f"objective.{field.name}", "no such choice", got=value,
                    do=did_you_mean(str(value), menu[field.name]),
                )  # fmt: skip
        if self.name == "reward" and self.prefer == "cheap":
            raise ConfigError(
                "objective.prefer", "weighs a cost, which the objective does not", got=self.prefer,
                do="set objective.name to pareto",
            )  # fmt: skip

    def check(self, price: Price | None) -> None:
        """Raise ConfigError when dollars are to be weighed and there are none."""
        if self.name == "pareto" and self.cost == "usd" and (price is None or price == Price()):
            problem = "is not known" if price is None else "is 0"
            raise ConfigError(
                "objective.cost", f"the price of the target {problem}", got=self.cost,
                do="give the target a `price`, or choose prompt_tokens or output_tokens",
            )  # fmt: skip

    def order(self, ranked: Sequence[Scored], price: Price | None = None) -> list[Prompt]:
        """Return candidates in the order in which they become finalists, given the best by reward first.

        For `pareto` the front goes first, then the front of the rest, and so on, each by reward
        (non-dominated sorting: K. Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, IEEE
        Transactions on Evolutionary Computation 6(2), 2002). Only those that met as many rows as the first
        are sorted so: fewer rows are not the same rows. The others follow as they came.
        """
        if self.name == "reward" or not ranked:
            return [prompt for prompt, _ in ranked]
        met, reward = ranked[0][1].met, ranked[0][1].reward
        alike = [(p, e) for p, e in ranked if (e.met, e.reward) == (met, reward)]
        left = _measured(alike, self.cost, price)
        ordered: list[Prompt] = []
        while left:
            layer = _unbeaten(left)
            ordered += [one.prompt for one in sorted(layer, key=lambda one: -one.mean)]
            placed = set(ordered)
            left = [one for one in left if one.prompt not in placed]
        placed = set(ordered)
        return ordered + [prompt for prompt, _ in ranked if prompt not in placed]

    def costs(
        self, finalists: Sequence[Prompt], evaluations: Sequence[Evaluation], price: Price | None = None
    ) -> tuple[list[float] | None, str]:
        """Return what decides inside the noise band of the finals, and its unit: by default the length."""
        if self.prefer == "reward":
            return None, "characters"
        measured = [measure(evaluation, price) for evaluation in evaluations]
        if None in measured:
            return None, "characters"
        return [cost.of(self.cost) for cost in measured if cost], UNITS[self.cost]


def front(
    scored: Iterable[Scored], cost: CostName, price: Price | None = None, *, seed: int = 0
) -> tuple[Point, ...]:
    """Return the prompts that no other beats in mean reward and cost, cheapest first.

    One beats another when it is no worse in both and better in one. Means are those of the rows met, so the
    evaluations should be on the same rows; where intervals overlap, the order of two points is not proven.

    Args:
        scored: prompts with comparable evaluations; those without a metered cost are left out.
        cost: which cost counts.
        price: of the target's tokens, if known.
        seed: of the intervals' resamples.
    """
    return tuple(
        Point(
            one.prompt,
            one.evaluation.n,
            one.mean,
            mean_interval(list(one.evaluation.values.values()), seed=seed),
            one.cost,
        )
        for one in _unbeaten(_measured(scored, cost, price))
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """A prompt with what it is worth and what it costs."""

    prompt: Prompt
    evaluation: Evaluation
    cost: Cost
    mean: float
    price: float


def _measured(scored: Iterable[Scored], cost: CostName, price: Price | None) -> list[_Measured]:
    return [
        _Measured(prompt, evaluation, spent, evaluation.mean, spent.of(cost))
        for prompt, evaluation in scored
        if evaluation.comparable and (spent := measure(evaluation, price)) is not None
    ]


def _unbeaten(measured: Iterable[_Measured]) -> list[_Measured]:
    """Return what nothing beats, cheapest first: what is dearer must be better; equals stay together."""
    kept: list[_Measured] = []
    for one in sorted(measured, key=lambda one: (one.price, -one.mean)):
        if not kept or one.mean > kept[-1].mean or (one.mean, one.price) == (kept[-1].mean, kept[-1].price):
            kept.append(one)
    return kept
