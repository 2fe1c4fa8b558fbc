"""Ask a remote model: what is sent, what is read, who it is, from wherever it is asked."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from loopback import LoopbackServer, Messages, Reply, hash_logprobs, hash_reply

from promptopt.contracts.model import Completion, Decoding, GenerateRequest, LanguageModel, ModelIdentity
from promptopt.errors import BadInput, ConfigError
from promptopt.models._wire import Dialect, read_completions
from promptopt.models.remote import RemoteModel
from promptopt.plugins import build
from promptopt.records import Message, Usage
from promptopt.testing.model import check_model


def ask(text: str, sample: int = 0, suffix: str | None = None, **decoding: Any) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), Decoding(**decoding), sample, suffix)


def echo(messages: Messages, body: dict[str, Any]) -> str:
    return messages[-1]["content"]


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(echo) as running:
        yield running


def limited(messages: Messages, body: dict[str, Any]) -> Reply:
    """Answer by hash, within `max_tokens` words, as a real server would."""
    words = hash_reply(messages, body).split()[: body["max_tokens"]]
    return Reply(" ".join(words), usage={"prompt_tokens": 9, "completion_tokens": len(words)})


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_contract_is_kept(api: Any) -> None:
    with (
        LoopbackServer(limited, logprobs=hash_logprobs) as server,
        RemoteModel("m", base_url=server.url, api=api) as model,
    ):
        check_model(model)


def test_every_position_gets_the_answer_to_its_own_request(server: LoopbackServer) -> None:
    with RemoteModel("m", base_url=server.url) as model:
        answers = list(model.generate([ask(f"question {i}") for i in range(50)]))
        assert isinstance(model, LanguageModel)
    assert {i: outcome.text for i, outcome in answers if isinstance(outcome, Completion)} == {
        i: f"question {i}" for i in range(50)
    }
    assert server.calls == 50
    assert list(model.generate([])) == []
    model.close()


def test_answers_come_as_they_finish() -> None:
    late = threading.Event()

    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply("x", until=late if messages[0]["content"] == "slow" else None)

    with LoopbackServer(reply) as server, RemoteModel("m", base_url=server.url) as model:
        answers = model.generate([ask("slow"), ask("quick")])
        assert next(answers)[0] == 1
        late.set()
        assert next(answers)[0] == 0


def test_a_chat_request_holds_the_decoding_and_nothing_else(server: LoopbackServer) -> None:
    messages = (Message("system", "Be brief."), Message("user", "Hi"))
    decoding = Decoding(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n",), seed=3)
    with RemoteModel("m", base_url=server.url) as model:
        list(model.generate([GenerateRequest(messages, decoding)]))
        list(model.generate([ask("Hi")]))
    first, second = (dict(seen.body) for seen in server.seen)
    assert 0 <= first.pop("seed") < 2**31
    assert first == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
    }
    assert second["temperature"] == 0
    assert "stop" not in second


def test_samples_differ_in_their_seed_and_are_the_same_each_time(server: LoopbackServer) -> None:
    draws = [ask("Hi", sample=i, temperature=1.0) for i in range(8)]
    with RemoteModel("m", base_url=server.url) as model:
        list(model.generate(draws))
        list(model.generate(draws))
    counts = Counter(seen.body["seed"] for seen in server.seen)
    assert sorted(counts.values()) == [2] * 8


def test_options_change_the_request(server: LoopbackServer) -> None:
    options = {
        "name": "m",
        "base_url": server.url,
        "seed_parameter": False,
        "max_tokens_parameter": "max_completion_tokens",
        "extra_body": {"reasoning_effort": "low", "temperature": None},
    }
    with build("models", "openai", options) as model:
        list(model.generate([ask("Hi", max_tokens=9)]))
    assert server.seen[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
    }


def test_completions_send_the_contents_joined_and_the_suffix(server: LoopbackServer) -> None:
    request = GenerateRequest((Message("system", "Rules."), Message("user", "Q:")), suffix="End")
    with RemoteModel("m", base_url=server.url, api="completions") as model:
        [(_, outcome)] = model.generate([request])
    assert outcome == Completion("Rules.\n\nQ:", "stop", Usage(3, 3))
    assert (server.seen[0].path, server.seen[0].body["suffix"]) == ("/completions", "End")


def test_a_suffix_that_the_server_repeats_is_taken_off() -> None:
    with (
        LoopbackServer(lambda m, b: "the middle. End") as server,
        RemoteModel("m", base_url=server.url, api="completions") as model,
    ):
        [(_, outcome)] = model.generate([ask("Begin", suffix=" End")])
    assert isinstance(outcome, Completion)
    assert outcome.text == "the middle."


def test_a_stop_string_that_the_server_ignored_is_cut_off() -> None:
    with (
        LoopbackServer(lambda m, b: Reply("one\ntwo##three", finish="length")) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        [(_, cut)] = model.generate([ask("Hi", stop=("##", "\n"))])
        [(_, whole)] = model.generate([ask("Hi", stop=("four",))])
    assert isinstance(cut, Completion)
    assert isinstance(whole, Completion)
    assert (cut.text, cut.finish) == ("one", "stop")
    assert (whole.text, whole.finish) == ("one\ntwo##three", "length")


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": -5, "completion_tokens": 2}, Usage(4, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 10**12}, Usage(5, 11)),
        ({"prompt_tokens": "5", "completion_tokens": None}, Usage(4, 11)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(4, 11)),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, Usage(4, 11)),
    ],
)
def test_usage_that_cannot_be_true_becomes_an_upper_bound(stated: dict[str, Any], expected: Usage) -> None:
    with (
        LoopbackServer(lambda m, b: Reply("word", usage=stated)) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        [(_, outcome)] = model.generate([ask("ab\u00e9", max_tokens=11)])
    assert isinstance(outcome, Completion)
    assert outcome.usage == expected


def test_missing_usage_becomes_an_upper_bound() -> None:
    with (
        LoopbackServer(lambda m, b: Reply("word", fault="no_usage")) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        [(_, outcome)] = model.generate([ask("ab\u00e9", max_tokens=11)])
    assert outcome == Completion("word", "stop", Usage(4, 11))


def test_two_endpoints_with_the_same_model_name_are_two_models() -> None:
    with (
        LoopbackServer(lambda m, b: "one") as one,
        LoopbackServer(lambda m, b: "two") as two,
        RemoteModel("m", base_url=one.url) as first,
        RemoteModel("m", base_url=two.url) as second,
    ):
        texts = [dict(model.generate([ask("Hi")]))[0] for model in (first, second)]
        assert [text.text for text in texts if isinstance(text, Completion)] == ["one", "two"]
        assert first.identity != second.identity
        assert first.identity == ModelIdentity(one.url, "m", "")


def test_what_changes_answers_is_part_of_the_identity() -> None:
    url = "http://127.0.0.1:1/v1"
    models = [
        RemoteModel("m", base_url=url),
        RemoteModel("m", base_url=url, api="completions"),
        RemoteModel("m", base_url=url, extra_body={"reasoning_effort": "low"}),
        RemoteModel("m", base_url=url, extra_body={"reasoning_effort": "high"}),
    ]
    assert len({model.identity for model in models}) == len(models)
    assert RemoteModel("m", base_url=url, concurrency=2, timeout=1).identity == models[0].identity


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://LocalHost:80/v1/", "http://localhost/v1"),
        ("https://api.example.com:443/v1", "https://api.example.com/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        (" http://127.0.0.1:8000/V1 ", "http://127.0.0.1:8000/V1"),
    ],
)
def test_equal_base_urls_are_one_endpoint(url: str, normal: str) -> None:
    assert RemoteModel("m", base_url=url).identity.endpoint == normal


def test_without_base_url_the_environment_or_openai_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert RemoteModel("m").identity.endpoint == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1/")
    assert RemoteModel("m").identity.endpoint == "http://127.0.0.1:8000/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL: not an http"):
        list(RemoteModel("m").generate([ask("Hi")]))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://",
        "",
        "http://host:99999/v1",
        "http://ho st/v1",
        "http://[::1",
    ],
)
def test_a_base_url_that_is_none_is_an_error_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=r"openai/m\.base_url: not a.* URL; got .*write it like http://"):
        RemoteModel("m", base_url=url)


@pytest.mark.parametrize(
    "url", ["http://ann:geheim@host/v1", "https://host/v1?key=geheim", "https://host/v1#geheim"]
)
def test_a_base_url_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env") as error:
        RemoteModel("m", base_url=url)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "a model needs a name"),
        ({"name": "m", "concurrency": 0}, r"openai/m\.concurrency: must be at least 1; got 0"),
        ({"name": "m", "timeout": 0.0}, r"openai/m\.timeout: must be more than 0 seconds"),
        ({"name": "m", "api": "responses"}, "chat"),
        ({"name": "m", "extra_body": {"stream": True}}, "'stream' is set by promptopt"),
        ({"name": "m", "concurency": 3}, "did you mean 'concurrency'"),
    ],
)
def test_options_without_meaning_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build("models", "openai", options)


def test_a_missing_key_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    model = RemoteModel("m", base_url="http://192.0.2.1/v1", api_key_env="MY_KEY")
    with pytest.raises(ConfigError, match="environment variable MY_KEY is not set") as error:
        list(model.generate([ask("Hi")]))
    assert error.value.exit_code == 2
    monkeypatch.setenv("MY_KEY", "schl\u00fcssel-geheim")
    with pytest.raises(ConfigError, match="the key in MY_KEY holds characters") as error:
        list(model.generate([ask("Hi")]))
    assert "geheim" not in str(error.value)


def test_the_key_is_sent_and_never_shown(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "very-secret-key-0815")
    with RemoteModel("m", base_url=server.url, api_key_env="MY_KEY") as model:
        list(model.generate([ask("Hi")]))
        assert "0815" not in repr(model)
        assert "0815" not in str(model.identity)
    with RemoteModel("m", base_url=server.url, api_key_env="UNSET_KEY") as model:
        list(model.generate([ask("Hi")]))
    assert [seen.headers["authorization"] for seen in server.seen] == [
        "Bearer very-secret-key-0815",
        "Bearer none",
    ]


def test_requests_look_like_those_of_the_sdk(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-mine")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-7")
    with RemoteModel("m", base_url=server.url, api_key_env="OPENAI_API_KEY") as model:
        list(model.generate([ask("Hi ü")]))
    openai.OpenAI(base_url=server.url).post(
        "/chat/completions", body=server.seen[0].body, cast_to=httpx2.Response
    )
    ours, theirs = server.seen
    assert (ours.path, ours.body) == (theirs.path, theirs.body)
    assert ours.headers["openai-organization"] == "org-7"
    for name in ("authorization", "content-type", "content-length", "accept", "openai-organization"):
        assert ours.headers[name] == theirs.headers[name]
    assert "openai" in ours.headers["user-agent"].lower()


def test_it_works_inside_a_running_event_loop(server: LoopbackServer) -> None:
    async def cell() -> int:
        with RemoteModel("m", base_url=server.url) as model:
            return len(list(model.generate([ask("Hi"), ask("Ho")])))

    assert asyncio.run(cell()) == 2


def test_several_threads_may_ask_one_model(server: LoopbackServer) -> None:
    found: list[int] = []
    with RemoteModel("m", base_url=server.url) as model:

        def work(k: int) -> None:
            for i, outcome in model.generate([ask(f"{k}.{i}") for i in range(10)]):
                assert isinstance(outcome, Completion)
                found.append(outcome.text == f"{k}.{i}")

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert found == [True] * 40


def test_a_model_may_be_asked_while_another_batch_of_it_is_unread(server: LoopbackServer) -> None:
    with RemoteModel("m", base_url=server.url, concurrency=1) as model:
        for _, _ in model.generate([ask("outer"), ask("outer")]):
            assert len(list(model.generate([ask("inner")]))) == 1
    assert server.calls == 4


def test_a_closed_model_ends_its_batches_and_opens_again(server: LoopbackServer) -> None:
    server.reply = lambda m, b: Reply("x", fault="hang") if m[0]["content"] == "hang" else "x"
    model = RemoteModel("m", base_url=server.url)
    answers = model.generate([ask("x"), ask("hang")])
    assert next(answers)[0] == 0
    model.close()
    with pytest.raises(Exception, match="was closed while it was being asked"):
        next(answers)
    assert len(list(model.generate([ask("x")]))) == 1
    model.close()
    model.close()


def test_a_model_that_is_dropped_leaves_no_thread(server: LoopbackServer) -> None:
    model = RemoteModel("m", base_url=server.url)
    list(model.generate([ask("x")]))
    names = [thread.name for thread in threading.enumerate()]
    assert "promptopt endpoints" in names
    del model
    names = [thread.name for thread in threading.enumerate()]
    assert "promptopt endpoints" not in names


@pytest.mark.parametrize(
    ("api", "choice", "mean"),
    [
        ("chat", {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}, -1.0),
        ("completions", {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.25]}, -0.375),
        ("chat", None, None),
        ("chat", {"content": []}, None),
        ("chat", {"content": [{"logprob": "much"}, {"logprob": -1}]}, None),
        ("completions", {"token_logprobs": [None, -1.0]}, None),
        ("completions", {"token_logprobs": "x"}, None),
    ],
)
def test_log_probabilities_are_asked_for_and_read_when_wanted(api: Any, choice: Any, mean: Any) -> None:
    wanted = GenerateRequest((Message("user", "hi"),), logprobs=True)
    dialect = Dialect("m", api)
    assert dialect.body(wanted)["logprobs"] == (True if api == "chat" else 1)
    assert "logprobs" not in dialect.body(ask("hi"))
    reply = {"choices": [{"message": {"content": "ab"}, "text": "ab", "logprobs": choice}]}
    assert read_completions(reply, wanted, api, 1, "m")[0].logprob == mean
    assert read_completions(reply, ask("hi"), api, 1, "m")[0].logprob is None
