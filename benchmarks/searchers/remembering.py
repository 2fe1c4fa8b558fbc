"""A model that remembers its answers, so that many runs on one task compute each of them once.

A run counts every call as its own all the same: journals and ledgers are the runs'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from promptopt.contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    always,
)

Asked = TypeVar("Asked", GenerateRequest, LikelihoodRequest)
Told = TypeVar("Told", Completion, Likelihood)


class Remembering:
    """Another model's answers, each computed once; failures are not kept."""

    def __init__(self, model: LanguageModel) -> None:
        """Know no answer yet."""
        self._model = model
        self._completions: dict[GenerateRequest, Completion] = {}
        self._likelihoods: dict[LikelihoodRequest, Likelihood] = {}

    @property
    def identity(self) -> ModelIdentity:
        """The model's own."""
        return self._model.identity

    @property
    def capabilities(self) -> Capabilities:
        """The model's own."""
        return self._model.capabilities

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Yield known completions first, then the others as they finish."""
        return _answer(self._completions, Completion, self._model.generate, requests, admit)

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Yield known log-probabilities first, then the others as they finish."""
        return _answer(self._likelihoods, Likelihood, self._model.loglikelihood, requests, admit)


def _answer(
    known: dict[Asked, Told],
    kind: type[Told],
    ask: Callable[[Sequence[Asked], Admit], Iterator[tuple[int, Told | Failure]]],
    requests: Sequence[Asked],
    admit: Admit,
) -> Iterator[tuple[int, Told | Failure]]:
    missing = [place for place, request in enumerate(requests) if request not in known]
    for place in sorted(set(range(len(requests))) - set(missing)):
        admitted = admit(place)
        yield place, known[requests[place]] if admitted else Failure("budget", "the budget has no room")
    for number, outcome in ask([requests[place] for place in missing], lambda number: admit(missing[number])):
        if isinstance(outcome, kind):
            known[requests[missing[number]]] = outcome
        yield missing[number], outcome
