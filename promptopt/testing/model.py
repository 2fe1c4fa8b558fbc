"""A fake model whose replies a function gives, and `check_model`: does a model keep its contract?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ..contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Request,
    always,
)
from ..errors import ContractError, shorten
from ..models._text import cut
from ..records import Message, Usage

FAKE = ModelIdentity("python", "fake")
CHATS: tuple[tuple[Message, ...], ...] = (
    (Message("user", "Write the plural form of the word.\n\nInput: cat\nOutput:"),),
    (Message("user", "Input: one two three\nOutput: three\n\nInput: cold warm hot\nOutput:"),),
    (Message("system", "Write the opposite of the word."), Message("user", "Input: hot\nOutput:")),
    (Message("user", "Input: 日本語 ñ 🧑‍🚀\nOutput:"),),
)
"""What `check_model` asks unless told otherwise: different lengths, a system message, odd characters."""

T = TypeVar("T")


class FakeModel:
    """A model whose replies a function gives; it keeps the requests it was asked.

    Args:
        reply: from a request to a text, a Completion or a Failure. A text is cut at the request's stop
            strings and after `max_tokens` words; words also stand for tokens in its usage.
        likelihood: from a request to a log-probability in nats; None: the fake cannot do it.
        identity: who it claims to be.
        insert: whether requests with a suffix are given to `reply`.
    """

    def __init__(
        self,
        reply: Callable[[GenerateRequest], Any],
        *,
        likelihood: Callable[[LikelihoodRequest], float] | None = None,
        identity: ModelIdentity = FAKE,
        insert: bool = False,
    ) -> None:
        """Store the functions."""
        self.reply = reply
        self.likelihood = likelihood
        self.identity = identity
        self.insert = insert
        self.requests: list[Request] = []

    @property
    def calls(self) -> int:
        """How many requests were answered."""
        return len(self.requests)

    @property
    def capabilities(self) -> Capabilities:
        """Likelihoods if there is a function for them, insertion if told so."""
        return Capabilities(likelihood=self.likelihood is not None, insert=self.insert)

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Answer one request after the other."""
        for index, request in enumerate(requests):
            if request.suffix is not None and not self.capabilities.insert:
                yield index, Failure("unsupported", "this fake does not insert")
            elif not admit(index):
                yield index, Failure("budget")
            else:
                self.requests.append(request)
                reply = self.reply(request)
                yield index, _completion(request, reply) if isinstance(reply, str) else reply

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Answer one request after the other."""
        for index, request in enumerate(requests):
            if self.likelihood is None:
                yield index, Failure("unsupported", "this fake has no likelihoods")
            elif not admit(index):
                yield index, Failure("budget")
            else:
                self.requests.append(request)
                tokens = max(1, len(request.continuation.split()))
                yield index, Likelihood(self.likelihood(request), tokens, Usage(tokens, 0))


def _completion(request: GenerateRequest, reply: str) -> Completion:
    decoding = request.decoding
    text = cut(reply, decoding.stop)
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    finish = "stop"
    if len(ends) > decoding.max_tokens:
        ends = ends[: decoding.max_tokens]
        text, finish = text[: ends[-1]] if ends else "", "length"
    size = sum(len(message.content.split()) for message in request.messages)
    return Completion(text, finish, Usage(size, len(ends)))


def check_model(
    model: LanguageModel,
    *,
    chats: Sequence[tuple[Message, ...]] = CHATS,
    max_tokens: int = 8,
    greedy: Literal["same", "free"] = "same",
    sampled: Literal["same", "free"] = "same",
    tolerance: float = 1e-3,
) -> None:
    """Check that a model keeps the contract of `LanguageModel`, by a few dozen short requests.

    Every position is answered once, whatever the order; an empty batch is fine; no request is answered
    that was not admitted; closing early does no harm; equal requests have equal answers, alone and in a
    batch; limits and stop strings hold; usage and likelihoods make sense; what the model cannot do is a
    `Failure("unsupported")`.

    Args:
        model: what to check.
        chats: what to ask; at least two that the model can answer.
        max_tokens: most tokens of a reply.
        greedy: `free` if greedy replies may differ from call to call (some servers).
        sampled: `free` if the same sample may be another text when asked again (most servers).
        tolerance: most difference between a log-probability alone and in a batch, in nats.

    Raises:
        ContractError: the first broken rule, with the name of the model's class.
    """
    check = _Check(model, f"model {type(model).__name__}", tuple(chats), Decoding(max_tokens), tolerance)
    check.shape()
    check.generate(greedy == "same")
    check.limits(greedy == "same")
    check.samples(sampled == "same")
    check.admission(model.generate, check.requests())
    check.early_close()
    check.insertion()
    check.likelihood()
    check.shape()


@dataclass(frozen=True)
class _Check:
    """One model under check."""

    model: LanguageModel
    where: str
    chats: tuple[tuple[Message, ...], ...]
    decoding: Decoding
    tolerance: float

    def requests(self) -> list[GenerateRequest]:
        """Return one greedy request a chat."""
        return [GenerateRequest(chat, self.decoding) for chat in self.chats]

    def require(self, holds: bool, problem: str, *, got: object = None, do: str = "") -> None:
        """Raise unless a rule holds."""
        if not holds:
            raise ContractError(self.where, problem, got=got, do=do)

    def collect(
        self,
        method: Callable[[Sequence[T], Admit], Iterator[tuple[int, Any]]],
        requests: Sequence[T],
        kind: type,
        admit: Admit = always,
    ) -> list[Any]:
        """Answer a batch; every position once, every outcome of the right kind."""
        found: dict[int, Any] = {}
        for pair in method(requests, admit):
            position, outcome = pair
            known = isinstance(position, int) and 0 <= position < len(requests)
            self.require(known, f"yielded a position outside of 0..{len(requests) - 1}", got=position)
            self.require(position not in found, "yielded a position twice", got=position)
            self.require(
                isinstance(outcome, (kind, Failure)), f"must yield {kind.__name__} or Failure", got=outcome
            )
            found[position] = outcome
        missing = sorted(set(range(len(requests))) - set(found))
        self.require(not missing, "left positions unanswered", got=missing)
        return [found[position] for position in range(len(requests))]

    def replies(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Answer requests that must not fail."""
        outcomes = self.collect(self.model.generate, requests, Completion)
        for outcome, request in zip(outcomes, requests, strict=True):
            self.require(not isinstance(outcome, Failure), f"cannot answer {shorten(request)}", got=outcome)
            self.require(isinstance(outcome.text, str), "text must be a str", got=outcome.text)
            self.require(
                outcome.finish in ("stop", "length"), "finish must be stop or length", got=outcome.finish
            )
            self.usage(outcome.usage)
            made = outcome.usage.completion_tokens
            limit = request.decoding.max_tokens
            self.require(made <= limit, f"generated more than max_tokens={limit} tokens", got=made)
        return outcomes

    def usage(self, usage: object) -> None:
        """Check token counts."""
        self.require(isinstance(usage, Usage), "usage must be a Usage", got=usage)
        if isinstance(usage, Usage):
            counts = (usage.prompt_tokens, usage.completion_tokens)
            good = all(isinstance(count, int) and count >= 0 for count in counts)
            self.require(good, "usage must be whole numbers, not negative", got=usage)

    def shape(self) -> None:
        """Check what can be said without a call."""
        self.require(isinstance(self.model, LanguageModel), "is not a LanguageModel", got=self.model)
        first, again = self.model.identity, self.model.identity
        self.require(isinstance(first, ModelIdentity), "identity must be a ModelIdentity", got=first)
        self.require(first == again and hash(first) == hash(again), "identity changes", got=(first, again))
        parts = (first.endpoint, first.model, first.revision)
        self.require(all(isinstance(part, str) for part in parts), "identity must hold texts", got=parts)
        able = self.model.capabilities
        self.require(isinstance(able, Capabilities), "capabilities must be a Capabilities", got=able)
        for method in (self.model.generate, self.model.loglikelihood):
            self.require(list(method([])) == [], f"{method.__name__}([]) must yield nothing")

    def generate(self, same: bool) -> None:
        """Check greedy replies: alone, together, and in another order."""
        requests = self.requests()
        together = self.replies(requests)
        backwards = self.replies(requests[::-1])[::-1]
        for request, here, there in zip(requests, together, backwards, strict=True):
            alone = self.replies([request])[0]
            if same:
                texts = (here.text, there.text, alone.text)
                problem = "a greedy reply depends on its batch (in order, backwards, alone)"
                self.require(len(set(texts)) == 1, problem, got=texts)
        told = self.replies([replace(request, logprobs=True) for request in requests])
        for here, there in zip(together, told, strict=True):
            value = there.logprob
            good = value is None or (math.isfinite(value) and value <= 0)
            self.require(good, "a log-probability must be finite and at most 0", got=there)
            if same:
                problem = "asking for log-probabilities changes the reply"
                self.require(here.text == there.text, problem, got=(here.text, there.text))

    def limits(self, same: bool) -> None:
        """Check max_tokens=1 and stop strings."""
        requests = self.requests()
        self.replies([replace(request, decoding=Decoding(1)) for request in requests])
        for request, reply in zip(requests, self.replies(requests), strict=True):
            inner = next((char for char in reply.text[1:] if not char.isspace()), "")
            if not inner:
                continue
            stopped = self.replies([replace(request, decoding=replace(self.decoding, stop=(inner,)))])[0].text
            self.require(inner not in stopped, f"the stop string {inner!r} is part of the text", got=stopped)
            if same:
                expected = cut(reply.text, (inner,))
                self.require(
                    stopped == expected, f"stop {inner!r} must leave {shorten(expected)}", got=stopped
                )

    def samples(self, same: bool) -> None:
        """Check that the samples of a request are the same whenever and with whatever they are asked."""
        decoding = replace(self.decoding, temperature=1.0, top_p=0.95, seed=7)
        requests = [GenerateRequest(chat, decoding, sample) for chat in self.chats[:2] for sample in range(4)]
        first = [reply.text for reply in self.replies(requests)]
        again = [reply.text for reply in self.replies([*requests[::-1], *self.requests()])]
        if same:
            again = again[: len(requests)][::-1]
            self.require(first == again, "a sample changes with its batch", got=(first, again))
            alone = self.replies(requests[1:2])[0].text
            self.require(alone == first[1], "a sample changes when asked alone", got=(first[1], alone))

    def admission(
        self, method: Callable[[Sequence[T], Admit], Iterator[tuple[int, Any]]], requests: Sequence[T]
    ) -> None:
        """Check that `admit` is asked first, and that its no is respected."""
        asked: list[int] = []

        def odd_only(position: int) -> bool:
            asked.append(position)
            return position % 2 == 1

        outcomes = self.collect(method, requests, object, odd_only)
        for position, outcome in enumerate(outcomes):
            refused = isinstance(outcome, Failure) and outcome.reason == "budget"
            self.require(position in asked, "did not ask admit() for a position it answered", got=position)
            wrong = "answered a request that admit() refused"
            self.require(position % 2 == 1 or refused, wrong, got=outcome, do='yield Failure("budget")')
            self.require(
                position % 2 == 0 or not refused, "refused a request that admit() let in", got=outcome
            )

    def early_close(self) -> None:
        """Check that a caller may stop iterating, and ask again."""
        answers = iter(self.model.generate(self.requests()))
        next(answers)
        del answers  # closes a generator
        self.replies(self.requests()[:1])

    def insertion(self) -> None:
        """Check that a suffix is used, or said to be unsupported."""
        request = GenerateRequest(self.chats[0], self.decoding, suffix="\n\nThat is all.")
        (outcome,) = self.collect(self.model.generate, [request], Completion)
        unsupported = isinstance(outcome, Failure) and outcome.reason == "unsupported"
        if not self.model.capabilities.insert:
            problem = "answered an insertion its capabilities deny"
            self.require(unsupported, problem, got=outcome, do='yield Failure("unsupported")')

    def likelihood(self) -> None:
        """Check log-probabilities, or that they are said to be unsupported."""
        words = ("cats", "hot", "hot hot hot")
        requests = [LikelihoodRequest(chat, word) for chat in self.chats for word in words]
        outcomes = self.collect(self.model.loglikelihood, requests, Likelihood)
        refused = [isinstance(o, Failure) and o.reason == "unsupported" for o in outcomes]
        if not self.model.capabilities.likelihood:
            problem = "gave likelihoods its capabilities deny"
            self.require(all(refused), problem, got=outcomes[0], do='yield Failure("unsupported")')
        if all(refused):
            return
        for request, outcome in zip(requests, outcomes, strict=True):
            self.require(not isinstance(outcome, Failure), f"cannot score {shorten(request)}", got=outcome)
            good = math.isfinite(outcome.logprob) and outcome.logprob <= 0
            self.require(good, "a log-probability must be finite and at most 0", got=outcome)
            self.require(outcome.tokens >= 1, "tokens must count the continuation's tokens", got=outcome)
            self.usage(outcome.usage)
        for k in range(0, len(requests), len(words)):
            short, long = outcomes[k + 1].logprob, outcomes[k + 2].logprob
            problem = "a longer continuation is more probable than its beginning"
            self.require(long <= short + self.tolerance, problem, got=(short, long))
        for request, outcome in zip(requests[::5], outcomes[::5], strict=True):
            (alone,) = self.collect(self.model.loglikelihood, [request], Likelihood)
            near = isinstance(alone, Likelihood) and abs(alone.logprob - outcome.logprob) <= self.tolerance
            self.require(near, "a log-probability depends on its batch", got=(outcome, alone))
        self.admission(self.model.loglikelihood, requests)
