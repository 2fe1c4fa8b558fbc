"""Portfolio: several searchers share one budget, start from each other's best, and the successful get more.

Sources: Huberman, Lukose and Hogg 1997, "An Economics Approach to Hard Computational Problems" (Science 275),
for running several algorithms on shares of one budget; Gagliolo and Schmidhuber 2006, "Learning Dynamic
Algorithm Portfolios", for shares that follow what was seen of each; Fialho, Da Costa, Schoenauer and Sebag
2010, "Analyzing Bandit-based Adaptive Operator Selection Mechanisms", for credit by improvement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from promptopt.contracts.model import GradientModel, LanguageModel
from promptopt.contracts.searcher import HERE, ParticularSearcher, Searcher, Seats, Session
from promptopt.errors import AuthError, BadInput, ConfigError, ModelError, PromptOptError
from promptopt.prompt import Prompt
from promptopt.records import Budget, Evaluation, Example, Message

from ._members import build_member

Positive = Annotated[int, Field(ge=1)]

ROWS_PER_SLICE = 10
"""Passes over the search rows that a slice pays for where no cap on calls says what it can be."""


@dataclass(frozen=True)
class Portfolio:
    """Searchers that take turns, a slice of the budget each.

    A slice is one run of a searcher under a cap on its calls. Its first one starts from the seed prompt,
    every later one from the portfolio's best prompts: the best in the place of the seed prompt, the others
    as `task.starts`. After a slice the best prompt that is new in it is scored on all search rows; what it
    gains there over the prompt that the slice started from, for each call used, is the searcher's credit.
    Credit of old slices fades by half with each new one.

    The next slice goes to a searcher that has had none; else to one that has waited for `patience` rounds;
    else to the one with the highest credit, and among equals to the one that has waited longest. So while
    nothing improves they take turns, and what improves gets more.

    A searcher whose replies cannot be used drops out, with a note. Inside a slice a searcher that asks for
    many proposals at once gets as many as half of the slice can pay for, so that some calls are left to score
    them.

    By default one of each kind takes part: `ape` guesses from rows, `reflect` learns from errors, `demos`
    shows rows. There are few of them and few rounds, since small budgets make small slices: of 2,000 calls
    each of the nine slices gets about 200, less what the verdict takes. Neither members nor rounds are tuned;
    give more of both where there is more to spend, say `opro` and `evolution`, which need many steps.

    Attributes:
        searchers: names, mappings with `name` and options, or searchers.
        rounds: slices there are in all, for each searcher on average.
        slice: model calls of a slice; 0: an equal part of what the budget leaves, or, without a cap on calls,
            what ten passes over the search rows take.
        keep: prompts that are handed on.
        patience: rounds after which one that has waited gets a slice whatever its credit.
    """

    searchers: tuple[Any, ...] = ("ape", "reflect", "demos")
    rounds: Positive = 3
    slice: Annotated[int, Field(ge=0)] = 0
    keep: Positive = 4
    patience: Positive = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be built, before anything is bought."""
        if not self.searchers:
            raise ConfigError("searcher portfolio.searchers", "holds none", do="name some")
        for given in self.searchers:
            _build(given)

    def check_target(self, target: LanguageModel) -> None:
        """Ask those that cannot work with every target."""
        for _, searcher in map(_build, self.searchers):
            if isinstance(searcher, ParticularSearcher):
                searcher.check_target(target)

    def search(self, session: Session) -> None:
        """Give out slices until the rounds are over or the budget is.

        Raises:
            PromptOptError: the last reason, when all searchers have dropped out.
        """
        members = [_Member(*_build(given)) for given in self.searchers]
        seed = session.task.seed_prompt
        (baseline,) = session.score([seed])
        standing = [(seed, baseline.mean)]  # prompts with their mean on all search rows, best first
        total = self.rounds * len(members)
        for turn in range(total):
            member = _next([m for m in members if m.failure is None], turn, self.patience)
            first = member.slices == 0
            starts = [seed] if first else [prompt for prompt, _ in standing[: self.keep]]
            began_at = baseline.mean if first else standing[0][1]
            found, used = self._give_slice(session, member, starts, self._calls(session, total - turn))
            member.slices, member.last = member.slices + 1, turn
            if member.failure is not None:
                session.note(f"portfolio: {member.name} is out: {member.failure}")
                if all(m.failure is not None for m in members):
                    raise member.failure
            gain = 0.0
            if (best := _most_promising(session, found)) is not None:
                mean = _mean(session, best)
                gain = max(0.0, mean - began_at)
                standing = sorted([*standing, (best, mean)], key=lambda one: -one[1])
            member.credit = (member.credit + gain / max(1, used)) / 2

    def _calls(self, session: Session, slices: int) -> int:
        """Return the calls of the next of `slices` slices."""
        left = session.remaining.calls
        if self.slice:
            return self.slice
        return ROWS_PER_SLICE * len(session.task.rows) if left is None else left // slices

    def _give_slice(
        self, session: Session, member: _Member, starts: Sequence[Prompt], calls: int
    ) -> tuple[list[Prompt], int]:
        """Run a searcher on at most `calls` calls; return the prompts new in it, and the calls it used."""
        seen = set(session.known)
        slice_ = _Slice(session, member.name, starts)
        left = calls
        with session.limit(calls):
            try:
                member.searcher.search(slice_)
            except AuthError:
                raise
            except (ModelError, BadInput) as error:
                member.failure = error
            finally:
                left = session.remaining.calls or 0
        return [prompt for key, prompt in slice_.scored.items() if key not in seen], calls - left


@dataclass
class _Member:
    """A searcher of the portfolio and how it has done."""

    name: str
    searcher: Searcher
    credit: float = 0.0
    slices: int = 0
    last: int = -1
    failure: PromptOptError | None = None


def _next(members: Sequence[_Member], turn: int, patience: int) -> _Member:
    """Return who gets the slice of this turn."""
    fresh = [member for member in members if not member.slices]
    waiting = sorted(members, key=lambda member: member.last)
    if fresh:
        return fresh[0]
    if turn - waiting[0].last > patience * len(members):
        return waiting[0]
    return max(waiting, key=lambda member: member.credit)


def _most_promising(session: Session, prompts: Sequence[Prompt]) -> Prompt | None:
    """Return the prompt with the highest mean among those that have met the most rows."""
    known = session.known
    able = [(prompt, known[prompt.id]) for prompt in prompts if prompt.id in known]
    able = [(prompt, evaluation) for prompt, evaluation in able if evaluation.comparable]
    best = max(able, key=lambda one: (one[1].met, one[1].mean), default=None)
    return None if best is None else best[0]


def _mean(session: Session, prompt: Prompt) -> float:
    """Return a prompt's mean on all search rows but those it may show as demonstrations."""
    evaluation = session.known[prompt.id]
    if evaluation.met + len(prompt.demonstrations) < len(session.task.rows):
        (evaluation,) = session.score([prompt])
    return evaluation.mean


def _build(given: Any) -> tuple[str, Searcher]:
    return build_member(given, "searcher portfolio.searchers")


class _Slice:
    """The session of one slice: the run's own, from other prompts, and with what it scores noted."""

    def __init__(self, session: Session, name: str, starts: Sequence[Prompt]) -> None:
        self._session = session
        self.task = replace(session.task, seed_prompt=starts[0], starts=tuple(starts[1:]))
        self.rng = session.rng
        self.workdir = session.workdir / name
        self.scored: dict[str, Prompt] = {}

    @property
    def remaining(self) -> Budget:
        return self._session.remaining

    @property
    def known(self) -> Mapping[str, Evaluation]:
        return self._session.known

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        self.scored.update((prompt.id, prompt) for prompt in prompts)
        return self._session.score(prompts, rows, reward)

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        self.scored.update((prompt.id, prompt) for prompt in prompts)
        return self._session.select(prompts, k, reward, rows)

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
        half = (self.remaining.calls or 0) // 2
        return self._session.propose(
            chats,
            max(1, min(n, half // max(1, len(chats)))),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            suffixes=suffixes,
        )

    def limit(self, calls: int) -> AbstractContextManager[None]:
        return self._session.limit(calls)

    def gradients(self) -> GradientModel:
        return self._session.gradients()

    def spend(self, passes: int, tokens: int) -> None:
        self._session.spend(passes, tokens)

    def spread(self, searchers: Sequence[Searcher], seats: Seats = HERE) -> None:
        raise ConfigError(
            "searcher portfolio", "a slice is one search, and cannot be spread", do="take seeds out of it"
        )

    def note(self, text: str) -> None:
        self._session.note(text)

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        self._session.rule_out(prompts)

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        return self._session.suspects(prompts, rows)

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        self._session.report(text, data)

    def can(self, role: Literal["target", "proposer"], what: Literal["likelihood", "insert"]) -> bool:
        return self._session.can(role, what)
