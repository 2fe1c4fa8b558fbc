"""Seeds: one searcher several times, each with other chance, apart from each other; all on one leaderboard.

Training ends elsewhere with other chance: Mosbach, Andriushchenko and Klakow 2021, "On the Stability of
Fine-tuning BERT" (arXiv 2006.04884), for weights; Henderson et al. 2018, "Deep Reinforcement Learning that
Matters" (arXiv 1709.06560), for what is learned from rewards. Restarts are the plain remedy: Luby, Sinclair
and Zuckerman 1993, "Optimal Speedup of Las Vegas Algorithms".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from promptopt import plugins
from promptopt.contracts.model import LanguageModel, Portable
from promptopt.contracts.searcher import (
    ChecksTask,
    ParticularSearcher,
    Searcher,
    SearchTask,
    Seats,
    Session,
)
from promptopt.errors import ConfigError

from ._members import build_member


@dataclass(frozen=True)
class Seeds:
    """Searches that know nothing of each other, on equal shares of the budget.

    With `seeds: 4` a searcher searches four times, with the chance of this run's seed and of the three after
    it; with several `searchers`, say one that trains slowly and one that trains fast, each of them does. What
    they find are candidates of one run, in this order.

    With `executor: local` they take place in this process, one after the other. With `executor: ray` each has
    an actor on a Ray cluster, all at the same time as far as there is room: it holds the target, where that
    is a local model, and trains and answers there. Budget, journal and progress stay with the run, which
    admits every call and every training pass; the candidates are the same. A search whose node dies goes on
    elsewhere from its last checkpoint. One that has ended is not begun again by a resumed run.

    In a job file:

        search:
          name: seeds
          searchers: [{name: soft, steps: 200}]
          seeds: 8
          executor: ray
          gpus: 1

    Attributes:
        searchers: names, mappings with `name` and options, or searchers.
        seeds: how often each of them searches.
        executor: `local` or `ray`.
        cpus: of each actor.
        gpus: of each; a share of one is fine.
        address: of the Ray cluster; None is the one this process is connected to, or one of this machine.
    """

    searchers: tuple[Any, ...] = ("soft",)
    seeds: Annotated[int, Field(ge=1)] = 3
    executor: Literal["local", "ray"] = "local"
    cpus: Annotated[float, Field(ge=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    address: str | None = None

    trains: ClassVar[str] = "several models"

    def __post_init__(self) -> None:
        """Refuse what cannot be built, before anything is bought."""
        self._members()

    def check(self, task: SearchTask) -> None:
        """Ask those that look at the task."""
        for searcher in self._members():
            if isinstance(searcher, ChecksTask):
                searcher.check(task)

    def check_target(self, target: LanguageModel) -> None:
        """Ask those that cannot work with every target, of the target as they will have it."""
        if self.executor == "ray" and isinstance(target, Portable):
            name, options = target.recipe
            provider, _, inner = name.partition("/")
            target = plugins.build("models", provider, {"name": inner, **options})
        for searcher in self._members():
            if isinstance(searcher, ParticularSearcher):
                searcher.check_target(target)

    def search(self, session: Session) -> None:
        """Let all search, and take over what they found."""
        several = [searcher for searcher in self._members() for _ in range(self.seeds)]
        session.spread(several, Seats(self.executor, self.cpus, self.gpus, self.address))

    def _members(self) -> list[Searcher]:
        if not self.searchers:
            raise ConfigError("searcher seeds.searchers", "holds none", do="name some")
        return [build_member(given, "searcher seeds.searchers")[1] for given in self.searchers]
