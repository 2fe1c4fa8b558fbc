"""Log-probabilities over HTTP: what is asked, how a continuation is cut out, and what is not believed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Logprobs, LoopbackServer, Messages, Reply, hash_logprobs

from promptopt.contracts.model import Failure, Likelihood, LikelihoodRequest
from promptopt.models._likelihood import read_likelihood
from promptopt.models._trouble import Trouble
from promptopt.models.remote import RemoteModel
from promptopt.records import Message, Usage

Token = tuple[str, float | None]


def ask(prompt: str, continuation: str) -> LikelihoodRequest:
    return LikelihoodRequest((Message("user", prompt),), continuation)


def reply_with(tokens: Sequence[Token], **more: Any) -> dict[str, Any]:
    columns = {"tokens": [t for t, _ in tokens], "token_logprobs": [v for _, v in tokens], **more}
    return {
        "choices": [{"text": "", "logprobs": columns}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 0},
    }


def read(prompt: str, continuation: str, tokens: Sequence[Token], **more: Any) -> Likelihood:
    return read_likelihood(reply_with(tokens, **more), ask(prompt, continuation), 0)


def trouble_of(prompt: str, continuation: str, tokens: Sequence[Token], **more: Any) -> Trouble:
    with pytest.raises(Trouble) as caught:
        read(prompt, continuation, tokens, **more)
    return caught.value


def test_the_continuation_is_scored_after_the_prompt() -> None:
    with (
        LoopbackServer(logprobs=hash_logprobs) as server,
        RemoteModel("m", base_url=server.url, api="completions") as model,
    ):
        outcomes = dict(model.loglikelihood([ask("one two", " three four"), ask("one two", " five")]))
    values = [v for _, v in hash_logprobs("one two three four")[2:]]
    assert outcomes[0] == Likelihood(sum(v for v in values if v), 2, Usage(4, 0))
    assert isinstance(outcomes[1], Likelihood)
    assert outcomes[1].tokens == 1
    body = next(seen.body for seen in server.seen if seen.body["prompt"].endswith("four"))
    assert body == {
        "model": "m",
        "prompt": "one two three four",
        "echo": True,
        "logprobs": 1,
        "temperature": 0,
        "max_tokens": 0,
    }


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), min_size=2, max_size=12),
    st.data(),
)
def test_wherever_the_boundary_falls_the_right_tokens_count(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cut = data.draw(st.integers(1, len(text) - 1))
    tokens = [(piece, -1.0 - i if i else None) for i, piece in enumerate(pieces)]
    ends = [len("".join(pieces[: i + 1])) for i in range(len(pieces))]
    expected = [v for (_, v), end in zip(tokens, ends, strict=True) if end > cut and v is not None]
    mark = data.draw(st.sampled_from([[], [("<s>", None)], [("", None)]]))
    if mark:
        tokens[0], expected = (pieces[0], -0.5), expected + [-0.5] * (ends[0] > cut)
    extra = data.draw(st.sampled_from([[], [("!", -9.0)]]))
    if not expected:
        assert trouble_of(text[:cut], text[cut:], [*mark, *tokens, *extra]).reason == "rejected"
        return
    likelihood = read(text[:cut], text[cut:], [*mark, *tokens, *extra])
    assert likelihood.tokens == len(expected)
    assert likelihood.logprob == pytest.approx(math.fsum(expected))


def test_parts_of_characters_are_put_together() -> None:
    tokens = [("a", None), ("bytes:\\xc3", -1.0), ("bytes:\\xa9", -2.0), ("b", -4.0)]
    assert read("a", "\u00e9b", tokens).logprob == -7.0
    assert read("a\u00e9", "b", tokens).logprob == -4.0


def test_offsets_serve_where_parts_of_characters_cannot_be_spelled() -> None:
    tokens = [("a", None), ("\ufffd", -1.0), ("\ufffd", -2.0), ("b", -4.0), ("!", -8.0)]
    offsets = [0, 1, 1, 2, 3]
    assert read("a", "\u00e9b", tokens, text_offset=offsets).logprob == -7.0 + 1.0  # the first part ends at 1
    assert read("a\u00e9", "b", tokens, text_offset=offsets).logprob == -4.0
    assert trouble_of("a", "\u00e9c", tokens, text_offset=offsets).reason == "unsupported"


@pytest.mark.parametrize("offsets", [[1, 1, 1], [0, 2, 1], [0], [0, 1, 5], []])
def test_offsets_that_do_not_fit_are_not_believed(offsets: list[int]) -> None:
    tokens = [("a", None), ("\ufffd", -1.0), ("b", -2.0)]
    trouble = trouble_of("a", "\u00e9bc", tokens, text_offset=offsets)
    assert trouble.reason == "unsupported"


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "a b"},
        {"text": "a b", "logprobs": None},
        {"text": "a b", "logprobs": {"tokens": None, "token_logprobs": None}},
        {"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [None]}},
        {"text": "a b", "logprobs": {"tokens": ["a", 3], "token_logprobs": [None, -1]}},
        {"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [None, "-1"]}},
        {"text": "a b", "logprobs": {"content": [{"token": "a", "logprob": -1}]}},
    ],
)
def test_missing_log_probabilities_are_unsupported(choice: dict[str, Any]) -> None:
    with pytest.raises(Trouble) as caught:
        read_likelihood({"choices": [choice]}, ask("a", " b"), 0)
    assert caught.value.reason == "unsupported"
    assert caught.value.again == "no"
    assert str(caught.value).endswith(
        "the endpoint returns no log-probabilities of the prompt; use a reward on the text, or a local model"
    )


@pytest.mark.parametrize(
    "tokens",
    [
        [("yes", -0.1)],  # only what was generated: echo was ignored
        [("a", None)],  # the end of the text is missing
        [("b", None), (" b", -1.0)],
        [],
    ],
)
def test_tokens_of_another_text_are_not_believed(tokens: list[Token]) -> None:
    assert trouble_of("a", " b", tokens).reason == "unsupported"


@pytest.mark.parametrize("value", [None, math.nan, -math.inf, 0.7])
def test_a_log_probability_that_cannot_be_is_malformed(value: float | None) -> None:
    assert trouble_of("a", " b c", [("a", None), (" b", -1.0), (" c", value)]).reason == "malformed"


def test_zeros_throughout_are_not_believed() -> None:
    tokens: list[Token] = [("x", None), *[("x", 0.0)] * 11]
    assert trouble_of("x" * 6, "x" * 6, tokens).reason == "unsupported"


def test_nothing_before_the_continuation_leaves_its_first_token_out() -> None:
    assert read("", "a b", [("a", None), (" b", -2.0)]) == Likelihood(-2.0, 1, Usage(7, 0))
    assert trouble_of("", "a", [("a", None)]).reason == "rejected"


def test_a_chat_endpoint_is_not_asked() -> None:
    with LoopbackServer() as server, RemoteModel("m", base_url=server.url) as model:
        [(_, outcome)] = model.loglikelihood([ask("a", "b")])
        assert not model.capabilities.likelihood
    assert isinstance(outcome, Failure)
    assert outcome.reason == "unsupported"
    assert "api: completions" in outcome.message
    assert server.calls == 0


def test_an_empty_continuation_is_not_asked_for() -> None:
    with LoopbackServer() as server, RemoteModel("m", base_url=server.url, api="completions") as model:
        [(_, outcome)] = model.loglikelihood([ask("a", "")])
    assert isinstance(outcome, Failure)
    assert (outcome.reason, server.calls) == ("rejected", 0)


def test_a_server_that_ignores_echo_is_unsupported_after_one_call() -> None:
    with LoopbackServer() as server, RemoteModel("m", base_url=server.url, api="completions") as model:
        [(_, outcome)] = model.loglikelihood([ask("a", "b")])
    assert isinstance(outcome, Failure)
    assert (outcome.reason, server.calls) == ("unsupported", 1)


def insisting(echo: Logprobs, status: int) -> LoopbackServer:
    """Refuse to generate nothing, and echo with one more token, as some servers do."""

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        if body["max_tokens"] < 1:
            return Reply("max_tokens must be at least 1", status)
        if len(body["prompt"]) > 100:
            return Reply("the prompt is too long", 400)
        tokens = [*echo(body["prompt"]), (" more", -3.0)]
        return Reply(body=json.dumps(reply_with(tokens)))

    return LoopbackServer(reply)


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_insists_on_generating_gets_its_token(status: int) -> None:
    asked: list[int] = []
    with (
        insisting(hash_logprobs, status) as server,
        RemoteModel("m", base_url=server.url, api="completions") as model,
    ):
        expected = [v for _, v in hash_logprobs("a b c")[2:]]
        for _ in range(2):
            [(_, outcome)] = model.loglikelihood([ask("a b", " c")], lambda i: not asked.append(i))  # type: ignore[func-returns-value]
            assert isinstance(outcome, Likelihood)
            assert (outcome.logprob, outcome.tokens) == (expected[0], 1)
        [(_, long)] = model.loglikelihood([ask("a " * 100, "c")])
    assert [seen.body["max_tokens"] for seen in server.seen] == [0, 1, 1, 1]
    assert asked == [0, 0, 0]
    assert isinstance(long, Failure)
    assert long.reason == "rejected"


def test_a_server_that_refuses_echo_is_unsupported() -> None:
    with (
        LoopbackServer(
            lambda m, b: Reply("Setting 'echo' and 'logprobs' at once is not allowed", 400)
        ) as server,
        RemoteModel("m", base_url=server.url, api="completions") as model,
    ):
        [(_, outcome)] = model.loglikelihood([ask("a", "b")])
    assert isinstance(outcome, Failure)
    assert outcome.reason == "unsupported"
    assert "is not allowed; use a reward on the text" in outcome.message
