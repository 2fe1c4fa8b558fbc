"""Runs against a counting server on loopback: killed, capped, shared, repeated."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from loopback import LoopbackServer, Reply, hash_reply
from remote_job import CONCURRENCY, finish, job, slow_reply, start

from promptopt.api import resume, run_job
from promptopt.calls import Caller
from promptopt.config import job_from_dict
from promptopt.contracts.model import Decoding, GenerateRequest
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.models.remote import RemoteModel
from promptopt.records import Message
from promptopt.runfolder import RunFolder

KILLS = 20


def kill_at(server: LoopbackServer, calls: int, config: Path, folder: Path, chance: random.Random) -> bool:
    """Start a run, kill it once the server has seen so many calls; return whether it was still running."""
    before = server.calls
    process = start(config, folder)
    while server.calls - before < calls and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(chance.random() * 0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_kill_9_at_20_random_moments_changes_nothing_and_buys_nothing_twice(tmp_path, record_property):
    chance = random.Random(20)
    with LoopbackServer(slow_reply) as server:
        config = tmp_path / "job.yaml"
        config.write_text(json.dumps(job(server.url, rows=tmp_path / "rows.jsonl")))
        whole = finish(config, tmp_path / "whole")
        needed = server.calls
        candidates = (tmp_path / "whole" / "candidates.jsonl").read_text()
        assert needed > 150
        killed, extra = 0, []
        for kill in range(KILLS):
            folder = tmp_path / f"run{kill}"
            before = server.calls
            killed += kill_at(server, chance.randrange(1, needed), config, folder, chance)
            resume(folder)
            resumed = RunFolder(folder).result()
            assert {**resumed, "seconds": 0, "spent": 0} == {**whole, "seconds": 0, "spent": 0}
            assert (folder / "candidates.jsonl").read_text() == candidates
            extra.append(server.calls - before - needed)
            assert 0 <= extra[-1] <= CONCURRENCY
        assert killed >= KILLS - 2
    record_property(
        "figures", f"{killed} kills, {needed} requests a run, extra requests {min(extra)} to {max(extra)}"
    )


def test_a_run_killed_again_and_again_still_ends_the_same(tmp_path):
    chance = random.Random(5)
    with LoopbackServer(slow_reply) as server:
        config = tmp_path / "job.yaml"
        config.write_text(json.dumps(job(server.url, rows=tmp_path / "rows.jsonl")))
        whole = finish(config, tmp_path / "whole")
        needed = server.calls
        for _ in range(4):
            kill_at(server, needed // 6, config, tmp_path / "run", chance)
        resumed = finish(config, tmp_path / "run")
        assert resumed["line"] == whole["line"]
        assert server.calls - needed <= needed + 4 * CONCURRENCY


@pytest.mark.slow
def test_a_template_search_killed_from_the_command_line_ends_with_the_same_best(tmp_path):
    import optuna

    chance = random.Random(7)
    slots = {"form": ["", "One word."], "cue": ["Output:", "Answer:"], "who": ["", "You are a clerk."]}
    text = "{{who}}\nSay yes or no. {{form}}\n{{question}}\n{{cue}}"
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search = {"name": "template", "text": text, "slots": slots, "trials": 8, "batch": 4, "storage": storage}
    with LoopbackServer(slow_reply) as server:
        config = tmp_path / "job.yaml"
        config.write_text(json.dumps(job(server.url, rows=tmp_path / "rows.jsonl", search=search)))
        whole = finish(config, tmp_path / "whole")
        needed = server.calls
        for _ in range(3):
            kill_at(server, needed // 5, config, tmp_path / "run", chance)
        resumed = finish(config, tmp_path / "run")
        assert {**resumed, "seconds": 0, "spent": 0} == {**whole, "seconds": 0, "spent": 0}
        assert needed <= server.calls - needed <= needed + 3 * CONCURRENCY
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.n_trials == 8


PRICE = {"input": 1000.0, "output": 2000.0}


def paid(messages, body):
    """Answer with usage that varies as real usage does."""
    text = hash_reply(messages, body)
    usage = {"prompt_tokens": 40 + len(text) % 7, "completion_tokens": 1 + len(messages[0]["content"]) % 60}
    return Reply(text, delay=0.002, usage=usage)


def spent_at(server: LoopbackServer) -> float:
    total = 0.0
    for seen in server.seen:
        usage = paid(seen.body["messages"], seen.body).usage
        total += usage["prompt_tokens"] * PRICE["input"] + usage["completion_tokens"] * PRICE["output"]
    return total / 1e6


@pytest.mark.parametrize("cap", [{"usd": 80.0}, {"tokens": 60_000}, {"calls": 611}])
def test_at_concurrency_64_the_spend_never_passes_the_cap(tmp_path, cap, record_property):
    with LoopbackServer(paid) as server:
        target = {"model": "openai/m", "base_url": server.url, "price": PRICE}
        target |= {"concurrency": 64, "adaptive": False}  # all at once, not as many as pay
        search = {"name": "ape", "num_subsamples": 3, "num_prompts_per_subsample": 30}
        sizes = {"search": 100, "select": 20, "test": 40}
        more = {"target": target, "search": search, "budget": cap, "n": 160, "sizes": sizes}
        data = job(server.url, rows=tmp_path / "rows.jsonl", **more)
        study = run_job(job_from_dict(data), folder=tmp_path / "run")
        tokens = sum(sum(paid(s.body["messages"], s.body).usage.values()) for s in server.seen)
        assert study.stopped == "budget"
        assert 32 < server.peak <= 64
        assert study.total.calls == server.calls <= cap.get("calls", server.calls)
        assert study.total.tokens == tokens <= cap.get("tokens", tokens)
        assert study.total.usd == pytest.approx(spent_at(server))
        assert spent_at(server) <= cap.get("usd", spent_at(server))
    figures = f"{server.calls} calls, {tokens} tokens, ${spent_at(server):.2f} at the server; cap {cap}"
    record_property("figures", f"{figures}; peak concurrency {server.peak}")


def test_retries_count_as_calls_and_stay_under_the_cap(tmp_path):
    def flaky(messages, body):
        return Reply("busy", status=503) if server.calls % 3 == 0 else hash_reply(messages, body)

    with LoopbackServer(flaky) as server:
        # Each sample by itself: what was asked for together and refused is as many calls as it had samples.
        more = {"backoff": 0.001, "concurrency": 8, "n_parameter": False}
        target = {"model": "openai/m", "base_url": server.url, **more}
        data = job(server.url, rows=tmp_path / "rows.jsonl", target=target, budget={"calls": 170})
        study = run_job(job_from_dict(data), folder=tmp_path / "run")
        assert study.total.calls == server.calls <= 170


def ask(url: str, journal: Journal, requests: list[GenerateRequest]) -> list[str]:
    with RemoteModel("same-name", base_url=url) as model:
        caller = Caller({"target": model}, journal, Ledger())
        return [outcome.text for outcome in caller.ask("target", requests)]


def question(text: str, sample: int = 0, temperature: float = 0.0) -> GenerateRequest:
    return GenerateRequest((Message("user", text),), Decoding(temperature=temperature), sample)


def test_two_endpoints_with_one_model_name_never_answer_for_each_other():
    journal = Journal()
    with LoopbackServer(lambda *_: "left") as left, LoopbackServer(lambda *_: "right") as right:
        for _ in range(2):
            assert ask(left.url, journal, [question("a")]) == ["left"]
            assert ask(right.url, journal, [question("a")]) == ["right"]
        assert (left.calls, right.calls) == (1, 1)
    journal.close()


def test_eight_identical_concurrent_requests_make_one_call():
    journal = Journal()
    with (
        LoopbackServer(lambda *_: Reply("one", delay=0.1)) as server,
        RemoteModel("m", base_url=server.url) as model,
    ):
        caller = Caller({"target": model}, journal, Ledger())
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(caller.ask("target", [question("a")])[0].text))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["one"] * 8
        assert server.calls == 1
    journal.close()


def test_n_samples_are_n_distinct_calls_that_are_kept():
    journal = Journal()
    samples = [question("a", sample, temperature=1.0) for sample in range(6)]
    with LoopbackServer() as server:
        first = ask(server.url, journal, samples)
        assert len(set(first)) == 6
        assert ask(server.url, journal, samples) == first
        assert server.calls == 6
    journal.close()


def test_a_run_is_the_same_at_another_concurrency(tmp_path):
    found = []
    with LoopbackServer(slow_reply) as server:
        for concurrency in (1, 16):
            target = {"model": "openai/loopback", "base_url": server.url, "concurrency": concurrency}
            made = job(server.url, rows=tmp_path / "rows.jsonl", target=target)
            study = run_job(job_from_dict(made, tmp_path), folder=tmp_path / str(concurrency))
            whole = study.to_dict() | {"seconds": 0, "spent": study.total.calls}
            found.append(json.dumps([whole, [candidate.to_dict() for candidate in study.candidates]]))
    assert found[0] == found[1]
