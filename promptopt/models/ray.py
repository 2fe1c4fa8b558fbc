"""A local model on many machines: `executor: ray`. Ray places the replicas; all else is decided here.

Each replica is an actor that builds the model as a process of its own would. Ray's retries are off: it was
seen to give up at a node's death all the same. Requests go out in small batches, each under a number. A batch
whose replica is gone is asked again elsewhere, a replica that is gone is made anew, and of a batch that is
answered twice the first answer counts. Admission, ledger and journal stay with the caller.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .. import cluster
from ..contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Outcome,
    Request,
    always,
)
from ..errors import ConfigError, ModelError
from ._units import in_order

SMALLEST, LARGEST = 8, 256
"""Requests of a batch: enough for a local model to share what they have in common, few enough to lose."""
ROUNDS = 4
"""Batches for each replica, where there are requests enough: the last ones end at about the same time."""
AHEAD = 2
"""Batches that a replica has at a time: the next one is there when it has finished one."""
TRIES = 4
"""Replicas that may die over the same batch before it is the batch's fault."""
PATIENCE = 120.0
"""Seconds to wait for any replica to come up."""


@dataclass
class RayModel:
    """Replicas of one model, each with its share of CPUs and GPUs.

    Attributes:
        name: the model, as `provider/name`. Its weights are brought to every node, to each once.
        options: of the model.
        replicas: how many.
        cpus: of each.
        gpus: of each; a share of one is fine.
        address: of the Ray cluster; None is the one this process is connected to, or one of this machine.

    Raises:
        ConfigError: an option has no sensible meaning.
        MissingExtra: ray is not installed.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)
    _crew: _Crew | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options; nothing is started."""
        if self.replicas < 1:
            raise ConfigError("ray.replicas", "must be at least 1", got=self.replicas)
        if self.cpus < 0 or self.gpus < 0:
            raise ConfigError("ray", "cpus and gpus must not be negative", got=[self.cpus, self.gpus])
        cluster.import_ray()

    @cached_property
    def here(self) -> LanguageModel:
        """The model as this process would have it; its weights are not loaded."""
        return cluster.build(self.name, self.options)

    @property
    def identity(self) -> ModelIdentity:
        """That of the model: where it is computed does not change its answers."""
        return self.here.identity

    @property
    def capabilities(self) -> Capabilities:
        """Those of the model."""
        return self.here.capabilities

    @property
    def recipe(self) -> tuple[str, Mapping[str, Any]]:
        """How another process builds the model itself."""
        return self.name, self.options

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield the completions, batch by batch.

        Raises:
            ModelError: no replica comes up, or the model fails.
        """
        for position, outcome in self._answers(requests, admit):
            assert not isinstance(outcome, Likelihood)
            yield position, outcome

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield the log-probabilities, batch by batch; raises as `generate` does."""
        for position, outcome in self._answers(requests, admit):
            assert not isinstance(outcome, Completion)
            yield position, outcome

    def close(self) -> None:
        """End the replicas; the next call makes new ones."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.dismiss()

    def _answers(self, requests: Sequence[Any], admit: Admit) -> Iterator[tuple[int, Outcome]]:
        if not requests:
            return
        with self._lock:  # two callers' batches at once would gain nothing
            if self._crew is None:
                self._crew = _Crew(self)
            yield from _Round(self._crew, requests, admit).run()


class _Replica:
    """What runs in an actor: the model, built there."""

    def __init__(
        self, name: str, options: Mapping[str, Any], shipments: Sequence[cluster.Shipment] = ()
    ) -> None:
        self.came = cluster.unpack(shipments)
        self._model = cluster.build(name, options)

    def answer(
        self, number: int, requests: Sequence[Any], adapters: Mapping[str, Any]
    ) -> tuple[int, list[tuple[int, Outcome]]]:
        """Answer requests of one kind; `adapters` are references of their trained weights."""
        requests = cluster.unpack_adapters(requests, adapters)
        kind = self._model.generate if isinstance(requests[0], GenerateRequest) else self._model.loglikelihood
        return number, list(kind(requests))

    def here(self) -> int:
        """Say that it is there, whatever else it does, and how many bytes of weights came for it."""
        return self.came


class _Crew:
    """The replicas that there are; those that die are replaced.

    Attributes:
        up: those that have said that they are there.
        coming: those that have not, by what they will say.
        came: bytes of weights that came for each that has.
    """

    def __init__(self, model: RayModel) -> None:
        self.ray = ray = cluster.connected(model.address)
        self.name, self.size, self._options = model.name, model.replicas, dict(model.options)
        self._shipments = cluster.pack(ray, [model.here])
        self.post = cluster.AdapterPost(ray)
        self._make = ray.remote(_Replica).options(
            num_cpus=model.cpus, num_gpus=model.gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self.up: list[Any] = []
        self.coming: dict[Any, Any] = {}
        self.came: list[int] = []
        self._stillborn = 0
        for _ in range(self.size):
            self._add()

    def _add(self) -> None:
        actor = self._make.remote(self.name, self._options, self._shipments)
        self.coming[actor.here.remote()] = actor

    def arrive(self, ref: Any) -> None:
        """Hear what a replica that was coming says, or that it will not come.

        Raises:
            RayError: so many have not come that the next ones will not, either.
        """
        actor = self.coming.pop(ref)
        try:
            self.came.append(self.ray.get(ref))
        except self.ray.exceptions.RayError:
            self._stillborn += 1
            if self._stillborn >= TRIES and not self.up:
                raise
            self._add()
        else:
            self._stillborn = 0
            self.up.append(actor)

    def replace(self, actor: Any) -> None:
        """Have a new replica in the place of one that is gone."""
        if actor in self.up:
            self.up.remove(actor)
            self.ray.kill(actor)  # it may only be out of reach
            self._add()

    def dismiss(self) -> None:
        for actor in (*self.up, *self.coming.values()):
            self.ray.kill(actor)


@dataclass
class _Batch:
    """Requests that are asked together, and how often a replica has died over them."""

    number: int
    places: list[int]
    deaths: int = 0


class _Round:
    """One call of the model: its batches, and who is at which."""

    def __init__(self, crew: _Crew, requests: Sequence[Request], admit: Admit) -> None:
        self._crew, self._requests, self._admit = crew, requests, admit
        order = in_order(requests)  # type: ignore[arg-type]
        size = math.ceil(len(order) / (ROUNDS * crew.size))
        size = min(LARGEST, max(SMALLEST, size))
        self._waiting = deque(_Batch(at, order[at : at + size]) for at in range(0, len(order), size))
        self._under_way: dict[Any, tuple[_Batch, Any]] = {}
        self._done: set[int] = set()

    def run(self) -> Iterator[tuple[int, Outcome]]:
        """Hand out batches until all are answered."""
        crew, heard = self._crew, time.monotonic()
        while self._waiting or self._under_way:
            yield from self._hand_out()
            refs = [*self._under_way, *crew.coming]
            ready, _ = crew.ray.wait(refs, num_returns=1, timeout=1.0) if refs else ((), ())
            for ref in ready:
                heard = time.monotonic()
                if ref in crew.coming:
                    self._welcome(ref)
                else:
                    yield from self._take_in(ref)
            if not crew.up and time.monotonic() - heard > PATIENCE:
                raise ModelError(
                    f"ray/{crew.name}", f"no replica came up within {PATIENCE:g} s",
                    do="see that the cluster has the CPUs and GPUs that replicas, cpus and gpus ask for",
                )  # fmt: skip

    def _welcome(self, ref: Any) -> None:
        try:
            self._crew.arrive(ref)
        except self._crew.ray.exceptions.RayError as error:
            raise self._fault(error) from error

    def _hand_out(self) -> Iterator[tuple[int, Outcome]]:
        """Give each replica batches up to its share; what the budget refuses is answered at once."""
        load = {id(actor): 0 for actor in self._crew.up}
        for _, actor in self._under_way.values():
            load[id(actor)] = load.get(id(actor), 0) + 1
        while self._waiting and self._crew.up:
            actor = min(self._crew.up, key=lambda each: load[id(each)])
            if load[id(actor)] >= AHEAD:
                return
            batch = self._waiting.popleft()
            admitted = [place for place in batch.places if self._admit(place)]
            refused = [place for place in batch.places if place not in set(admitted)]
            yield from (
                (place, Failure("budget", "the budget has no room for this call")) for place in refused
            )
            if admitted:
                batch.places = admitted
                asked = [self._requests[place] for place in admitted]
                adapters = self._crew.post.enclose(asked)
                self._under_way[actor.answer.remote(batch.number, asked, adapters)] = batch, actor
                load[id(actor)] += 1

    def _take_in(self, ref: Any) -> Iterator[tuple[int, Outcome]]:
        """Yield a batch's answers; if its replica is gone, put it first in the queue."""
        batch, actor = self._under_way.pop(ref)
        errors = self._crew.ray.exceptions
        try:
            number, answers = self._crew.ray.get(ref)
        except errors.RayTaskError as error:
            raise self._fault(error.cause) from error
        except errors.RayError as error:  # the actor, its node or the answer's copy is gone
            batch.deaths += 1
            if batch.deaths >= TRIES:
                raise self._fault(error) from error
            self._waiting.appendleft(batch)
            self._crew.replace(actor)
            return
        if number not in self._done:
            self._done.add(number)
            yield from ((batch.places[position], outcome) for position, outcome in answers)

    def _fault(self, cause: BaseException) -> ModelError:
        if isinstance(cause, ModelError):
            return cause
        problem = f"a replica failed: {type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
        return ModelError(f"ray/{self._crew.name}", problem, do="try the model without `executor: ray`")
