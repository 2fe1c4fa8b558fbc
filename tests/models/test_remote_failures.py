"""What goes wrong at an endpoint: which failures are tried again, which are data, which end the run."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply

from promptopt.contracts.model import Completion, Failure, GenerateRequest, always
from promptopt.errors import AuthError, ModelError
from promptopt.models._endpoint import Gate
from promptopt.models.remote import RemoteModel
from promptopt.records import Message

OK = Reply("fine")


def ask(text: str = "Hi", suffix: str | None = None) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), suffix=suffix)


def script(*replies: Reply) -> Callable[[Messages, dict[str, Any]], Reply]:
    """Answer with one reply after the other; the last one for ever."""
    left = list(replies)
    return lambda messages, body: left.pop(0) if len(left) > 1 else left[0]


def outcome_of(reply: Callable[[Messages, dict[str, Any]], Reply], **options: Any) -> tuple[Any, int]:
    """Ask once; return the outcome and how many calls reached the server."""
    options = {"backoff": 0.001, "max_attempts": 3, **options}
    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url, **options) as model:
        [(_, outcome)] = model.generate([ask()])
        return outcome, server.calls


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_passing_trouble_is_tried_again(status: int) -> None:
    outcome, calls = outcome_of(script(Reply("busy", status), Reply("busy", status), OK))
    assert isinstance(outcome, Completion)
    assert (outcome.text, calls) == ("fine", 3)
    # A gateway that gave up waiting may have been billed by the model behind it.
    assert outcome.lost == (2 if status in (408, 502, 504) else 0)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_lasting_trouble_is_a_failed_server(status: int) -> None:
    outcome, calls = outcome_of(script(Reply("so busy", status)))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.lost, calls) == ("server", 0, 3)
    assert f"HTTP {status}: so busy (3 attempts" in outcome.message


@pytest.mark.parametrize("status", [400, 413, 422, 418])
def test_a_refused_request_is_not_tried_again(status: int) -> None:
    outcome, calls = outcome_of(script(Reply("too long\nby far " + "x" * 1000, status)))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.lost, calls) == ("rejected", 0, 1)
    assert outcome.message.startswith(f"HTTP {status}: too long by far xxx")
    assert len(outcome.message) < 400


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Reply(fault="html"), "not JSON (text/html): <!doctype html>"),
        (Reply("long enough to be cut", fault="cut"), "not JSON (application/json)"),
        (Reply(body="[1, 2]"), "not JSON"),
        (Reply(body='{"error": {"message": "upstream is gone"}}'), "no choices: {'message': 'upstream is"),
        (Reply(body='{"choices": [3]}'), "no choices"),
        (Reply(body='{"choices": [{"message": {"content": 3}}]}'), "no text"),
        (Reply(fault="no_choices"), "no choices"),
        (Reply(fault="null"), "no text"),
        (Reply(fault="null", finish="length"), "raise max_tokens"),
    ],
)  # fmt: skip
def test_a_reply_without_sense_is_tried_again_and_then_malformed(bad: Reply, words: str) -> None:
    outcome, calls = outcome_of(script(bad, OK))
    assert isinstance(outcome, Completion)
    assert (outcome.lost, calls) == (1, 2)
    outcome, calls = outcome_of(script(bad))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.lost, calls) == ("malformed", 3, 3)
    assert words in outcome.message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"choices": [{"message": {"content": null, "refusal": "I must not."}}]}', "I must not."),
        (
            '{"choices": [{"message": {"content": [{"type": "thinking"}, {"type": "text", "text": "a"}]}}]}',
            "a",
        ),
        ('{"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}', ""),
    ],
)
def test_unusual_replies_that_hold_a_text_are_read(body: str, text: str) -> None:
    outcome, _ = outcome_of(script(Reply(body=body)))
    assert isinstance(outcome, Completion)
    assert outcome.text == text


def test_a_connection_broken_off_is_tried_again_and_may_have_been_billed() -> None:
    outcome, calls = outcome_of(script(Reply(fault="drop"), OK))
    assert isinstance(outcome, Completion)
    assert (outcome.lost, calls) == (1, 2)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_no_reply_outlives_its_deadline(fault: Any) -> None:
    begun = time.monotonic()
    outcome, calls = outcome_of(script(Reply(fault=fault)), timeout=0.5, attempt_timeout=0.2)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "timeout"
    assert outcome.lost == calls >= 2
    assert "no whole reply within" in outcome.message
    assert time.monotonic() - begun < 8  # a dripping reply takes about ten seconds


def test_a_timeout_is_tried_again() -> None:
    outcome, _ = outcome_of(script(Reply(fault="hang"), OK), attempt_timeout=0.3)
    assert isinstance(outcome, Completion)
    assert outcome.lost == 1


def test_a_wait_beyond_the_deadline_is_not_waited_for() -> None:
    begun = time.monotonic()
    outcome, calls = outcome_of(script(Reply("later", 429, {"retry-after": "3600"})), timeout=5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, calls) == ("server", 1)
    assert "it asks to wait 3.6e+03 s" in outcome.message
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("value", ["soon", "", "nan", "-3", email.utils.formatdate(0, usegmt=True)])
def test_a_senseless_retry_after_does_no_harm(value: str) -> None:
    outcome, calls = outcome_of(script(Reply("later", 429, {"retry-after": value}), OK))
    assert isinstance(outcome, Completion)
    assert calls == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_and_names_the_variable(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "geheim-0815-geheim")
    with (
        LoopbackServer(script(Reply("the key geheim-0815-geheim is wrong", status))) as server,
        RemoteModel("m", base_url=server.url, api_key_env="MY_KEY") as model,
        pytest.raises(
            AuthError, match=f"HTTP {status}: the key .* is wrong; set MY_KEY to a valid key"
        ) as error,
    ):
        list(model.generate([ask()]))
    assert "0815" not in str(error.value)
    assert error.value.exit_code == 3


def test_a_key_cut_by_the_shortening_is_redacted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "geheim-0815-geheim")
    outcome, _ = outcome_of(script(Reply("x" * 290 + "geheim-0815-geheim", 400)), api_key_env="MY_KEY")
    assert isinstance(outcome, Failure)
    assert "geheim" not in outcome.message


@pytest.mark.parametrize(
    "reply",
    [
        Reply("You exceeded your current quota", 429, code="insufficient_quota"),
        Reply("See your billing page", 429),
        Reply("Pay first", 402),
    ],
)
def test_a_spent_quota_ends_the_run(reply: Reply) -> None:
    with pytest.raises(AuthError, match=r"the quota of the key is spent.*billing"):
        outcome_of(script(reply))


def test_a_rate_limit_that_mentions_billing_is_no_spent_quota() -> None:
    limit = Reply("Rate limit reached. Raise it at /account/billing", 429, code="rate_limit_exceeded")
    outcome, calls = outcome_of(script(limit, OK))
    assert isinstance(outcome, Completion)
    assert calls == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply("no such model", 404),
        Reply("gone", 400, code="model_not_found"),
        Reply("this server has no 'm' and no 'llama-3.1-8'", 400),
    ],
)
def test_an_unknown_model_ends_the_run_with_the_models_there_are(reply: Reply) -> None:
    with (
        LoopbackServer(script(reply), models=("llama-3.1-8b", "qwen3-4b")) as server,
        RemoteModel("llama-3.1-8", base_url=server.url) as model,
    ):
        with pytest.raises(ModelError, match=r"did you mean 'llama-3\.1-8b'\?") as error:
            list(model.generate([ask()]))
        assert f"openai/llama-3.1-8 at {server.url}: no such model or path" in str(error.value)
    with (
        LoopbackServer(script(reply), models=("a", "b")) as server,
        RemoteModel("m", base_url=server.url) as model,
        pytest.raises(ModelError, match="choose from a, b"),
    ):
        list(model.generate([ask()]))


def test_a_refusal_that_quotes_the_right_model_is_a_refusal() -> None:
    with (
        LoopbackServer(script(Reply("model m reads at most 10 tokens", 400)), models=("m",)) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        [(_, outcome)] = model.generate([ask()])
    assert isinstance(outcome, Failure)
    assert outcome.reason == "rejected"


def test_an_unknown_model_ends_the_run_where_none_are_listed() -> None:
    with (
        LoopbackServer(script(Reply("Server is pinned to 'x'; requested 'm'.", 400)), models=()) as server,
        RemoteModel("m", base_url=server.url) as model,
        pytest.raises(ModelError, match=r"requested 'm'.; check name and base_url"),
    ):
        list(model.generate([ask()]))


def test_a_wrong_path_ends_the_run_with_a_hint() -> None:
    with (
        LoopbackServer(script(OK)) as server,
        RemoteModel("m", base_url=server.url + "/chat") as model,
        pytest.raises(ModelError, match="base_url usually ends in /v1"),
    ):
        list(model.generate([ask()]))


def test_answers_before_an_error_that_ends_the_run_are_delivered() -> None:
    first = threading.Event()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return OK if messages[0]["content"] == "a" else Reply("no", 401, until=first)

    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url) as model:
        answers = model.generate([ask("a"), ask("b")])
        assert next(answers)[0] == 0
        first.set()
        with pytest.raises(AuthError):
            next(answers)


def test_an_address_where_nothing_ever_answered_ends_the_run_at_once() -> None:
    with LoopbackServer() as server:
        url = server.url
    with RemoteModel("m", base_url=url) as model:
        with pytest.raises(
            ModelError, match=r"nothing answers there \(.*Refused.*\); check base_url"
        ) as error:
            list(model.generate([ask()] * 30))
        assert str(error.value).startswith(f"openai/m at {url}: ")


def test_an_endpoint_that_goes_away_fails_requests_and_then_ends_the_run() -> None:
    server = LoopbackServer(script(OK))
    options: dict[str, Any] = {"max_attempts": 3, "backoff": 0.001, "concurrency": 1}
    with server:
        model = RemoteModel("m", base_url=server.url, **options)
        assert isinstance(dict(model.generate([ask()]))[0], Completion)
    reasons: list[str] = []
    with model, pytest.raises(ModelError, match=r"stopped answering: 2. connections in a row failed"):
        reasons.extend(o.reason for _, o in model.generate([ask()] * 30) if isinstance(o, Failure))
    assert set(reasons) == {"server"}
    assert len(reasons) >= Gate.OPEN // 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_every_attempt_is_admitted_first_and_a_refusal_makes_no_call(after: int) -> None:
    asked: list[int] = []

    def admit(i: int) -> bool:
        asked.append(i)
        return len(asked) <= after

    with (
        LoopbackServer(script(Reply("busy", 500))) as server,
        RemoteModel("m", base_url=server.url, backoff=0.001, max_attempts=2) as model,
    ):
        [(_, outcome)] = model.generate([ask()], admit)
    assert isinstance(outcome, Failure)
    assert outcome.reason == ("budget" if after < 2 else "server")
    assert server.calls == after
    assert asked == [0] * min(after + 1, 2)


def test_an_error_in_admit_comes_out() -> None:
    def admit(i: int) -> bool:
        raise ZeroDivisionError

    with (
        LoopbackServer(script(OK)) as server,
        RemoteModel("m", base_url=server.url) as model,
        pytest.raises(ZeroDivisionError),
    ):
        list(model.generate([ask()], admit))
    assert server.calls == 0


def test_a_chat_endpoint_cannot_insert_and_is_not_asked() -> None:
    with LoopbackServer(script(OK)) as server, RemoteModel("m", base_url=server.url) as model:
        [(_, outcome)] = model.generate([ask(suffix="end")], always)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "unsupported"
    assert server.calls == 0


def test_a_refused_suffix_is_unsupported() -> None:
    with (
        LoopbackServer(script(Reply("suffix is not supported", 400))) as server,
        RemoteModel("m", base_url=server.url, api="completions") as model,
    ):
        outcomes = dict(model.generate([ask(suffix="end"), ask()]))
    assert [outcomes[i].reason for i in (0, 1) if isinstance(outcomes[i], Failure)] == [
        "unsupported",
        "rejected",
    ]  # type: ignore[union-attr]


def test_a_text_that_cannot_be_sent_is_refused_alone() -> None:
    with LoopbackServer(script(OK)) as server, RemoteModel("m", base_url=server.url) as model:
        outcomes = dict(model.generate([ask("\ud800"), ask("fine")]))
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].reason == "rejected"
    assert isinstance(outcomes[1], Completion)


@pytest.mark.parametrize("installed", [True, False])
def test_with_aiohttp_and_without_it_failures_are_told_apart(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost after sending is billed, never connected is not: both transports must say which."""
    from promptopt.models import _http

    if not installed:
        monkeypatch.setattr(_http, "find_spec", lambda name: None)
    _http._never_sent.cache_clear()
    try:
        outcome, calls = outcome_of(script(Reply(fault="drop"), OK))
        assert (outcome.text, outcome.lost, calls) == ("fine", 1, 2)
        server = LoopbackServer(script(OK))
        with server:
            model = RemoteModel("m", base_url=server.url, max_attempts=2, backoff=0.001)
            assert isinstance(dict(model.generate([ask()]))[0], Completion)
            name = type(model._connect()._fleet.replicas[0].http._sdk._client._transport).__name__  # type: ignore[attr-defined]
            assert ("Aiohttp" in name) == installed
        with model:
            [(_, failure)] = model.generate([ask()])
        assert isinstance(failure, Failure)
        assert failure.lost == 0
        assert "cannot connect" in failure.message
    finally:
        _http._never_sent.cache_clear()
