"""Several servers of one model: who is asked, and what happens when one goes and comes back."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply, hash_logprobs, hash_reply

from promptopt.config import job_from_dict
from promptopt.contracts.model import Completion, Decoding, Failure, GenerateRequest, LikelihoodRequest
from promptopt.errors import ConfigError, ModelError
from promptopt.models._circuit import Circuit
from promptopt.models._endpoint import Ask, Endpoint
from promptopt.models._fleet import SLACK, Lanes, Replica
from promptopt.models._units import BLOCK, beginnings
from promptopt.models.remote import RemoteModel
from promptopt.records import Message
from promptopt.testing.model import check_model


def ask(text: str) -> GenerateRequest:
    return GenerateRequest((Message("user", text),))


def echo(messages: Messages, body: dict[str, Any]) -> Reply:
    return Reply(messages[-1]["content"], delay=0.01)


def texts(model: RemoteModel, asked: list[str]) -> dict[int, str]:
    """Ask; every position must be answered once."""
    found = list(model.generate([ask(text) for text in asked]))
    assert len(found) == len({i for i, _ in found}) == len(asked)
    assert all(isinstance(outcome, Completion) for _, outcome in found), found
    return {i: outcome.text for i, outcome in found if isinstance(outcome, Completion)}


def nobody() -> str:
    """Return the URL of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def prompts(many: int, rows: int) -> list[str]:
    return [f"Prompt {p}: " + f"think of {p} " * 60 + f"\nRow {r}" for r in range(rows) for p in range(many)]


def test_the_contract_is_kept_by_several_as_by_one() -> None:
    def limited(messages: Messages, body: dict[str, Any]) -> Reply:
        words = hash_reply(messages, body).split()[: body["max_tokens"]]
        return Reply(" ".join(words), usage={"prompt_tokens": 9, "completion_tokens": len(words)})

    with ExitStack() as stack:
        servers = [stack.enter_context(LoopbackServer(limited, logprobs=hash_logprobs)) for _ in range(3)]
        urls = [server.url for server in servers]
        model = stack.enter_context(RemoteModel("m", endpoints=urls, api="completions"))
        check_model(model)
        assert all(server.calls for server in servers)


def test_the_order_of_the_servers_does_not_make_another_model() -> None:
    urls = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]
    first, second = RemoteModel("m", endpoints=urls), RemoteModel("m", endpoints=urls[::-1])
    assert first.identity == second.identity
    assert first.identity != RemoteModel("m", endpoints=[*urls, "http://127.0.0.1:3/v1"]).identity
    assert RemoteModel("m", endpoints=urls[:1]).identity == RemoteModel("m", base_url=urls[0]).identity
    assert RemoteModel("m", endpoints=urls, concurrency=5).capabilities.concurrency == 10


def test_a_named_fleet_stays_the_same_model_whoever_serves_it() -> None:
    one = RemoteModel("m", endpoints=["http://127.0.0.1:1"], fleet="farm")
    assert one.identity == RemoteModel("m", endpoints=["http://127.0.0.1:2"], fleet="farm").identity
    assert one.identity.endpoint == "fleet:farm"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoints": ["http://a/v1", "http://A/v1/"]}, "openai/m.endpoints: a server is there twice; got 'http://a/v1'"),
        ({"endpoints": ["http://a"], "base_url": "http://b"}, "openai/m.endpoints: base_url is there, too"),
        ({"endpoints": ["ftp://a"]}, "openai/m.endpoints: not an http"),
        ({"endpoints": "http://a"}, "openai/m.endpoints: must be a list of URLs"),
        ({"endpoints": ["http://a"], "batch": True}, "openai/m.batch: a batch is filed at one server"),
        ({"fleet": "farm"}, "openai/m.fleet: names no servers"),
    ],
)  # fmt: skip
def test_a_fleet_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RemoteModel("m", **options)


def test_a_job_file_names_servers(tmp_path: Any) -> None:
    rows = [{"input": str(i), "output": str(i)} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
    target = {"model": "openai/m", "endpoints": ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]}
    job = job_from_dict(
        {
            "data": "rows.jsonl",
            "prompt": "Say.",
            "target": target,
            "reward": "contains",
            "search": "seed_only",
        },
        tmp_path,
    )
    assert job.target.list_price is None
    assert job_from_dict(job.to_lock(), "/") == job


def test_calls_that_begin_alike_meet_the_same_server() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(LoopbackServer(echo)) for _ in range(3)]
        urls = [server.url for server in servers]
        asked = prompts(24, rows=10)
        for batch in (asked[:120], asked[120:]):  # a model opened anew sends them to the same places
            with RemoteModel("m", endpoints=urls, concurrency=4) as model:
                assert texts(model, batch) == dict(enumerate(batch))
    seen = [
        Counter(s.body["messages"][0]["content"].split(":")[0] for s in server.seen) for server in servers
    ]
    at_home = sum(max(count[name] for count in seen) for name in {name for count in seen for name in count})
    assert sum(server.calls for server in servers) == len(asked)
    assert at_home > 0.7 * len(asked)  # chance would give little more than a third
    assert min(server.calls for server in servers) > len(asked) / 6


def test_the_next_call_is_one_for_the_server_with_least_to_do() -> None:
    nothing: Any = None
    idle, busy, dead = (Replica(name, Endpoint(f"http://{name}", nothing), nothing) for name in "abc")

    def begin(replica: Replica, calls: int) -> None:
        for _ in range(calls):
            replica.gate.seize(Ask(8))

    begin(idle, 1)
    begin(busy, 3)
    while not dead.circuit.open:
        dead.circuit.failed(0.0, trying=False, unreachable=True)
    units: dict[Replica | None, list[list[int]]] = {
        idle: [[0], [1]],
        busy: [[2], [3, 4]],
        dead: [[5]],
        None: [[6]],
    }
    lanes = Lanes({home: deque(its) for home, its in units.items()})
    assert len(lanes) == 6
    assert [3, 4] in lanes
    coming = iter(lanes)
    assert next(coming) == [0]
    begin(idle, 3)  # it has taken more meanwhile
    assert [next(coming), next(coming), next(coming)] == [[2], [3, 4], [1]]
    assert sorted(coming) == [
        [5],
        [6],
    ]  # what belongs to nobody, or to one that is out of service, comes last
    assert len(lanes) == 0


def test_no_server_has_more_than_its_share_under_way() -> None:
    go = threading.Event()
    with ExitStack() as stack:
        servers = [stack.enter_context(LoopbackServer(lambda m, b: Reply("x", until=go))) for _ in range(3)]
        model = stack.enter_context(RemoteModel("m", endpoints=[s.url for s in servers], concurrency=100))
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.extend(model.generate([ask(text) for text in prompts(1, rows=12)]))
        )
        thread.start()
        deadline = time.monotonic() + 10
        while sum(server.active for server in servers) < 12 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sum(server.active for server in servers) == 12
        assert max(server.active for server in servers) <= SLACK * 12 / 3 + 1
        go.set()
        thread.join(10)
    assert len(answers) == 12


def test_a_server_that_is_not_there_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    asked = prompts(6, rows=10)
    with ExitStack() as stack:
        servers = [stack.enter_context(LoopbackServer(echo)) for _ in range(2)]
        urls = [server.url for server in servers]
        with RemoteModel("m", endpoints=[nobody(), *urls], concurrency=4) as model:
            assert texts(model, asked) == dict(enumerate(asked))
    assert sum(server.calls for server in servers) == len(asked)
    assert "is out of service, its calls go to others: cannot connect" in caplog.text


def test_servers_of_which_none_is_there_end_the_run() -> None:
    with (
        RemoteModel("m", endpoints=[nobody(), nobody()], max_attempts=2) as model,
        pytest.raises(ModelError, match="openai/m at 2 endpoints: nothing answers there"),
    ):
        list(model.generate([ask("x")] * 5))


def test_servers_that_all_go_away_end_the_run() -> None:
    servers = [LoopbackServer(echo), LoopbackServer(echo)]
    urls = [server.__enter__().url for server in servers]
    with RemoteModel("m", endpoints=urls, max_attempts=3, backoff=0.001, timeout=20) as model:
        assert texts(model, ["a", "b"])
        for server in servers:
            server.__exit__()
        with pytest.raises(ModelError, match=r"stopped answering: .* run again once it is back"):
            list(model.generate([ask("x")] * 5))


def test_a_server_that_goes_and_comes_back_takes_part_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "promptopt.models")
    asked = prompts(9, rows=60)
    with LoopbackServer(echo) as stays:
        goes = LoopbackServer(echo)
        goes.__enter__()
        with RemoteModel("m", endpoints=[stays.url, goes.url], concurrency=4, backoff=0.001) as model:
            answers, found = model.generate([ask(text) for text in asked]), {}
            for i, outcome in answers:
                assert i not in found
                assert isinstance(outcome, Completion)
                assert outcome.text == asked[i]
                found[i] = outcome
                if len(found) == 100:
                    goes.__exit__()
                if len(found) == 200:
                    back = LoopbackServer(echo, port=goes.port)
                    back.__enter__()
        back.__exit__()
    assert len(found) == len(asked)
    assert goes.calls > 20
    assert back.calls > 20
    assert stays.calls + goes.calls + back.calls - len(asked) <= 4  # under way when it went
    assert sum(outcome.lost for outcome in found.values()) <= 4
    assert [word in caplog.text for word in ("is out of service", "is back")] == [True, True]


def test_a_server_that_fails_at_once_does_not_attract_all_calls() -> None:
    asked = prompts(8, rows=20)
    with LoopbackServer(echo) as good, LoopbackServer(lambda m, b: Reply("broken", 500)) as bad:
        with RemoteModel("m", endpoints=[good.url, bad.url], concurrency=4, backoff=0.001) as model:
            assert texts(model, asked) == dict(enumerate(asked))
        assert good.calls == len(asked)
        assert bad.calls <= 3 * Circuit.FAILURES


def test_a_refusal_is_an_answer_wherever_it_comes_from() -> None:
    def refuse(messages: Messages, body: dict[str, Any]) -> Reply:
        return Reply("too long", 400)

    with LoopbackServer(refuse) as one, LoopbackServer(refuse) as other:
        with RemoteModel("m", endpoints=[one.url, other.url]) as model:
            outcomes = [outcome for _, outcome in model.generate([ask(f"{i}") for i in range(20)])]
        assert all(isinstance(outcome, Failure) and outcome.reason == "rejected" for outcome in outcomes)
        assert one.calls + other.calls == 20


def test_a_wait_that_one_server_asks_for_is_kept_by_that_one() -> None:
    told = threading.Event()

    def busy(messages: Messages, body: dict[str, Any]) -> Reply:
        if told.is_set():
            return Reply("x")
        told.set()
        return Reply("slow down", 429, {"retry-after": "0.8"})

    with LoopbackServer(busy) as one, LoopbackServer(echo) as other:
        with RemoteModel("m", endpoints=[one.url, other.url], concurrency=1, backoff=0.001) as model:
            begun = time.monotonic()
            assert len(texts(model, [f"{i}" for i in range(40)])) == 40
            assert time.monotonic() - begun < 10
        later = [seen.begun - one.seen[0].begun for seen in one.seen[1:]]
        assert all(seconds > 0.75 for seconds in later)
        assert other.calls >= 20


def test_limits_a_minute_hold_for_each_server() -> None:
    with LoopbackServer(echo) as one, LoopbackServer(echo) as other:
        with RemoteModel("m", endpoints=[one.url, other.url], requests_per_minute=600) as model:
            begun = time.monotonic()
            texts(model, [f"{i}" for i in range(40)])
            seconds = time.monotonic() - begun
        # 600 a minute are 10 at once and then 9.83 a second: of 40 at both, 20 have to wait for their turn.
        assert 0.8 < seconds < 8
        assert max(one.calls, other.calls) <= 10 + 10 * seconds + 1


def test_samples_and_likelihoods_are_routed_too() -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(LoopbackServer(samples=True, logprobs=hash_logprobs)) for _ in range(2)
        ]
        urls = [server.url for server in servers]
        model = stack.enter_context(RemoteModel("m", endpoints=urls, api="completions"))
        warm = Decoding(temperature=1.0)
        asked = [
            GenerateRequest((Message("user", f"{q}"),), warm, sample) for q in range(6) for sample in range(4)
        ]
        assert len({i for i, o in model.generate(asked) if isinstance(o, Completion)}) == 24
        scored = [LikelihoodRequest((Message("user", f"Is {i} odd?"),), " yes") for i in range(30)]
        assert len(dict(model.loglikelihood(scored))) == 30
        assert all(server.calls for server in servers)


def test_a_circuit_opens_tries_and_closes() -> None:
    circuit = Circuit()
    for _ in range(Circuit.FAILURES - 1):
        assert not circuit.failed(0.0, trying=circuit.entered(), unreachable=False)
    circuit.worked()
    for _ in range(Circuit.FAILURES - 1):
        assert not circuit.failed(0.0, trying=False, unreachable=False)
    assert circuit.failed(0.0, trying=False, unreachable=False)
    assert not circuit.failed(0.1, trying=False, unreachable=True)  # sent before: known already
    assert circuit.wait(0.1) == pytest.approx(Circuit.FIRST - 0.1)
    assert circuit.wait(1.0) == 0
    assert circuit.entered()
    assert circuit.wait(1.0) == float("inf")  # one at a time
    assert not circuit.failed(1.0, trying=True, unreachable=True)
    assert circuit.wait(1.0) == 2 * Circuit.FIRST
    for _ in range(9):
        circuit.entered()
        circuit.failed(9.0, trying=True, unreachable=True)
    assert circuit.wait(9.0) == Circuit.LONGEST
    circuit.entered()
    circuit.abandoned()
    assert circuit.wait(99.0) == 0
    assert circuit.worked()
    assert not circuit.worked()
    assert circuit.failed(0.0, trying=False, unreachable=True)
    assert circuit.wait(0.0) == Circuit.FIRST


def test_a_beginning_is_what_neighbours_share() -> None:
    instruction = "i" * (3 * BLOCK + 5)
    other = "j" * (2 * BLOCK)
    found = beginnings(
        [ask(f"{instruction}{n}") for n in range(3)] + [ask(f"{other}\n{n}") for n in range(2)]
    )
    assert found[0] == found[1] == found[2] != found[3] == found[4]
    assert found[0].endswith("i" * (3 * BLOCK - len("user\n")))
    assert beginnings([ask("short"), ask("other")]) == ["", ""]
    alone = beginnings([ask("x" * 5 * BLOCK)])
    assert len(alone[0]) == 5 * BLOCK
    assert beginnings([]) == []
