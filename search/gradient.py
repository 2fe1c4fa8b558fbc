"""Words by gradients: tokens of the instruction are exchanged for those that the loss asks for.

The gradient says which tokens promise a lower loss; what they keep of it is measured by the run's own
engine, like any prompt, with the answers' log-probability as the search signal. The best are then judged by
the task's reward. A run that is taken up again computes its gradients again, and buys nothing twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from promptopt.contracts.model import LanguageModel
from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.records import Example

from ._choice import best_start, choose
from ._fitting import check_gradients, nearest_tokens
from ._trigger import Ids, Trigger, plain, with_token

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
MEASURED_AGAIN = 3
"""Triggers that are measured again, for each finalist, where they were measured on different rows."""
Met = dict[Ids, float]
"""Triggers, and how good each is by the signal."""


@dataclass(frozen=True)
class TriggerSearch(ABC):
    """What the three searchers for triggers share.

    Attributes:
        tokens: of the trigger.
        init: the text it starts from, cut or repeated to that length.
        keep: it stands behind the instruction; otherwise it replaces it.
        fluency: how much a nat of the trigger's own mean log-probability counts, next to one of the answers'.
        finalists: of the triggers met, the best by their signal, that the task's reward judges.
    """

    tokens: Positive = 4
    init: str = "the"
    keep: bool = True
    fluency: Weight = 0.0
    finalists: Positive = 4

    name: ClassVar[str]

    def check_target(self, target: LanguageModel) -> None:
        """Raise UnsupportedError unless the target runs in this process."""
        check_gradients(f"searcher {self.name}", target)

    def search(self, session: Session) -> None:
        """Search for triggers, and let the run's selector judge the best of them.

        Raises:
            ConfigError: the instruction is fixed, or the trigger has no place of its own in the prompt.
            UnsupportedError: the target gives no gradients.
        """
        where = f"searcher {self.name}"
        if "instruction" not in session.task.parts:
            raise ConfigError(where, "the instruction is fixed", got=session.task.parts, do="optimize it")
        trigger = Trigger(session, plain(best_start(session)), self.keep, where, self.fluency)
        met = self.meet(session, trigger)
        # The task's reward judges the best triggers beside the prompt without one.
        best = sorted(met, key=lambda ids: -met[ids])[: self.finalists]
        prompts = [trigger.base, *(trigger.prompt(ids) for ids in best)]
        session.score(choose(session, prompts, self.finalists))

    @abstractmethod
    def meet(self, session: Session, trigger: Trigger) -> Met:
        """Return triggers, and how good each is by the signal."""


@dataclass(frozen=True)
class AutoPrompt(TriggerSearch):
    """Exchange one token at a time for the best of those that the gradient promises most of.

    Source: Shin et al. 2020, "AutoPrompt: Eliciting Knowledge from Language Models with Automatically
    Generated Prompts", section 2.2 (arXiv 2010.15980), after Ebrahimi et al. 2018, "HotFlip".

    Attributes, beside those of `TriggerSearch`:
        steps: tokens looked at.
        candidates: k, how many tokens are measured in a place.
        batch: rows of a gradient, and others that the candidates are measured on.
    """

    steps: Positive = 10
    candidates: Positive = 10
    batch: Positive = 16

    name: ClassVar[str] = "autoprompt"

    def meet(self, session: Session, trigger: Trigger) -> Met:
        """Go by the algorithm of the paper."""
        examples = _answered(session)
        now, met = trigger.first(self.init, self.tokens), Met()
        for _ in range(self.steps):
            place = session.rng.randrange(self.tokens)  # a token is chosen
            shown = session.rng.sample(examples, min(self.batch, len(examples)))
            flips = _flips(trigger, now, shown, self.candidates)[place].tolist()
            rivals = [now, *(with_token(now, place, token) for token in flips if token != now[place])]
            # Another batch than the gradient's, the same for all: the present trigger is among the rivals.
            measured = session.rng.sample(examples, min(self.batch, len(examples)))
            now = _best(_measure(trigger, rivals, measured, met))
        # Batches differ in how hard they are: the best of each are measured again on the same rows.
        best = sorted(met, key=lambda ids: -met[ids])[: MEASURED_AGAIN * self.finalists]
        return _measure(trigger, [now, *(ids for ids in best if ids != now)], examples[: self.batch], met)


@dataclass(frozen=True)
class GCG(TriggerSearch):
    """Greedy coordinate gradient: many random exchanges among those promised most, the best one is made.

    All candidates of a step are measured in one batch, and the engine computes what they share once. Of
    exchanges whose text is cut into other tokens none is measured.

    Source: Zou et al. 2023, "Universal and Transferable Adversarial Attacks on Aligned Language Models",
    algorithm 1 (arXiv 2307.15043); here the loss is that of the task's answers.

    Attributes, beside those of `TriggerSearch`:
        steps: T.
        topk: k, tokens that are promised most in each place.
        candidates: B, exchanges measured in a step.
        batch: rows of the loss, the first ones, the same in every step.
    """

    steps: Positive = 10
    topk: Positive = 64
    candidates: Positive = 32
    batch: Positive = 16

    name: ClassVar[str] = "gcg"

    def meet(self, session: Session, trigger: Trigger) -> Met:
        """Go by the algorithm of the paper."""
        examples = _answered(session)[: self.batch]
        now, met = trigger.first(self.init, self.tokens), Met()
        _measure(trigger, [now], examples, met)
        for _ in range(self.steps):
            flips = _flips(trigger, now, examples, self.topk)
            drawn: dict[Ids, None] = {}
            for _ in range(self.candidates):
                place = session.rng.randrange(self.tokens)
                drawn[with_token(now, place, int(flips[place][session.rng.randrange(flips.shape[1])]))] = None
            found = _measure(trigger, list(drawn), examples, met)
            if not found:
                continue
            now = _best(found)  # also where it is worse than before: the paper's step, out of ruts
        return met


@dataclass(frozen=True)
class PEZ(TriggerSearch):
    """Vectors that follow the gradient taken at the tokens nearest to them.

    Source: Wen et al. 2023, "Hard Prompts Made Easy: Gradient-Based Discrete Optimization for Prompt Tuning
    and Discovery", algorithm 1 (arXiv 2302.03668).

    Attributes, beside those of `TriggerSearch`:
        steps: T.
        learning_rate: gamma, in units of the root mean square of the model's embeddings; of Adam's steps.
        every: steps from one measurement of the nearest tokens to the next.
        batch: rows of a gradient; measured are the first ones, the same each time.
    """

    steps: Positive = 60
    learning_rate: Annotated[float, Field(gt=0)] = 1.0
    every: Positive = 5
    batch: Positive = 16

    name: ClassVar[str] = "pez"

    def meet(self, session: Session, trigger: Trigger) -> Met:
        """Go by the algorithm of the paper."""
        examples = _answered(session)
        fixed = examples[: self.batch]
        first, met = trigger.first(self.init, self.tokens), Met()
        _measure(trigger, [first], fixed, met)
        embeddings = trigger.model.loaded().module.get_input_embeddings().weight.float()
        (place,) = trigger.places([first], fixed[:1])
        assert place is not None
        vectors = embeddings[list(first)].clone()  # P
        unit = float(embeddings.square().mean().sqrt())
        optimizer = torch.optim.Adam([vectors], lr=self.learning_rate * unit)
        for step in range(1, self.steps + 1):
            near = nearest_tokens(trigger.model, vectors, trigger.allowed)  # P' = Proj(P)
            shown = session.rng.sample(examples, min(self.batch, len(examples)))
            # The rows are read under the first trigger, whose embeddings those of P' stand in for.
            rows = trigger.rows(trigger.prompt(first), shown)
            vectors.grad = trigger.gradient(rows, place, self.tokens, embeddings[near])
            optimizer.step()
            if step % self.every == 0:
                now = tuple(nearest_tokens(trigger.model, vectors, trigger.allowed))
                _measure(trigger, [now], fixed, met)
        return met


def _answered(session: Session) -> list[Example]:
    rows = [row for row in session.task.rows if row.answer]
    if not rows:
        raise ConfigError("search rows", "none has an answer to take a gradient of", do="give them answers")
    return rows


def _flips(trigger: Trigger, ids: Ids, examples: Sequence[Example], k: int) -> torch.Tensor:
    """Return for each place of a trigger the `k` tokens that its gradient promises most of."""
    rows = trigger.rows(trigger.prompt(ids), examples)
    (place,) = trigger.places([ids], examples[:1])
    assert place is not None  # it was measured, or it is the first
    return trigger.best_flips(trigger.gradient(rows, place, len(ids)), k)


def _measure(trigger: Trigger, rivals: Sequence[Ids], examples: Sequence[Example], met: Met) -> Met:
    """Return how good those triggers are that stand as their own tokens; remember them in `met`."""
    able = [ids for ids, at in zip(rivals, trigger.places(rivals, examples), strict=True) if at is not None]
    found = dict(zip(able, trigger.scores(able, examples), strict=True)) if able else {}
    met.update(found)
    return found


def _best(found: Met) -> Ids:
    best: Callable[[Ids], float] = found.__getitem__
    return max(found, key=best)
