"""MIPRO: instruction and demonstrations together, each pair's worth estimated on blocks of rows, by TPE.

Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
Programs" (arXiv 2406.11695).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from promptopt.contracts.searcher import Session
from promptopt.prompt import Demonstration, Prompt

from ._author import Author
from ._bootstrap import traces
from ._budget import rows_each
from ._choice import best_start
from ._demos import Parted, check_shows, demonstration, draw, part_rows, score_fully, showing
from ._proposals import GROUNDED, SUMMARY, propose
from ._text import check_has_place
from .ape import FORWARD

if TYPE_CHECKING:  # optuna is loaded when a search begins
    from optuna import Study
    from optuna.distributions import BaseDistribution

Positive = Annotated[int, Field(ge=1)]
WHERE = "searcher joint"
AXES = ("instruction", "demonstrations")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Joint:
    """MIPRO, algorithm 1 of the paper with the initialisation, proposals and surrogate of its section 4.

    1. Bootstrap `sets` sets of demonstrations: none, rows as they are, and draws of what the seed prompt's
       program replied where it was right.
    2. Propose `instructions` instructions from these sets.
    3. `trials` times: let the Tree-structured Parzen Estimator name a pair, and score it on a block of
       `minibatch` rows; every `full_every` trials, score the pair with the best mean on all rows set apart
       for scoring, and tell TPE.

    Numbers of candidates are those of DSPy's `auto="light"` (6 and 6), minibatch (35) and full evaluations
    (every 5 trials) those of its MIPROv2. What differs: blocks are shared, not drawn at random: a pair
    begins with the first block and meets the next one when it is named again, and TPE is told its mean gain
    over the seed prompt on the rows it has met, so that no pair is favoured by easy rows. Where a better
    prompt than the seed prompt was found elsewhere, it takes its place in all this. Instructions are
    asked for in APE's words by default, which small models follow; `grounded` is the paper's way. Sets hold
    right replies or rows, not both in one.

    Attributes:
        instructions: the seed prompt's and so many less one proposed.
        sets: sets of demonstrations, the seed prompt's own and the one of plain rows among them.
        most: demonstrations of a set at most.
        trials: pairs named by TPE.
        startup: how many of them are drawn at random (Optuna's default).
        minibatch: rows of a block; fewer where a cap on calls does not pay for all trials.
        full_every: trials between full evaluations.
        keep: pairs with the best full evaluation that are scored on every row they do not show.
        pool: share of the search rows kept for showing; the others are scored on.
        right: a reply with at least this reward is shown.
        proposals: `forward` (APE's meta-prompt) or `grounded` (data summary, present instruction, tips).
        forward: meta-prompt; see `_proposals.propose` for the slots.
        grounded: meta-prompt, the same slots.
        summary: how the proposer is asked for the data summary; `{{demonstrations}}`.
        draws: replies drawn to each set's meta-prompt.
        temperature: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions are dropped.
    """

    instructions: Positive = 6
    sets: Annotated[int, Field(ge=2)] = 6
    most: Positive = 4
    trials: Positive = 20
    startup: Positive = 10
    minibatch: Positive = 35
    full_every: Positive = 5
    keep: Positive = 3
    pool: Annotated[float, Field(gt=0, lt=1)] = 0.3
    right: float = 1.0
    proposals: Literal["forward", "grounded"] = "forward"
    forward: str = FORWARD
    grounded: str = GROUNDED
    summary: str = SUMMARY
    draws: Positive = 4
    temperature: Annotated[float, Field(ge=0)] = 0.9
    max_tokens: Positive = 100
    max_chars: Positive = 500

    def search(self, session: Session) -> None:
        """Bootstrap, propose, then try pairs.

        Raises:
            ConfigError: no row can be shown, or the prompt has no place for instruction or demonstrations.
            ModelError: the proposer gave nothing that can be read as an instruction.
            TemplateError: a meta-prompt shows no rows.
        """
        base = best_start(session)
        check_has_place(base, WHERE)
        check_shows(base, WHERE)
        parted = part_rows(session.task.rows, self.pool, self.most, WHERE)
        sets = self._sets(session, base, parted)
        texts = self._instructions(session, base, parted, sets)
        pairs = {
            (i, j): _pair(base, i, text, j, its) for i, text in enumerate(texts) for j, its in enumerate(sets)
        }
        trials = _Trials(session, pairs, parted.scored, (len(texts), len(sets)), self.startup)
        minibatch = rows_each(session, self.minibatch, self.trials, 0)
        for number in range(1, self.trials + 1):
            trials.try_next(minibatch)
            if number % self.full_every == 0 or number == self.trials:
                trials.evaluate_best()
        score_fully(session, trials.best(self.keep))

    def _sets(self, session: Session, base: Prompt, parted: Parted) -> list[tuple[Demonstration, ...]]:
        """Return the base's own demonstrations, a set of rows, and draws of right replies."""
        plain = [demonstration(row) for row in parted.pool]
        rows = tuple(session.rng.sample(plain, min(self.most, len(plain))))
        kept = traces(session, base, parted.pool, self.right) or plain
        return list(
            dict.fromkeys([base.demonstrations, rows, *draw(session.rng, kept, self.sets - 2, self.most)])
        )

    def _instructions(
        self, session: Session, base: Prompt, parted: Parted, sets: Sequence[tuple[Demonstration, ...]]
    ) -> list[str]:
        """Return the base's instruction and those proposed from the sets."""
        if self.instructions == 1:
            return [base.instruction]
        with Author(session, "joint", self.temperature, 1.0, self.max_tokens, self.max_chars) as author:
            proposed = propose(
                author,
                base,
                self.forward if self.proposals == "forward" else self.grounded,
                [shown for shown in sets if shown],
                parted.pool,
                summary=self.summary,
                wanted=self.instructions - 1,
                draws=self.draws,
            )
        return [base.instruction, *proposed]


def _pair(base: Prompt, i: int, text: str, j: int, shown: Sequence[Demonstration]) -> Prompt:
    """Return the prompt of instruction i and set j; those of number 0 are the base's own."""
    prompt = base.child(instruction=text, origin="joint") if i else base
    return replace(showing(prompt, shown, "joint"), parents=(base.id,)) if j else prompt


class _Trials:
    """What is known of the pairs, and TPE's view of it."""

    def __init__(
        self, session: Session, pairs: Mapping[Pair, Prompt], rows: int, shape: Pair, startup: int
    ) -> None:
        """Start with the base, pair (0, 0), fully evaluated: its gain over itself is 0."""
        from optuna.distributions import CategoricalDistribution

        self._session = session
        self._pairs = pairs
        self._rows = rows
        self._axes: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(range(size)) for name, size in zip(AXES, shape, strict=True)
        }
        self._study = _study(session.rng.getrandbits(32), startup)
        self._met: dict[Pair, int] = {(0, 0): rows}
        self._gain: dict[Pair, float] = {(0, 0): 0.0}
        self._tell_full((0, 0))

    def try_next(self, minibatch: int) -> None:
        """Score the pair that TPE names on its next block."""
        trial = self._study.ask(self._axes)
        pair = (trial.params["instruction"], trial.params["demonstrations"])
        self._score(pair, min(self._rows, self._met.get(pair, 0) + minibatch))
        self._study.tell(trial, self._gain[pair])

    def evaluate_best(self) -> None:
        """Score the best pair that has not met all rows on all of them, and tell TPE."""
        begun = [pair for pair, n in self._met.items() if n < self._rows and self._gain[pair] > -math.inf]
        if begun:
            pair = max(begun, key=lambda pair: self._gain[pair])
            self._score(pair, self._rows)
            self._tell_full(pair)

    def best(self, keep: int) -> list[Prompt]:
        """Return the best of those that have met all rows, best first."""
        whole = [pair for pair, n in self._met.items() if n == self._rows]
        return [self._pairs[pair] for pair in sorted(whole, key=lambda pair: -self._gain[pair])[:keep]]

    def _score(self, pair: Pair, n: int) -> None:
        base, mine = self._session.score([self._pairs[0, 0], self._pairs[pair]], n)
        shared = [row for row in base.values if row in mine.values]
        gains = [mine.values[row] - base.values[row] for row in shared]
        self._met[pair] = n
        self._gain[pair] = math.fsum(gains) / len(gains) if mine.comparable and gains else -math.inf

    def _tell_full(self, pair: Pair) -> None:
        from optuna.trial import create_trial

        params = dict(zip(AXES, pair, strict=True))
        self._study.add_trial(create_trial(params=params, distributions=self._axes, value=self._gain[pair]))


def _study(seed: int, startup: int) -> Study:
    """Return an Optuna study that maximises by multivariate TPE; making it prints nothing."""
    import optuna

    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(level)
