"""A real model that asks before every request, each answered alone: to count them, or to cut a run off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ..contracts.model import (
    Admit,
    Completion,
    Failure,
    GenerateRequest,
    GradientModel,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    Loaded,
    Tokens,
    always,
)
from ..errors import UnsupportedError


class CountedModel:
    """A model and its gradients, if it has any.

    Args:
        model: that answers.
        ask: given the caller's `admit` and a request's place, says whether it is admitted, or raises.
    """

    def __init__(self, model: LanguageModel, ask: Callable[[Admit, int], bool]) -> None:
        """Keep the revision, in another place: of what this machine computes, a cut may lose some."""
        self._model, self._ask = model, ask
        self.identity = replace(model.identity, endpoint="counted")
        self.capabilities = model.capabilities

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Answer one after the other, so that a cut does not take back what was bought beside it."""
        for place, request in enumerate(requests):
            for _, outcome in self._model.generate([request], self._asking(admit, place)):
                yield place, outcome

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Score one after the other."""
        for place, request in enumerate(requests):
            for _, outcome in self._model.loglikelihood([request], self._asking(admit, place)):
                yield place, outcome

    def loaded(self) -> Loaded:
        """Return the network and its tokenizer."""
        return self._gradients.loaded()

    def tokenise(self, requests: Sequence[LikelihoodRequest]) -> list[Tokens | Failure]:
        """Turn requests into tokens."""
        return self._gradients.tokenise(requests)

    def computing(self) -> AbstractContextManager[None]:
        """Hold the network."""
        return self._gradients.computing()

    @property
    def _gradients(self) -> GradientModel:
        if not isinstance(self._model, GradientModel):
            raise UnsupportedError("target", "gives no gradients: it does not run in this process")
        return self._model

    def _asking(self, admit: Admit, place: int) -> Admit:
        return lambda _: self._ask(admit, place)
