"""Buying calls: each key once, paid within the budget, journaled before use."""

import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.calls import Caller
from promptopt.contracts.model import (
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
)
from promptopt.errors import BudgetExhausted, ConfigError, ContractError
from promptopt.journal import Journal
from promptopt.keys import request_key, worst_case
from promptopt.ledger import Ledger
from promptopt.outcomes import outcome_from_dict, outcome_to_dict
from promptopt.records import Budget, Message, Price, Usage
from promptopt.testing.model import FakeModel

HERE = ModelIdentity("http://127.0.0.1:1/v1", "m")


def ask_for(text, **changes):
    return replace(GenerateRequest((Message("user", text),)), **changes)


def echo(request):
    return request.messages[-1].content.upper()


def make(model, budget=None, journal=None, **more):
    journal = journal or Journal()
    ledger = Ledger(budget, {"target": Price(10, 20)})
    return Caller({"target": model}, journal, ledger, **more), ledger, journal


def test_answers_come_in_the_order_of_the_requests_and_only_once_each():
    model = FakeModel(echo)
    caller, ledger, journal = make(model)
    outcomes = caller.ask("target", [ask_for("b"), ask_for("a"), ask_for("b")])
    assert [o.text for o in outcomes] == ["B", "A", "B"]
    assert len(model.requests) == ledger.total.calls == 2
    caller.ask("target", [ask_for("a")])
    assert len(model.requests) == 2
    journal.close()


def test_what_another_bought_is_used_only_as_far_as_the_budget_would_have_bought_it():
    model = FakeModel(echo)
    rich, _, journal = make(model)
    rich.ask("target", [ask_for(text) for text in "abcdef"])
    poor, ledger, _ = make(model, Budget(calls=3), journal)
    poor.ask("target", [ask_for("c")])
    with pytest.raises(BudgetExhausted):
        poor.ask("target", [ask_for(text) for text in "cbaxdef"])
    assert ledger.total.calls == 3
    assert [o.text for o in poor.ask("target", [ask_for(text) for text in "abc"])] == list("ABC")
    with pytest.raises(BudgetExhausted):
        poor.ask("target", [ask_for("d")])
    assert len(model.requests) == 6
    journal.close()


def test_a_block_that_ended_ends_again_where_it_did_though_all_is_known_by_now():
    model = FakeModel(echo)
    journal = Journal()
    for _ in range(2):
        caller, ledger, _ = make(model, Budget(calls=9), journal)
        with ledger.limited(2), pytest.raises(BudgetExhausted):
            caller.ask("target", [ask_for(text) for text in "abcd"])
        assert ledger.total.calls == 2
        caller.ask("target", [ask_for(text) for text in "dcba"])
        assert ledger.total.calls == 4
    assert len(model.requests) == 4
    journal.close()


def test_samples_of_one_request_are_distinct_calls():
    model = FakeModel(lambda request: str(request.sample))
    caller, _, journal = make(model)
    requests = [ask_for("a", decoding=Decoding(temperature=1.0), sample=index) for index in range(5)]
    assert [o.text for o in caller.ask("target", requests)] == list("01234")
    assert len(model.requests) == 5
    journal.close()


texts = st.text(max_size=20)
requests = st.builds(
    GenerateRequest,
    st.lists(st.builds(Message, st.sampled_from(["user", "system"]), texts), min_size=1, max_size=3).map(
        tuple
    ),
    st.builds(
        Decoding, st.integers(1, 99), st.floats(0, 2), st.floats(0.1, 1), st.tuples(texts), st.integers(0, 9)
    ),
    st.integers(0, 5),
    st.none() | texts,
) | st.builds(LikelihoodRequest, st.tuples(st.builds(Message, st.just("user"), texts)), texts)
identities = st.builds(ModelIdentity, texts, texts, texts)


@given(identities, requests, identities, requests)
def test_keys_are_equal_exactly_when_model_and_request_are(one, first, two, second):
    same = (one, first) == (two, second) and type(first) is type(second)
    assert (request_key(one, first) == request_key(two, second)) == same


def test_every_part_of_a_request_is_in_the_key():
    base = ask_for("a")
    others = [
        ask_for("b"),
        ask_for("a", sample=1),
        ask_for("a", suffix="x"),
        ask_for("a", messages=(Message("system", "a"),)),
        ask_for("a", messages=(Message("user", "a"), Message("user", ""))),
        *[
            ask_for("a", decoding=decoding)
            for decoding in (
                Decoding(max_tokens=1), Decoding(temperature=1), Decoding(top_p=0.5), Decoding(stop=("x",)),
                Decoding(seed=1),
            )
        ],
        LikelihoodRequest(base.messages, ""),
    ]  # fmt: skip
    keys = {request_key(HERE, request) for request in [base, *others]}
    keys |= {request_key(replace(HERE, **{part: "z"}), base) for part in ("endpoint", "model", "revision")}
    assert len(keys) == 1 + len(others) + 3


def test_two_endpoints_with_the_same_model_name_never_answer_for_each_other():
    journal = Journal()
    for port in (1, 2):
        model = FakeModel(
            lambda _, port=port: f"from {port}", identity=replace(HERE, endpoint=f"http://h:{port}")
        )
        caller, _, _ = make(model, journal=journal)
        (outcome,) = caller.ask("target", [ask_for("a")])
        assert outcome.text == f"from {port}"
    journal.close()


def test_eight_threads_asking_the_same_make_one_call():
    def slowly(request):
        time.sleep(0.1)
        return echo(request)

    model = FakeModel(slowly)
    caller, ledger, journal = make(model)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(caller.ask("target", [ask_for("same")])[0].text))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["SAME"] * 8
    assert len(model.requests) == ledger.total.calls == 1
    journal.close()


def test_the_budget_ends_the_run_before_it_is_passed_and_keeps_what_was_bought():
    model = FakeModel(echo)
    caller, ledger, journal = make(model, Budget(calls=3))
    with pytest.raises(BudgetExhausted, match="3 calls"):
        caller.ask("target", [ask_for(str(index)) for index in range(10)])
    assert ledger.total.calls == 3
    assert journal.count("calls") == 3
    journal.close()


def test_small_answers_free_what_their_worst_case_had_reserved():
    model = FakeModel(lambda request: Completion("x", usage=Usage(5, 1)))
    bound = worst_case(ask_for("1")).tokens
    caller, ledger, journal = make(model, Budget(tokens=bound + 6 * 9))
    caller.ask("target", [ask_for(str(index)) for index in range(9)])
    assert ledger.total.tokens == 54
    journal.close()


def test_failures_are_journaled_and_charged_as_the_model_says():
    bound = worst_case(ask_for("x"))
    model = FakeModel(
        lambda request: Failure("timeout", "slow", lost=1) if "x" in echo(request).lower() else "ok"
    )
    caller, ledger, journal = make(model)
    outcomes = caller.ask("target", [ask_for("x"), ask_for("y")])
    assert outcomes[0] == Failure("timeout", "slow", lost=1)
    assert ledger.total.calls == 2
    assert ledger.total.tokens >= bound.tokens
    assert caller.ask("target", [ask_for("x")])[0] == outcomes[0]
    assert len(model.requests) == 2
    journal.close()


def test_a_resumed_run_books_the_same_spending_without_calling(tmp_path):
    path = tmp_path / "journal.sqlite"
    asked = [ask_for("a"), ask_for("b")]
    caller, before, journal = make(FakeModel(echo), journal=Journal(path))
    first = caller.ask("target", asked)
    journal.close()
    model = FakeModel(lambda request: pytest.fail("asked again"))
    caller, after, journal = make(model, journal=Journal(path))
    assert caller.ask("target", asked) == first
    assert caller.ask("target", asked) == first
    assert after.total.calls == before.total.calls == 2
    assert after.total.tokens == before.total.tokens
    journal.close()


def test_attempts_lost_in_a_kill_count_against_the_cap(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.put_attempt("gone", "target", Usage(10, 10))
    caller, ledger, _ = make(FakeModel(echo), Budget(calls=2), journal=journal)
    caller.ask("target", [ask_for("a")])
    with pytest.raises(BudgetExhausted):
        caller.ask("target", [ask_for("b")])
    assert ledger.total.calls == 2
    journal.close()


def test_answers_of_another_run_cost_nothing(tmp_path):
    old = Journal(tmp_path / "old.sqlite")
    make(FakeModel(echo), journal=old)[0].ask("target", [ask_for("a")])
    model = FakeModel(echo)
    caller, ledger, journal = make(model, reuse=[old])
    assert caller.ask("target", [ask_for("a"), ask_for("b")])[0].text == "A"
    assert ledger.total.calls == len(model.requests) == 1
    old.close()
    journal.close()


def test_generation_and_likelihood_may_be_asked_together():
    model = FakeModel(echo, likelihood=lambda request: -1.5)
    caller, _, journal = make(model)
    likelihood = LikelihoodRequest((Message("user", "a"),), "b")
    outcomes = caller.ask("target", [likelihood, ask_for("a")])
    assert isinstance(outcomes[0], Likelihood)
    assert outcomes[0].logprob == -1.5
    assert outcomes[1].text == "A"
    journal.close()


def test_a_role_without_a_model_and_a_model_that_forgets_are_named():
    class Forgetful(FakeModel):
        def generate(self, requests, admit=lambda _: True):
            yield from list(super().generate(requests, admit))[1:]

    caller, _, journal = make(Forgetful(echo))
    with pytest.raises(ConfigError, match="judge: no model"):
        caller.ask("judge", [ask_for("a")])
    with pytest.raises(ContractError, match="answered 1 of 2"):
        caller.ask("target", [ask_for("a"), ask_for("b")])
    journal.close()


usage = st.builds(Usage, st.integers(0, 9), st.integers(0, 9))
outcomes = (
    st.builds(Completion, texts, texts, usage, st.integers(0, 2))
    | st.builds(Likelihood, st.floats(-99, 0), st.integers(0, 9), usage, st.integers(0, 2))
    | st.builds(Failure, st.sampled_from(["timeout", "server"]), texts, st.integers(0, 2))
)


@given(outcomes)
def test_outcomes_survive_the_journal(outcome):
    assert outcome_from_dict(outcome_to_dict(outcome)) == outcome


class Flaky(FakeModel):
    """Fail the first attempts of each request, asking for another."""

    def __init__(self, failures):
        super().__init__(echo, identity=HERE)
        self.failures = failures
        self.sent = 0

    def generate(self, requests, admit=lambda _: True):
        for index, request in enumerate(requests):
            while admit(index):
                self.sent += 1
                if self.sent > self.failures:
                    yield index, Completion(echo(request), usage=Usage(1, 1))
                    break
            else:
                yield index, Failure("budget")


def test_attempts_of_a_refused_round_stay_on_the_bill(tmp_path):
    path = tmp_path / "journal.sqlite"
    model = Flaky(failures=5)
    asked = [ask_for(text) for text in "abc"]
    caller, ledger, journal = make(model, Budget(tokens=2 * worst_case(asked[0]).tokens + 20), Journal(path))
    caller.ask("target", asked)
    assert ledger.total.calls == model.sent == 8
    journal.close()
    caller, again, journal = make(model, journal=Journal(path))
    caller.ask("target", asked)
    assert again.total.calls == model.sent == 8
    journal.close()


def test_a_model_that_raises_leaves_no_reservation_behind():
    class Raising(FakeModel):
        def generate(self, requests, admit=lambda _: True):
            if admit(0):
                raise ConfigError("model", "broken")
            yield 0, Failure("budget")

    caller, ledger, journal = make(Raising(echo), Budget(calls=1))
    with pytest.raises(ConfigError):
        caller.ask("target", [ask_for("a")])
    assert ledger.open_reservations == 0
    with pytest.raises(BudgetExhausted):
        caller.ask("target", [ask_for("b")])
    journal.close()


def test_half_a_character_in_a_reply_is_replaced_before_it_is_used():
    caller, _, journal = make(FakeModel(lambda _: "ok \ud83d"))
    (first,) = caller.ask("target", [ask_for("a")])
    assert first.text == "ok ?"
    assert caller.ask("target", [ask_for("a")]) == [first]
    journal.close()


def test_forgotten_failures_stay_on_the_bill(tmp_path):
    path = tmp_path / "journal.sqlite"
    model = FakeModel(lambda _: Failure("server", "down"), identity=HERE)
    caller, _, journal = make(model, journal=Journal(path))
    caller.ask("target", [ask_for(text) for text in "abcd"])
    journal.forget_failures()
    journal.close()
    caller, ledger, journal = make(FakeModel(echo, identity=HERE), Budget(calls=5), Journal(path))
    caller.ask("target", [ask_for("a")])
    with pytest.raises(BudgetExhausted):
        caller.ask("target", [ask_for("b")])
    assert ledger.total.calls == 5
    journal.close()
