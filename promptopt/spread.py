"""Let searches take place apart: in this process one after the other, or each in an actor of a Ray cluster.

Both ways a search has the same session (`seat`), a share of the budget that was set aside before, and answers
from the run. Of a cluster only a place to compute is wanted. A search whose place is gone begins again
elsewhere, as a killed run does: its folder is brought there, and what was answered is in the journal. Where
the target can be built anew, a search's calls are answered where it sits, so that several keep several GPUs
busy; they are admitted, paid and written down here all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from . import cluster
from .branches import Branch, Trunk
from .contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    GradientModel,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Portable,
    always,
)
from .contracts.searcher import ReadsWeights, Searcher, SearchTask, Seats
from .errors import BudgetExhausted, ModelError
from .faraway import End, Place, Told
from .records import Budget
from .seat import SeatSession, moved

BATCH = 256
"""Calls that are answered at a seat together."""
TRIES = 4
"""Seats that may be lost under one search."""
PATIENCE = 120.0
"""Seconds to wait for any seat."""


def spread(
    trunk: Trunk, task: SearchTask, workdir: Path, searchers: Sequence[Searcher], seats: Seats
) -> None:
    """Let every searcher search in a branch of its own, then take over what they found.

    Raises:
        MissingExtra: ray is not installed.
        ModelError: there is no room for a seat on the cluster, or seats are lost again and again.
        PromptOptError: what a searcher raised, other than that its share has ended.
    """
    share = trunk.left.share(len(searchers))
    folders = [workdir / f"seed-{trunk.setup.seed + number}" for number in range(len(searchers))]
    waiting: dict[int, tuple[Searcher, Path]] = {}
    for number, one in enumerate(zip(searchers, folders, strict=True)):
        branch = trunk.grow(number, one[0], task, one[1], share)
        if branch.desk.replay():
            continue
        if seats.executor == "local":
            target = trunk.setup.models["target"]
            _sit_here(branch, target if isinstance(target, GradientModel) else None)
        else:
            waiting[number] = one
    if waiting:
        _Hall(trunk, task, share, seats, searchers).seat(waiting)
    trunk.gather()


def _sit_here(branch: Branch, target: GradientModel | None) -> None:
    session = SeatSession(branch.task, branch.seed, branch.workdir, branch.desk.answer, target)
    try:
        branch.searcher.search(session)
    except BudgetExhausted as spent:
        branch.desk.session.note(f"its share has ended: {spent.problem}")
    branch.desk.close()


class _OverError(Exception):
    """The run goes on no more, so a search has nobody to ask."""


class _Hall:
    """The seats on a cluster."""

    def __init__(
        self, trunk: Trunk, task: SearchTask, share: Budget, seats: Seats, searchers: Sequence[Searcher]
    ) -> None:
        ray = cluster.connected(seats.address)
        self.ray, self._trunk, self._task, self._share = ray, trunk, task, share
        target = trunk.setup.models["target"]
        self._recipe = target.recipe if isinstance(target, Portable) else None
        models = [] if self._recipe is None else [cluster.build(*self._recipe)]
        for searcher in searchers:
            if isinstance(searcher, ReadsWeights):
                models += [cluster.build(name, {}) for name in searcher.weights]
        self._shipments = cluster.pack(ray, models)
        self._make = ray.remote(Place).options(
            num_cpus=seats.cpus, num_gpus=seats.gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._over = threading.Event()
        self._heard = time.monotonic()
        self._taken: dict[int, Any] = {}  # actors that are there, by the number of their search

    def seat(self, searches: Mapping[int, tuple[Searcher, Path]]) -> None:
        """Let all search, at the same time as far as there is room."""
        with ThreadPoolExecutor(len(searches), "promptopt seat") as pool:
            futures = [pool.submit(self._sit, number, *one) for number, one in searches.items()]
            try:
                _wait(futures)
            finally:
                self._over.set()
                for place in list(self._taken.values()):
                    self.ray.kill(place)

    def _sit(self, number: int, searcher: Searcher, folder: Path) -> None:
        """Let one search, as often anew as its seat is lost."""
        for _ in range(TRIES):
            place = self._make.remote(self._recipe, self._shipments)
            share = replace(self._share, minutes=self._trunk.left.minutes)  # for all, at the same time
            branch = self._trunk.grow(number, searcher, self._task, folder, share, self._models(place))
            try:
                self._come_up(place)
                self._taken[number] = place
                self._serve(branch, place)
            except _OverError:
                return
            except self.ray.exceptions.RayTaskError as error:
                raise self._fault(error.cause) from error
            except self.ray.exceptions.RayError as error:  # the actor or its node is gone
                if self._over.is_set():
                    return
                lost = error
                branch.desk.session.note("its seat is lost; it goes on elsewhere")
            else:
                return
            finally:
                self._taken.pop(number, None)
                self.ray.kill(place)
        raise self._fault(lost) from lost

    def _serve(self, branch: Branch, place: Any) -> None:
        """Answer what a search asks from afar, up to its end."""
        home = branch.workdir
        files = {path.relative_to(home).as_posix(): path.read_bytes() for path in _files(home)}
        told: Told = self._get(place.begin.remote(branch.searcher, branch.task, branch.seed, files))
        while True:
            told.unpack(home)
            if isinstance(told.what, End):
                break
            answer: Any
            asked = told.what.moved(partial(moved, source=told.folder, target=home))
            try:
                answer = branch.desk.answer(asked)
            except BudgetExhausted as spent:
                answer = spent
            told = self._get(place.go_on.remote(answer))
        self._get(place.leave.remote())
        if isinstance(told.what.error, BudgetExhausted):
            branch.desk.session.note(f"its share has ended: {told.what.error.problem}")
        elif told.what.error is not None:
            raise told.what.error
        branch.desk.close()

    def _models(self, place: Any) -> Mapping[str, LanguageModel]:
        """Return the models that answer at a seat, by role."""
        models = self._trunk.setup.models
        target = models["target"]
        if self._recipe is None:
            return {}
        there = SeatedModel(target, place, self._get)
        return {role: there for role, model in models.items() if model is target}

    def _come_up(self, place: Any) -> None:
        """Wait until an actor is there.

        Raises:
            ModelError: none is, and none has come up for long.
        """
        ref = place.here.remote()
        while not self._is_there(ref):
            if not self._taken and time.monotonic() - self._heard > PATIENCE:
                raise ModelError(
                    "searcher seeds", f"no seat on the cluster within {PATIENCE:g} s",
                    do="see that it has the CPUs and GPUs that cpus and gpus ask for, besides the target's",
                )  # fmt: skip
        self._get(ref)

    def _is_there(self, ref: Any) -> bool:
        """Wait a little for what an actor says."""
        if self._over.is_set():
            raise _OverError
        return bool(self.ray.wait([ref], timeout=1.0)[0])

    def _get(self, ref: Any) -> Any:
        while not self._is_there(ref):
            pass
        found = self.ray.get(ref)
        self._heard = time.monotonic()
        return found

    def _fault(self, cause: BaseException) -> BaseException:
        if isinstance(cause, Exception) and not isinstance(cause, self.ray.exceptions.RayError):
            return cause
        problem = f"seats are lost again and again: {' '.join(str(cause).split())[:300]}"
        return ModelError("searcher seeds", problem, do="try it with executor: local")


class SeatedModel:
    """The target as it answers at a search's seat; to the run it is the target.

    Args:
        target: of the run.
        place: the actor.
        get: waits for what an actor says.
    """

    def __init__(self, target: LanguageModel, place: Any, get: Any) -> None:
        """Take the seat's part."""
        self._target, self._place, self._get = target, place, get

    @property
    def identity(self) -> ModelIdentity:
        """The target's."""
        return self._target.identity

    @property
    def capabilities(self) -> Capabilities:
        """The target's."""
        return self._target.capabilities

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completions, batch by batch."""
        yield from self._answers(requests, admit)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probabilities, batch by batch."""
        yield from self._answers(requests, admit)

    def _answers(self, requests: Sequence[Any], admit: Admit) -> Iterator[tuple[int, Any]]:
        for start in range(0, len(requests), BATCH):
            admitted: list[int] = []
            for place in range(start, min(start + BATCH, len(requests))):
                if admit(place):
                    admitted.append(place)
                else:
                    yield place, Failure("budget", "the budget has no room for this call")
            if admitted:
                asked = [requests[place] for place in admitted]
                for position, outcome in self._get(self._place.compute.remote(asked)):
                    yield admitted[position], outcome


def _wait(futures: Sequence[Future[None]]) -> None:
    """Wait for all, or for the first that fails, while Ctrl-C is heard."""
    waiting: set[Future[None]] = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()


def _files(folder: Path) -> list[Path]:
    """Return the files that are whole."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
