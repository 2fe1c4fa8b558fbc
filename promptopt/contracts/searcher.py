"""The contract of a searcher, and the session that is all it sees.

A searcher is deterministic given the run's seed and what its session answered. That alone makes it
durable: a killed run is run again, and the journal answers until it ends.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ..prompt import Prompt
from ..records import Budget, Evaluation, Example, Message
from .model import GradientModel, LanguageModel
from .reward import Needs


@dataclass(frozen=True, slots=True)
class SearchTask:
    """What a searcher may know of the task: never a select or test row.

    Attributes:
        rows: the search rows in the run's seeded order; `session.score(prompts, n)` uses the first n.
        seed_prompt: the prompt to beat.
        fields: names of the input columns.
        description: what the user says the task is; may be empty.
        parts: names of the parts of the prompt that may be changed (`promptopt.parts`).
        starts: good prompts found elsewhere, best first, to start from besides the seed prompt; mostly none.
        needs: what the task's reward asks the target for: a reply, the likelihood of the answer, of options.
    """

    rows: tuple[Example, ...]
    seed_prompt: Prompt
    fields: tuple[str, ...]
    description: str = ""
    parts: tuple[str, ...] = ("instruction",)
    starts: tuple[Prompt, ...] = ()
    needs: Needs = "text"


@dataclass(frozen=True, slots=True)
class Seats:
    """Where searches take place that know nothing of each other.

    Attributes:
        executor: `local`, in this process, one after the other; `ray`, each in an actor, all at once as far
            as the cluster has room.
        cpus: of each actor.
        gpus: of each; a share of one is fine.
        address: of the Ray cluster; None is the one this process is connected to, or one of this machine.
    """

    executor: Literal["local", "ray"] = "local"
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None


HERE = Seats()


class Session(Protocol):
    """A searcher's whole world.

    Attributes:
        task: the rows to search on, and the prompt to beat.
        rng: the searcher's only source of chance.
        workdir: a folder for checkpoints (trainers only); empty on a fresh run.
    """

    task: SearchTask
    rng: random.Random
    workdir: Path

    @property
    def remaining(self) -> Budget:
        """What is left for searching, the final comparison already set aside."""
        ...

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        """Evaluate prompts on the first `rows` search rows (None: all), all on the same ones.

        Every prompt given becomes a candidate of the run. Asking again for a known cell costs nothing.
        `reward` names another reward than the task's as a search signal (say `log_likelihood`).

        Raises:
            BudgetExhausted: let it pass; the run goes on to choose among what was scored.
        """
        ...

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        """Return the evaluations of the `k` best prompts, best first, by the run's selector.

        It compares them on no more than the first `rows` search rows (None: all).
        """
        ...

    def propose(
        self,
        chats: Sequence[Sequence[Message]],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        suffixes: Sequence[str] | None = None,
    ) -> list[list[str]]:
        """Draw `n` replies of the proposer to each chat; a failed call is left out of its list.

        The same chat asked again draws new samples. `suffixes` (one a chat) asks for insertion.
        """
        ...

    @property
    def known(self) -> Mapping[str, Evaluation]:
        """The largest evaluation on search rows of each prompt scored so far, by the prompt's id."""
        ...

    def limit(self, calls: int) -> AbstractContextManager[None]:
        """Let at most `calls` model calls be made inside a `with` block.

        When they are used up, the BudgetExhausted that says so ends the block and goes no further; when the
        run's own budget ends, it passes. Inside, `remaining.calls` is what is left of the block.
        """
        ...

    def gradients(self) -> GradientModel:
        """Return the target, for gradients through it.

        Raises:
            UnsupportedError: it does not run in this process.
        """
        ...

    def spend(self, passes: int, tokens: int) -> None:
        """Pay for `passes` sequences, of `tokens` tokens together, before they run forward and backward.

        Each counts as a call of the role `trainer`. What a checkpoint saves from being computed again is paid
        again in a resumed run, which starts from an empty bill.

        Raises:
            BudgetExhausted: they could pass the cap; let it pass.
        """
        ...

    def spread(self, searchers: Sequence[Searcher], seats: Seats = HERE) -> None:
        """Let searchers search apart, each from where this session is and on an equal share of what is left.

        The first one's chance is that of this run's seed, the next one's that of the next seed. They see
        nothing of each other; in the end what they found is found here, in their order, wherever they sat.
        One whose share ends is done. One that is finished is not repeated by a resumed run.

        Raises:
            PromptOptError: what one of them raised, other than that its share has ended.
        """
        ...

    def note(self, text: str) -> None:
        """Tell the user something worth knowing, in a line."""
        ...

    def can(self, role: Literal["target", "proposer"], what: Literal["likelihood", "insert"]) -> bool:
        """Whether a model is able, found by one journaled probe."""
        ...

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Say which prompts must not win, whatever they score: they break a rule that the user has set.

        They stay candidates; the seed prompt cannot be ruled out, as it is what the others are measured by.
        """
        ...

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        """Return those of these prompts, scored on these rows, whose outputs talk the judge into scores.

        There are none where no model judges, and none while no canary has shown that the judge falls for it.

        Raises:
            BudgetExhausted: as `score`.
        """
        ...

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Say something of the search to whoever reads the result; costs nothing, and a replay says it again.

        Args:
            text: one line for people, shown when the run ends.
            data: plain JSON data behind it, for `result.json`.
        """
        ...


@runtime_checkable
class ChecksTask(Protocol):
    """What a searcher may have besides: it looks at the task before anything is bought."""

    def check(self, task: SearchTask) -> None:
        """Raise BadInput if the searcher's options do not fit the task."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """A search algorithm; its constructor stores hyperparameters and nothing else."""

    def search(self, session: Session) -> None:
        """Propose and score prompts until satisfied; every scored prompt is a candidate of the run."""
        ...


@runtime_checkable
class ReadsWeights(Protocol):
    """A searcher that reads the weights of models besides the target's: they go where it goes.

    Attributes:
        weights: the models, as `provider/name`.
    """

    @property
    def weights(self) -> Sequence[str]:
        """Name them."""
        ...


@runtime_checkable
class Trains(Protocol):
    """A searcher that trains a model on this machine: to rehearse it would be to train it.

    Attributes:
        trains: what it trains, in a word or two.
    """

    trains: str


@runtime_checkable
class ParticularSearcher(Protocol):
    """A searcher that cannot work with every target, and says so before anything is spent."""

    def check_target(self, target: LanguageModel) -> None:
        """Raise UnsupportedError, naming searchers that do work, unless it can work with this target."""
        ...
