"""The batch API: filed, waited for, collected, and found again after whatever happened in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer
from loopback import LoopbackServer, Messages, Reply, hash_logprobs, hash_reply

from promptopt.api import resume, run_job
from promptopt.config import load_job
from promptopt.contracts.model import (
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
)
from promptopt.errors import ModelError
from promptopt.models.remote import RemoteModel
from promptopt.records import Message, Usage
from promptopt.runfolder import RunFolder


def ask(text: str, sample: int = 0, **decoding: Any) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), Decoding(**decoding), sample)


def echo(messages: Messages, body: dict[str, Any]) -> str:
    return messages[-1]["content"]


def model_at(server: BatchServer, **options: Any) -> RemoteModel:
    return RemoteModel("m", base_url=server.url, batch=True, batch_poll=0.01, backoff=0.001, **options)


ASKS = [ask(f"question {i}") for i in range(20)]


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer(echo) as running:
        yield running


def test_a_call_is_one_batch_and_every_position_gets_its_answer(server: BatchServer) -> None:
    with model_at(server) as model:
        answers = dict(model.generate(ASKS))
        assert list(model.generate([])) == []
    assert {i: outcome.text for i, outcome in answers.items() if isinstance(outcome, Completion)} == {
        i: f"question {i}" for i in range(20)
    }
    assert answers[3].usage == Usage(3, 3)  # type: ignore[union-attr]
    assert len(server.batches) == 1
    assert server.calls == 0
    assert set(server.answered.values()) == {1}


def test_the_lines_are_those_of_single_requests_and_samples_are_apart(server: BatchServer) -> None:
    with model_at(server, seed_parameter=False) as model:
        list(model.generate([ask("a", 0, temperature=1.0), ask("a", 1, temperature=1.0), ask("a")] * 2))
    (batch,) = server.batches.values()
    assert (batch["endpoint"], batch["metadata"].keys()) == ("/v1/chat/completions", {"promptopt"})
    assert len(server.answered) == 6
    with model_at(server, seed_parameter=False) as model:
        answers = model.generate([ask("a", max_tokens=5)])
        assert len(server.batches) == 1
        next(answers)
    (file,) = [f for f in (b["input_file_id"] for b in server.batches.values()) if f in server.files]
    line = json.loads(server.files[file])
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"] == {
        "model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "temperature": 0.0
    }  # fmt: skip


def test_files_are_deleted_once_the_caller_has_come_back_and_not_before(server: BatchServer) -> None:
    with model_at(server) as model:
        answers = model.generate(ASKS)
        for _ in range(20):
            next(answers)
        assert len(server.files) == 2
        assert next(answers, None) is None
        assert server.files == {}


def test_what_a_killed_process_has_filed_is_found_and_not_paid_or_admitted_again(
    server: BatchServer,
) -> None:
    server.held_from = 0
    first = model_at(server)

    def wait_in_vain() -> None:
        with pytest.raises(ModelError, match="was closed"):
            list(first.generate(ASKS))

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    while not server.batches:
        time.sleep(0.002)
    first.close()
    thread.join(10)
    server.held_from = 10**9
    admitted: list[int] = []
    with model_at(server) as model:
        found = dict(model.generate(ASKS[::-1], lambda i: admitted.append(i) or True))  # type: ignore[func-returns-value]
    assert [found[i].text for i in range(20)] == [f"question {19 - i}" for i in range(20)]  # type: ignore[union-attr]
    assert admitted == []
    assert len(server.batches) == 1


def test_a_part_of_a_batch_is_found_too_and_only_the_rest_is_filed(server: BatchServer) -> None:
    with model_at(server) as model:
        answers = model.generate(ASKS)
        next(answers)  # killed while it journals: the caller never comes back
        answers.close()  # type: ignore[attr-defined]
    server.page = 1
    server.batches = {"other": {"id": "other", "status": "completed", "metadata": None}, **server.batches}
    server.batches |= {"new": {"id": "new", "status": "in_progress", "input_file_id": "f", "metadata": {}}}
    with model_at(server) as model:
        found = dict(model.generate([*ASKS[5:], ask("one more")]))
    assert [found[i].text for i in range(16)] == [*(f"question {i}" for i in range(5, 20)), "one more"]  # type: ignore[union-attr]
    assert len(server.answered) == 21
    assert set(server.answered.values()) == {1}


def test_another_models_batch_is_not_taken(server: BatchServer) -> None:
    with model_at(server) as model:
        next(iter(model.generate(ASKS)))
    with RemoteModel("other", base_url=server.url, batch=True, batch_poll=0.01) as other:
        assert len(dict(other.generate(ASKS))) == 20
    assert len(server.batches) == 2


def test_a_creation_whose_answer_was_lost_is_not_repeated(server: BatchServer) -> None:
    server.forget_replies = 1
    with model_at(server) as model:
        assert len(dict(model.generate(ASKS))) == 20
    assert len(server.batches) == 1


def test_what_failed_in_passing_is_in_the_next_batch() -> None:
    spoilt: set[str] = set()

    def spoil(line: str, answer: dict[str, Any]) -> dict[str, Any] | None:
        if len(spoilt) < 3 and line not in spoilt:
            spoilt.add(line)
            return None if len(spoilt) == 1 else {**answer, "response": {"status_code": 500, "body": {}}}
        return answer

    asked: list[int] = []
    with BatchServer(echo, spoil=spoil) as server, model_at(server) as model:
        answers = dict(model.generate(ASKS, lambda i: asked.append(i) or True))  # type: ignore[func-returns-value]
        assert server.files == {}
    assert all(isinstance(outcome, Completion) for outcome in answers.values())
    assert len(server.batches) == 2
    assert len(asked) == 23


def test_what_fails_for_good_is_a_failure_with_its_reason() -> None:
    def reply(messages: Messages, body: dict[str, Any]) -> Reply:
        kind = messages[0]["content"]
        return Reply("too long", 400) if kind == "long" else Reply("busy", 503 if kind == "busy" else 200)

    with BatchServer(reply) as server, model_at(server, max_attempts=2) as model:
        answers = dict(model.generate([ask("long"), ask("busy"), ask("fine")]))
    assert answers[0] == Failure("rejected", "HTTP 400: too long")
    assert answers[1] == Failure("server", "HTTP 503: busy")
    assert isinstance(answers[2], Completion)
    assert len(server.batches) == 2


def test_the_budget_is_asked_before_a_line_is_filed(server: BatchServer) -> None:
    with model_at(server) as model:
        answers = dict(model.generate(ASKS, lambda i: i < 3))
    assert [isinstance(answers[i], Completion) for i in range(20)] == [i < 3 for i in range(20)]
    assert {o.reason for o in answers.values() if isinstance(o, Failure)} == {"budget"}
    assert len(server.answered) == 3


def test_a_batch_that_fails_ends_the_run_in_the_servers_words(server: BatchServer) -> None:
    server.fail = "Enqueued token limit reached"
    with (
        model_at(server) as model,
        pytest.raises(ModelError, match=r"openai/m at .*: the batch .* failed: Enqueued token limit"),
    ):
        list(model.generate(ASKS))


def test_a_server_without_batches_is_an_error_with_a_cure() -> None:
    with (
        LoopbackServer() as server,
        RemoteModel("m", base_url=server.url, batch=True, max_attempts=1) as model,
        pytest.raises(ModelError, match=r"cannot work with batches: .*set batch: false"),
    ):
        list(model.generate(ASKS))


def test_likelihoods_are_filed_too() -> None:
    requests = [LikelihoodRequest((Message("user", "The sky is"),), word) for word in ("blue", "green")]
    with BatchServer(hash_reply, logprobs=hash_logprobs) as server:
        with model_at(server, api="completions") as model:
            filed = dict(model.loglikelihood(requests))
        with RemoteModel("m", base_url=server.url, api="completions") as model:
            single = dict(model.loglikelihood(requests))
    assert filed == single
    assert all(isinstance(outcome, Likelihood) for outcome in filed.values())


def test_a_batch_of_which_only_a_part_was_asked_for_is_kept_until_the_rest_is(server: BatchServer) -> None:
    with model_at(server) as model:
        next(iter(model.generate(ASKS)))
    with model_at(server) as model:
        for i in range(20):
            assert len(server.files) == 2
            list(model.generate([ASKS[i]], lambda i: False))
    assert server.files == {}
    assert set(server.answered.values()) == {1}


JOB = """\
data: {path: rows.jsonl, sizes: {search: 20, select: 14, test: 20}}
prompt: Say yes or no.
target: {model: openai/m, base_url: "URL", batch: true, batch_poll: 0.01}
reward: exact_match
search: {name: ape, num_subsamples: 1, num_prompts_per_subsample: 4, rounds: 0}
"""


def test_a_run_killed_while_a_batch_is_out_pays_nothing_twice(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"Is {i} odd?", "output": ["no", "yes"][i % 2]}) for i in range(54)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with BatchServer(hash_reply) as server:
        (tmp_path / "job.yaml").write_text(JOB.replace("URL", server.url))
        run_job(load_job(tmp_path / "job.yaml"), folder=tmp_path / "whole")
        whole, paid = RunFolder(tmp_path / "whole").result(), server.answered
        server.answered, server.batches, server.held_from = {}, {}, 2
        verb = [sys.executable, "-m", "promptopt.cli", "run", "job.yaml", "--quiet", "--folder", "killed"]
        process = subprocess.Popen(verb, cwd=tmp_path, stdout=subprocess.PIPE)
        while len(server.batches) < 3:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.held_from = 10**9
        resume(tmp_path / "killed")
    resumed = RunFolder(tmp_path / "killed").result()
    assert {**resumed, "seconds": 0, "spent": 0} == {**whole, "seconds": 0, "spent": 0}
    assert server.answered == paid
    assert set(paid.values()) == {1}
    # What was out is not charged once as lost and once as answered.
    spent = [
        {role: {**took, "seconds": 0} for role, took in found["spent"].items()} for found in (whole, resumed)
    ]
    assert spent[0] == spent[1]
