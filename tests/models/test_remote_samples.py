"""Samples of one request share a call where the server can, and the budget stays exact where it cannot."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply, hash_reply

from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Decoding, Failure, GenerateRequest, LikelihoodRequest
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.models._units import MOST_SAMPLES, in_order, units
from promptopt.models._wire import _shared_out
from promptopt.models.remote import RemoteModel
from promptopt.records import Budget, Message, Usage


def ask(text: str = "Hi", sample: int = 0, **decoding: Any) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), Decoding(**{"temperature": 1.0, **decoding}), sample)


DRAWS = [ask("Hi", sample) for sample in range(10)]


def only_one(status: int) -> Any:
    """Refuse to give more than one sample."""
    return lambda messages, body: Reply("n must be 1", status) if body.get("n", 1) > 1 else "x"


def test_samples_share_a_call_after_the_first_two_have_shown_that_they_can() -> None:
    with LoopbackServer(samples=True) as server, RemoteModel("m", base_url=server.url) as model:
        first = dict(model.generate(DRAWS))
        list(model.generate(DRAWS))
    assert [seen.body.get("n") for seen in server.seen] == [2, 8, 10]
    assert server.calls == 20
    assert len({outcome.text for outcome in first.values() if isinstance(outcome, Completion)}) == 10


def test_the_usages_of_shared_samples_add_up_to_what_was_billed() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 31}
    with (
        LoopbackServer(lambda m, b: Reply("a b c", usage=usage), samples=True) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        outcomes = dict(model.generate(DRAWS[:2]))
    used = [outcome.usage for outcome in outcomes.values() if isinstance(outcome, Completion)]
    assert sum(used, Usage()) == Usage(100, 31)
    assert [one.prompt_tokens for one in used] == [100, 0]


def test_tokens_are_shared_out_by_length_and_within_the_limit() -> None:
    assert _shared_out(30, ["aaaa", "aaaaaaaaa"], 64) == [10, 20]
    assert _shared_out(30, ["aaaa", "aaaaaaaaa"], 16) == [14, 16]
    assert _shared_out(50, ["a", "b"], 16) == [34, 16]
    assert _shared_out(7, [""], 3) == [7]


@pytest.mark.parametrize("status", [200, 400, 422, 501])
def test_a_server_that_cannot_is_asked_once_and_no_admission_is_wasted(status: int) -> None:
    """It ignores `n`, or refuses it; each call it saw had exactly one admission."""
    asked: Counter[int] = Counter()
    reply = hash_reply if status == 200 else only_one(status)
    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url) as model:
        outcomes = dict(model.generate(DRAWS, lambda i: asked.update([i]) or True))  # type: ignore[func-returns-value]
        list(model.generate(DRAWS))
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())
    assert sum("n" in seen.body for seen in server.seen) == 1
    assert server.calls == 20 + (status != 200)
    assert sum(asked.values()) == server.calls - 10


def test_a_single_sample_alone_is_the_same_as_from_a_server_that_ignores_n() -> None:
    with LoopbackServer() as server, RemoteModel("m", base_url=server.url) as model:
        together = dict(model.generate(DRAWS))
        alone = [next(iter(model.generate([draw])))[1] for draw in DRAWS]
    assert [together[i] for i in range(10)] == alone


def test_calls_in_the_ledger_are_completions_at_the_server_to_the_last_of_the_budget() -> None:
    for samples in (True, False):
        with LoopbackServer(samples=samples) as server, RemoteModel("m", base_url=server.url) as model:
            ledger = Ledger(Budget(calls=25))
            caller = Caller({"target": model}, Journal(), ledger)
            caller.ask("target", DRAWS)
            with pytest.raises(Exception, match="could pass 25 calls"):
                caller.ask("target", [ask("Ho", sample) for sample in range(20)])
            assert server.calls == ledger.total.calls == 25
            assert len(server.seen) == (3 if samples else 25)


def test_a_refusal_once_it_is_known_that_the_server_can_is_the_requests_fault() -> None:
    def reply(messages: Messages, body: dict[str, Any]) -> Reply | str:
        return Reply("too long", 400) if messages[0]["content"] == "long" else "x"

    with LoopbackServer(reply, samples=True) as server, RemoteModel("m", base_url=server.url) as model:
        list(model.generate(DRAWS))
        outcomes = dict(model.generate([ask("long", sample) for sample in range(5)]))
        list(model.generate(DRAWS))
    assert {outcome.reason for outcome in outcomes.values() if isinstance(outcome, Failure)} == {"rejected"}
    assert [seen.body.get("n") for seen in server.seen] == [2, 8, 5, 10]


def test_a_call_for_several_samples_that_is_refused_is_one_call() -> None:
    asked: Counter[int] = Counter()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply | str:
        return Reply("busy", 503) if len(server.seen) in (2, 3) else "x"

    with (
        LoopbackServer(reply, samples=True) as server,
        RemoteModel("m", base_url=server.url, backoff=0.001) as model,
    ):
        outcomes = dict(model.generate(DRAWS, lambda i: asked.update([i]) or True))  # type: ignore[func-returns-value]
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())
    assert [seen.body.get("n") for seen in server.seen] == [2, 8, 8, 8]
    assert sum(asked.values()) == 10 + 2


def test_what_the_budget_refuses_of_a_group_is_left_out_of_the_call() -> None:
    with LoopbackServer(samples=True) as server, RemoteModel("m", base_url=server.url) as model:
        list(model.generate(DRAWS))
        outcomes = dict(model.generate(DRAWS, lambda i: i % 2 == 0))
    assert server.seen[-1].body["n"] == 5
    assert [isinstance(outcomes[i], Completion) for i in range(10)] == [i % 2 == 0 for i in range(10)]


def test_a_group_takes_a_place_for_each_sample_and_is_no_larger_than_there_are_places() -> None:
    never = threading.Event()
    with (
        LoopbackServer(lambda m, b: Reply("x", until=never), samples=True) as server,
        RemoteModel("m", base_url=server.url, concurrency=4, attempt_timeout=0.3, max_attempts=1) as model,
    ):
        model._connect()._samples.able = True
        outcomes = dict(model.generate(DRAWS))
        never.set()
    assert {seen.body["n"] for seen in server.seen} == {4, 2}
    assert {outcome.lost for outcome in outcomes.values()} == {1}


def test_it_can_be_switched_off() -> None:
    with (
        LoopbackServer(samples=True) as server,
        RemoteModel("m", base_url=server.url, n_parameter=False) as model,
    ):
        list(model.generate(DRAWS))
    assert all("n" not in seen.body for seen in server.seen)


def test_requests_that_begin_alike_are_sent_one_after_the_other() -> None:
    texts = [f"{prompt}\n\nInput: {row}" for prompt in ("Say it.", "Do it.", "Write it.") for row in range(9)]
    random.Random(0).shuffle(texts)
    requests = [ask(text, temperature=0.0) for text in texts]
    with LoopbackServer() as server, RemoteModel("m", base_url=server.url, concurrency=1) as model:
        answers = dict(model.generate(requests))
    sent = [seen.body["messages"][0]["content"] for seen in server.seen]
    prompts = list(dict.fromkeys(text.split("\n")[0] for text in texts))
    assert sent == sorted(texts, key=lambda text: prompts.index(text.split("\n")[0]))
    assert len(answers) == 27


def test_units_hold_the_samples_of_one_request_only() -> None:
    requests = [ask("b", 0), ask("a", 0), ask("b", 1), ask("a", 0, max_tokens=3), ask("a", 1), ask("b", 2)]
    assert units(requests, 2) == [[0, 2], [5], [1, 4], [3]]
    assert units(requests, 1) == [[0], [2], [5], [1], [3], [4]]
    assert units([ask("a"), ask("a")], 9) == [[0], [1]]
    assert units([ask("a", 0, temperature=0.0), ask("a", 1, temperature=0.0)], 9) == [[0], [1]]
    assert max(len(unit) for unit in units([ask("a", i) for i in range(99)], MOST_SAMPLES)) == MOST_SAMPLES
    scored = [LikelihoodRequest((Message("user", text),), "x") for text in ("b", "a", "b")]
    assert in_order(scored) == [0, 2, 1]
