"""Several processes that score one file: one study, one cap, one of them killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from bulk_job import asked, cells, make_job, run, write
from loopback import LoopbackServer, Reply
from postgres import server

from promptopt.api_bulk import join_scoring
from promptopt.errors import BudgetExhausted, JournalError
from promptopt.journal import Journal

LEASE = 3
CONCURRENCY = 4


def test_a_study_is_of_one_job_and_a_later_process_may_raise_its_budget(tmp_path):
    pytest.importorskip("psycopg")
    make_job(tmp_path)
    write(tmp_path / "all.jsonl", 25)
    with server() as database:
        first = run(tmp_path, study=database)
        assert run(tmp_path, study=database).totals == first.totals
        joined = join_scoring(database)
        assert joined is not None
        assert joined.totals == first.totals
        assert set(asked(tmp_path).values()) == {1}
        other = {"study": f"{database}?study=other", "folder": tmp_path / "other"}
        make_job(tmp_path, budget={"calls": 14})
        for _ in range(2):
            with pytest.raises(BudgetExhausted, match="14 calls"):
                run(tmp_path, **other)
        assert sum(asked(tmp_path).values()) == 25 + 14
        make_job(tmp_path, budget={"calls": 25})
        assert run(tmp_path, **other).totals.tallies == first.totals.tallies
        assert join_scoring(other["study"]).totals.tallies == first.totals.tallies
        assert sum(asked(tmp_path).values()) == 50
        make_job(tmp_path, seed=5)
        with pytest.raises(JournalError):
            run(tmp_path, study=database)
        assert join_scoring(f"{database}?study=empty") is None


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "promptopt.cli", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_workers_share_a_file_and_one_is_killed(tmp_path, record_property):
    pytest.importorskip("psycopg")
    many = 600

    def reply(messages, body):
        number = int(messages[-1]["content"].split()[-1])
        return Reply("yes" if number % 2 else "no", delay=0.05)

    with LoopbackServer(reply) as target, server() as database:
        options = {"base_url": target.url, "concurrency": CONCURRENCY}
        config = make_job(tmp_path, target={"model": "openai/m", **options})
        write(tmp_path / "all.jsonl", many, wrong=50)
        study = f"{database}?study=bulk&lease={LEASE}"
        words = (
            "--data",
            tmp_path / "all.jsonl",
            "--out",
            tmp_path / "out",
            "--format",
            "jsonl",
            "--part",
            20,
        )
        workers = [start("score", config, *words, "--study", study)]
        journal = Journal(study)
        while journal.get_meta("scoring") is None:
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.02)
        workers += [start("worker", "--study", study) for _ in range(3)]
        killed = kill_one_at_work(journal, workers, after=6)
        outs = [process.communicate(timeout=300) for process in workers if process is not killed]
        assert all(process.returncode == 0 for process in workers if process is not killed), outs
        lines = {out.strip().splitlines()[-1].split(",")[0] for out, _ in outs}
        assert lines == {f"exact_match on {many} rows"}
        assert journal.count("calls") == many // 20  # every part once
        journal.close()
        texts = Counter(seen.body["messages"][0]["content"] for seen in target.seen)
    table = cells(tmp_path / "out")
    assert [cell["row"] for cell in table] == list(range(many))
    assert [cell["value"] for cell in table] == [float(i >= 50) for i in range(many)]
    again = sum(texts.values()) - len(texts)
    assert len(texts) == many
    assert again <= CONCURRENCY  # what the killed one had sent and not heard of
    record_property("figures", f"{many} cells, {again} asked twice")


CAPS = {
    "calls": {"calls": 400},
    "tokens": {"tokens": 3000},
    "usd": {"usd": 0.003},
}
"""Of a job that needs 600 calls, 750 with those that fail; a call takes 8 tokens, a dollar is a million."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cap", CAPS)
def test_a_cap_that_workers_share_is_never_passed_though_a_fifth_of_all_attempts_fails(
    tmp_path, cap, record_property
):
    pytest.importorskip("psycopg")
    chance, answered = random.Random(cap), []

    def reply(messages, body):
        if chance.random() < 0.2:
            return Reply("out of order", status=500, delay=0.005)
        answered.append(8)
        return Reply("yes", delay=0.005, usage={"prompt_tokens": 7, "completion_tokens": 1})

    with LoopbackServer(reply) as target, server() as database:
        options = {"base_url": target.url, "concurrency": CONCURRENCY, "backoff": 0.01}
        config = make_job(
            tmp_path,
            target={
                "model": "openai/m",
                "price": {"input": 1, "output": 1},
                "decoding": {"max_tokens": 2},
                **options,
            },
            budget=CAPS[cap],
        )
        write(tmp_path / "all.jsonl", 600)
        study = f"{database}?study=cap"
        words = ("--data", tmp_path / "all.jsonl", "--out", tmp_path / "out", "--format", "jsonl")
        workers = [start("score", config, *words, "--part", 20, "--study", study)]
        journal = Journal(study)
        while journal.get_meta("scoring") is None:
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.02)
        workers += [start("worker", "--study", study) for _ in range(2)]
        outs = [process.communicate(timeout=200) for process in workers]
        journal.close()
    assert [process.returncode for process in workers] == [4] * 3, outs
    tokens = sum(answered)
    spent = {"calls": target.calls, "tokens": tokens, "usd": tokens / 1e6}[cap]
    most = CAPS[cap][cap]
    assert 0.95 * most < spent <= most
    assert 0.1 < 1 - len(answered) / target.calls < 0.3
    record_property("figures", f"{cap}: {spent:g} of {most:g} spent in {target.calls} attempts")


def kill_one_at_work(
    journal: Journal, workers: list[subprocess.Popen[str]], after: int
) -> subprocess.Popen[str]:
    """Kill a process that is at a part, once some parts are finished; return it."""
    at_work = "SELECT pid FROM work JOIN workers ON workers.id = work.worker"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        busy = {pid for (pid,) in journal._store.query(at_work)}
        found = next((process for process in workers if process.pid in busy), None)
        if journal.count("calls") >= after and len(busy) > 1 and found is not None:
            time.sleep(0.1)  # into the middle of it
            os.kill(found.pid, signal.SIGKILL)
            found.communicate()
            return found
        assert all(process.poll() in (None, 0) for process in workers)
        time.sleep(0.01)
    pytest.fail("nobody was ever at work")
