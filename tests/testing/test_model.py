import random

import pytest

from promptopt.contracts.model import (
    Capabilities,
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    LikelihoodRequest,
    ModelIdentity,
    always,
)
from promptopt.errors import ContractError
from promptopt.records import Message, Usage
from promptopt.testing.model import FakeModel, check_model

CHAT = (Message("user", "three small words"),)


def good(request):
    return f"{request.messages[-1].content[-9:]} then {request.sample}"


def score(request):
    return -float(len(request.continuation))


def test_the_fake_counts_keeps_and_limits():
    model = FakeModel(lambda request: "one two  three")
    requests = [GenerateRequest(CHAT, Decoding(max_tokens=2)), GenerateRequest(CHAT, Decoding(stop=("thr",)))]
    assert dict(model.generate(requests)) == {
        0: Completion("one two", "length", Usage(3, 2)),
        1: Completion("one two  ", "stop", Usage(3, 2)),
    }
    assert (model.calls, model.requests) == (2, requests)
    ((_, refused),) = model.generate([GenerateRequest(CHAT, suffix="x")])
    assert (refused.reason, model.calls) == ("unsupported", 2)
    ((_, missing),) = model.loglikelihood([LikelihoodRequest(CHAT, "x")])
    assert missing.reason == "unsupported"


def test_good_fakes_pass():
    check_model(FakeModel(good))
    check_model(FakeModel(good, likelihood=score, insert=True))


def test_a_model_may_be_relaxed_where_a_server_cannot_promise():
    def moody(request):
        return f"{random.random()}" if request.decoding.temperature else "calm"

    check_model(FakeModel(moody), sampled="free")
    with pytest.raises(ContractError, match="a sample changes"):
        check_model(FakeModel(moody))
    check_model(FakeModel(lambda request: f"x{random.random()}"), sampled="free", greedy="free")


class Broken(FakeModel):
    """A fake that does something to what it yields."""

    def __init__(self, twist, **options):
        super().__init__(good, **{"likelihood": score, **options})
        self.twist = twist

    def generate(self, requests, admit=always):
        yield from self.twist(list(super().generate(requests, admit)), requests)


class Undecided(FakeModel):
    """A fake whose identity changes."""

    count = 0

    @property
    def identity(self):
        self.count += 1
        return ModelIdentity("python", str(self.count))

    @identity.setter
    def identity(self, value):
        pass


class Boastful(FakeModel):
    """A fake that denies what it does, or does what it denies."""

    @property
    def capabilities(self):
        return Capabilities()


class Unsure(FakeModel):
    """A fake that says it has likelihoods, and fails at each."""

    def loglikelihood(self, requests, admit=always):
        yield from ((position, Failure("error")) for position in range(len(requests)) if admit(position))


class Careless(FakeModel):
    """A fake that asks nobody."""

    def generate(self, requests, admit=always):
        yield from super().generate(requests)


class Asking(FakeModel):
    """A fake that says budget to everything once refused."""

    def generate(self, requests, admit=always):
        refused = False
        for position, outcome in super().generate(requests, admit):
            refused = refused or isinstance(outcome, Failure)
            yield position, Failure("budget") if refused else outcome


def with_batch(outcomes, requests):
    for position, outcome in outcomes:
        yield (
            position,
            Completion(f"{len(requests)} {outcome.text}") if isinstance(outcome, Completion) else outcome,
        )


def with_usage(outcomes, requests):
    for position, outcome in outcomes:
        yield (
            position,
            Completion(outcome.text, "stop", Usage(0, 99)) if isinstance(outcome, Completion) else outcome,
        )


def uncut(outcomes, requests):
    for position, outcome in outcomes:
        yield position, Completion(good(requests[position])) if isinstance(outcome, Completion) else outcome


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (object(), "is not a LanguageModel"),
        (Undecided(good), "identity changes"),
        (Broken(lambda outcomes, requests: outcomes[1:]), "left positions unanswered"),
        (Broken(lambda outcomes, requests: outcomes * 2), "a position twice"),
        (Broken(lambda outcomes, requests: [(9, outcomes[0][1])] if requests else []), "position outside"),
        (
            Broken(lambda outcomes, requests: [(k, "text") for k, _ in outcomes]),
            "must yield Completion or Failure",
        ),
        (Broken(lambda outcomes, requests: [(0, Completion("x"))]), r"generate\(\[\]\) must yield nothing"),
        (Broken(with_batch), "depends on its batch"),
        (Broken(with_usage), "more than max_tokens"),
        (Broken(uncut), "is part of the text"),
        (FakeModel(lambda request: Failure("error", "no")), "cannot answer"),
        (FakeModel(lambda request: Completion("x", usage=Usage(-1, 0))), "not negative"),
        (FakeModel(lambda request: Completion("x", "because")), "finish must be"),
        (Careless(good), "did not ask admit|admit.. refused"),
        (Asking(good), "that admit.. let in"),
        (Boastful(good, likelihood=score), "likelihoods its capabilities deny"),
        (FakeModel(good, likelihood=lambda request: 0.5), "at most 0"),
        (FakeModel(good, likelihood=lambda request: float("nan")), "finite"),
        (
            FakeModel(good, likelihood=lambda r: -1.0 / len(r.continuation)),
            "more probable than its beginning",
        ),
        (
            FakeModel(good, likelihood=lambda request: -random.random() - len(request.continuation)),
            "depends on its batch",
        ),
        (Unsure(good, likelihood=score), "cannot score"),
    ],
)
def test_every_broken_rule_is_named(model, message):
    with pytest.raises(ContractError, match=message):
        check_model(model)
