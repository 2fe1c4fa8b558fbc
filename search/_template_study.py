"""An Optuna study that is asked and told: seeded, quiet, in memory, rebuilt when its space grows.

It knows axes and values, nothing of prompts or rows. Everything in it follows from the seed and from what it
was told, so a run that is taken up again rebuilds it.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from promptopt.errors import ConfigError, MissingExtra

from ._template_database import alone_in, opened_storage
from ._template_neighbours import neighbours
from ._template_space import Axis, Number, Point, Space, Value, first_value, is_fixed, random_value

if TYPE_CHECKING:  # optuna is loaded when a search begins
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SamplerName = Literal["tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid"]
REPEATS = 2
"""Draws of a sampler that repeats itself, or what is forbidden, before others are looked at."""
TRIES = 200
"""Random draws, after that, before the space counts as tried out."""
MOST_GRID = 100_000
MARK = "promptopt"


@dataclass(frozen=True)
class Asked:
    """A point to be tried, and Optuna's trial that stands for it."""

    trial: Trial
    point: Point


class AskTell:
    """Points to try, each once, and what came of them.

    A sampler knows no "each once": one that has found its favourites draws them again. The next point is then
    found by local search, as in F. Hutter, H. Hoos and K. Leyton-Brown, Sequential Model-Based Optimization
    for General Algorithm Configuration (SMAC), LION 2011, section 4.3: an untried neighbour of the best point
    told so far; once it has none, of the second best; and so on. What the paper ranks by expected improvement
    is ranked by what was told, and samplers that are no search (`random`, `qmc`) go on at random.

    Args:
        sampler: by name.
        space: what there is to choose; `grow` replaces it.
        seed: of the sampler.
        startup: trials drawn at random before a model of the space is made.
        population: of `nsga2`.
        weighs: told reward and cost, instead of the reward alone.
    """

    def __init__(
        self, sampler: SamplerName, space: Space, seed: int, *, startup: int, population: int, weighs: bool
    ) -> None:
        """Begin with nothing tried; the first alternatives of all slots are the first point."""
        self._name = sampler
        self._space = space
        self._weighs = weighs
        self._rng = random.Random(seed)
        self._startup, self._population = startup, population
        self._within: list[tuple[tuple[float, ...], Point]] = []
        self._seen: set[tuple[tuple[str, Value], ...]] = set()
        self._queue: list[Point] = self._grid() if sampler == "grid" else [space.draw(first_value)]
        self._study = self._fresh()

    def ask(self, count: int) -> list[Asked]:
        """Return up to `count` points that have not been tried; fewer when there are no more."""
        asked: list[Asked] = []
        with quiet():
            while len(asked) < count and (one := self._next()):
                self._seen.add(tuple(one.point.items()))
                asked.append(one)
        return asked

    def tell(
        self,
        asked: Asked,
        values: Sequence[float] | None,
        violations: Mapping[str, float],
        notes: Mapping[str, str | float],
    ) -> None:
        """Say what came of a point.

        Args:
            asked: from `ask`.
            values: reward, and cost where it is weighed; None for a failure.
            violations: by cap, how far it is passed; 0 or less is within.
            notes: for people who look at the study.
        """
        from optuna.trial import TrialState

        for name, violation in violations.items():
            asked.trial.set_constraint(name, violation)
        for name, note in notes.items():
            asked.trial.set_user_attr(name, note)
        if values is not None and all(violation <= 0 for violation in violations.values()):
            self._within.append((tuple(values), asked.point))
        with quiet():
            if values is None:
                self._study.tell(asked.trial, state=TrialState.FAIL)
            else:
                self._study.tell(asked.trial, list(values))

    def grow(self, space: Space) -> None:
        """Go on with a space whose slots have got more alternatives, keeping what was told.

        Optuna fixes a parameter's alternatives for the life of a study, so study and sampler are made anew.
        """
        told = self._told()
        self._space = space
        self._study = self._fresh()
        with quiet():
            self._study.add_trials([self._again(trial) for trial in told])

    def importances(self) -> dict[str, float]:
        """Return how much each axis has to do with being among the best tenth; they add up to 1.

        S. Watanabe, A. Bansal and F. Hutter, PED-ANOVA, IJCAI 2023, in its form for conditional spaces;
        empty while fewer than 20 points are known, or for a cost that is weighed.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        if len(self._told()) < 20 or self._weighs:
            return {}
        with quiet():
            return get_param_importances(
                self._study, evaluator=PedAnovaImportanceEvaluator(evaluate_on_local=False)
            )

    def export(self, url: str, name: str) -> None:
        """Write the study into a database, in place of what an earlier process of this run wrote there."""
        import optuna

        told = self._told()
        with quiet(), opened_storage(url) as storage, alone_in(storage, name):
            known = {study.study_name: study for study in optuna.get_all_study_summaries(storage)}
            if name in known:
                if MARK not in known[name].user_attrs:
                    raise ConfigError("search.storage", "holds another study of this name", got=name)
                if known[name].n_trials == len(told):  # of another worker of this run
                    return
                optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(storage=storage, study_name=name, directions=self._study.directions)
            study.set_user_attr(MARK, 1)
            study.add_trials([self._readable(trial) for trial in told])

    # --- asking --------------------------------------------------------------------------------------

    def _next(self) -> Asked | None:
        while self._queue:
            point = self._queue.pop(0)
            if self._is_new(point):
                return self._enqueued(point)
        if self._name == "grid":
            return None
        for _ in range(REPEATS):
            trial = self._study.ask()
            point = self._space.draw(lambda axis, trial=trial: self._suggest(trial, axis))  # type: ignore[misc]
            if self._is_new(point):
                return Asked(trial, point)
            self._forget(trial)
        for other in self._elsewhere():
            if self._is_new(other):
                return self._enqueued(other)
        return None

    def _elsewhere(self) -> Iterator[Point]:
        """Iterate over points that the sampler does not draw: neighbours of the best, then random ones."""
        if self._name not in ("random", "qmc"):
            for best in self._ranked():
                near = list(neighbours(self._space, best, self._rng))
                self._rng.shuffle(near)
                yield from near
        yield from (self._random() for _ in range(TRIES))

    def _ranked(self) -> list[Point]:
        """Return what was told, the best first; where cost is weighed what nothing beats, in any order."""
        ranked = sorted(self._within, key=lambda told: (-told[0][0], *told[0][1:]))
        if not self._weighs:
            return [point for _, point in ranked]
        front: list[Point] = []
        lowest = math.inf
        for (_, cost), point in ranked:
            if cost < lowest:
                lowest = cost
                front.append(point)
        self._rng.shuffle(front)
        return front

    def _random(self) -> Point:
        return self._space.draw(lambda axis: random_value(axis, self._rng))

    def _is_new(self, point: Point) -> bool:
        return tuple(point.items()) not in self._seen and self._space.allows(point)

    def _enqueued(self, point: Point) -> Asked:
        """Return a trial of exactly this point."""
        fixed = {name: self._encoded(self._space.by_name[name], value) for name, value in point.items()}
        self._study.enqueue_trial(fixed)
        trial = self._study.ask()
        return Asked(trial, self._space.draw(lambda axis: self._suggest(trial, axis)))

    def _forget(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.FAIL)

    def _grid(self) -> list[Point]:
        """Return all points, in a random order: what a budget cuts off is then no corner of the space."""
        points: list[Point] = list(islice(self._space.points(), MOST_GRID + 1))
        if len(points) > MOST_GRID:
            raise ConfigError(
                "search.sampler", f"the grid has more than {MOST_GRID:,} points", do="choose another sampler"
            )
        self._rng.shuffle(points)
        return points

    # --- axes as Optuna's parameters -----------------------------------------------------------------

    def _suggest(self, trial: Trial, axis: Axis) -> Value:
        if isinstance(axis, Number):
            if axis.whole:
                return trial.suggest_int(axis.name, axis.low, axis.high, step=axis.step or 1, log=axis.log)  # type: ignore[arg-type]
            return trial.suggest_float(axis.name, axis.low, axis.high, step=axis.step, log=axis.log)
        if self._name == "qmc":  # its sequences fill numbers only
            return axis.values[trial.suggest_int(axis.name, 0, len(axis.values) - 1)]
        trial.suggest_categorical(axis.name, axis.values)
        chosen: Value = trial.params[axis.name]
        return chosen

    def _encoded(self, axis: Axis, value: Value) -> Value:
        coded = self._name == "qmc" and not isinstance(axis, Number)
        return axis.values.index(value) if coded else value

    def _distribution(self, axis: Axis, *, readable: bool = False) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if isinstance(axis, Number):
            if axis.whole:
                step = int(axis.step or 1)
                return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=step)
            return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
        if self._name == "qmc" and not readable:
            return IntDistribution(0, len(axis.values) - 1)
        return CategoricalDistribution(axis.values)

    # --- the study -----------------------------------------------------------------------------------

    def _fresh(self) -> Study:
        import optuna

        with quiet():
            reward, cost = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
            directions = [reward, cost] if self._weighs else [reward]
            seed, conditional = self._rng.getrandbits(32), self._space.conditional
            sampler = _sampler(self._name, seed, self._startup, self._population, conditional)
            return optuna.create_study(directions=directions, sampler=sampler)

    def _told(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _again(self, trial: FrozenTrial, *, readable: bool = False) -> FrozenTrial:
        """Return a trial as one of the space as it is now."""
        from optuna.trial import create_trial

        axes = {name: self._space.by_name[name] for name in trial.params}
        params = dict(trial.params)
        if readable and self._name == "qmc":
            coded = [name for name, axis in axes.items() if not isinstance(axis, Number)]
            params |= {name: axes[name].values[params[name]] for name in coded}
        return create_trial(
            values=trial.values,
            params=params,
            distributions={n: self._distribution(axis, readable=readable) for n, axis in axes.items()},
            user_attrs=trial.user_attrs,
            system_attrs=trial.system_attrs,
        )

    def _readable(self, trial: FrozenTrial) -> FrozenTrial:
        return self._again(trial, readable=True)


def _sampler(name: SamplerName, seed: int, startup: int, population: int, conditional: bool) -> BaseSampler:
    from optuna import samplers

    tpe = samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=conditional)
    match name:
        case "tpe":
            return tpe
        case "gp":
            _needs("torch", "samplers")
            _needs("scipy", "samplers")
            return samplers.GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
        case "cmaes":  # numbers only; the slots are left to TPE
            _needs("cmaes", "samplers")
            return samplers.CmaEsSampler(
                seed=seed, n_startup_trials=startup, independent_sampler=tpe, warn_independent_sampling=False
            )
        case "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=population)
        case "qmc":
            _needs("scipy", "samplers")
            return samplers.QMCSampler(
                seed=seed, scramble=True, warn_independent_sampling=False,
                independent_sampler=samplers.RandomSampler(seed=seed),
            )  # fmt: skip
        case _:
            return samplers.RandomSampler(seed=seed)


def _needs(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtra("search.sampler", package, extra)


def has_choice(space: Space) -> bool:
    """Whether there is anything to choose."""
    return any(not is_fixed(axis) for axis in space.axes)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log and its notes on what is experimental from the screen."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
