"""A run that several processes share: a PostgreSQL server, workers, and what happens when one is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard import dashboard
from loopback import LoopbackServer, Reply
from postgres import server
from toys import chance, fake, make_setup, proposer_reply, read_input, target_reply

from promptopt.api import optimize
from promptopt.cli.main import main
from promptopt.data import read
from promptopt.errors import ConfigError, JournalError
from promptopt.journal import Journal
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.search._template_database import opened_storage
from promptopt.shared import rows_from_dict, rows_to_dict

pytest.importorskip("psycopg")

TRIALS = 36
CONCURRENCY = 4
LEASE = 5
SLOTS = {
    "role": ["", "You are a clerk.", "You are a cat."],
    "task": ["Do it.", "Write in capitals.", "Repeat.", "Sing."],
    "form": {"alternatives": {"short": "One word.", "long": "Explain it."}, "optional": True},
    "cue": ["Output:", "Answer:"],
}


def reply(messages, body):
    """Write capitals, more often if told to, and take a moment."""
    text = messages[-1]["content"]
    if body["max_tokens"] > 64:
        return Reply(
            f"Write in {'capitals' if chance(text) < 0.3 else 'letters'}, form {body['seed'] % 9}.",
            delay=0.01,
        )
    sure = 0.1 + 0.5 * ("capitals" in text) + 0.2 * ("clerk" in text) - 0.2 * ("Explain" in text)
    word = read_input(text)
    return Reply(word.upper() if chance(text) < sure else word, delay=0.01)


def job(tmp_path: Path, target: str, storage: str | None = None) -> Path:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"id": str(i), "input": f"w{i}", "output": f"W{i}"}) + "\n" for i in range(90))
    )
    text = "{{role}}\n{{task}} {{form}}\n\nInput: {{input}}\n{{cue}}"
    search = {"name": "template", "text": text, "slots": SLOTS, "trials": TRIALS, "batch": 9}
    config = tmp_path / "job.yaml"
    data = {
        "name": "shared",
        "data": {"path": str(rows), "sizes": {"search": 30, "select": 20, "test": 40}},
        "prompt": "Do it.",
        "target": {"model": "openai/loopback", "base_url": target, "concurrency": CONCURRENCY},
        "reward": {"name": "exact_match", "ignore_case": False},
        "search": search | ({} if storage is None else {"storage": storage}),
        "seed": 3,
    }
    config.write_text(json.dumps(data))
    return config


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "promptopt.cli", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out.strip()


def claims(journal: Journal, pid: int) -> int:
    """Return how many calls a process has claimed and not made."""
    sql = (
        "SELECT count(*) FROM work JOIN workers ON workers.id = work.worker WHERE pid = ?"
        " AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.key = work.key)"
    )
    return journal._store.query(sql, (pid,))[0][0]


def kill_in_the_middle(journal: Journal, process: subprocess.Popen[str], after: int) -> int:
    """Kill a process once the study has so many calls and this one is busy; return what it had claimed."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if journal.count("calls") >= after and (busy := claims(journal, process.pid)):
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return busy
        time.sleep(0.002)
    pytest.fail(f"it was never busy: {process.communicate()}")


def comparable(result: dict) -> dict:
    return {**result, "seconds": 0, "spent": 0, "search_notes": 0}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["worker", "starter"])
def test_three_processes_share_a_study_and_one_is_killed(tmp_path, victim, record_property):
    with LoopbackServer(reply) as target, server() as database:
        alone = tmp_path / "alone"
        finish(start("run", job(tmp_path, target.url), "--folder", alone))
        expected = RunFolder(alone).result()
        needed = target.calls
        target.seen.clear()

        config, folder = job(tmp_path, target.url, database), tmp_path / "run"
        study = f"{database}?study=killed&lease={LEASE}"
        starter = start("run", config, "--folder", folder, "--study", study)
        journal = Journal(study)
        while journal.get_meta("data") is None:
            time.sleep(0.01)
        workers = [start("worker", "--study", study) for _ in range(2)]
        killed = starter if victim == "starter" else workers[0]
        busy = kill_in_the_middle(journal, killed, needed // 3)
        others = [process for process in (starter, *workers) if process is not killed]
        lines = [finish(process) for process in others]

        # Nothing lost: all that are alive come to the verdict that one process alone comes to.
        assert lines == [expected["line"]] * 2
        assert journal.count("calls") == needed
        # Nothing twice, but for what the killed one had sent and not heard of.
        asked = Counter(json.dumps(seen.body, sort_keys=True) for seen in target.seen)
        again = sum(asked.values()) - len(asked)
        assert len(asked) == needed
        assert again <= CONCURRENCY
        shared_by = journal._store.query("SELECT count(DISTINCT worker) FROM work WHERE worker IS NOT NULL")
        assert shared_by[0][0] <= 1  # what is left of the killed one's claims has been made by others
        journal.close()

        if victim == "starter":
            before = target.calls
            finish(start("resume", folder))
            assert target.calls == before
        result = RunFolder(folder).result()
        assert comparable(result) == comparable(expected)
        assert (folder / "candidates.jsonl").read_text() == (alone / "candidates.jsonl").read_text()
        check_trials(database, result)
        with dashboard(database.replace("postgresql://", "postgresql+psycopg://")) as get:
            (listed,) = get("/api/studies")["study_summaries"]
            assert len(get(f"/api/studies/{listed['study_id']}")["trials"]) == TRIALS
    record_property(
        "figures", f"{needed} calls, {busy} claimed by the killed one, {again} of them sent twice"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_processes_share_a_search_that_knows_nothing_of_it_and_one_is_killed(tmp_path, record_property):
    with LoopbackServer(reply) as target, server() as database:
        alone = tmp_path / "alone"
        finish(start("run", ape(tmp_path, target.url), "--folder", alone))
        expected = RunFolder(alone).result()
        needed = target.calls
        target.seen.clear()

        study = f"{database}?study=ape&lease={LEASE}"
        folder = tmp_path / "run"
        starter = start("run", ape(tmp_path, target.url), "--folder", folder, "--study", study)
        journal = Journal(study)
        while journal.get_meta("data") is None:
            assert starter.poll() is None, starter.communicate()
            time.sleep(0.01)
        workers = [start("worker", "--study", study) for _ in range(3)]
        busy = kill_in_the_middle(journal, workers[0], needed // 3)
        assert [finish(process) for process in (starter, *workers[1:])] == [expected["line"]] * 3
        assert journal.count("calls") == needed
        journal.close()
        asked = Counter(json.dumps(seen.body, sort_keys=True) for seen in target.seen)
        assert len(asked) == needed
        again = sum(asked.values()) - needed
        assert again <= CONCURRENCY
        assert comparable(RunFolder(folder).result()) == comparable(expected)
    record_property("figures", f"{needed} calls, {busy} claimed by the killed one, {again} sent twice")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cap", [160, 300])
def test_workers_of_a_search_never_pass_its_cap_together_though_a_fifth_of_all_attempts_fails(
    tmp_path, cap, record_property
):
    faults = random.Random(cap)

    def faulty(messages, body):
        return Reply("out of order", status=500) if faults.random() < 0.2 else reply(messages, body)

    with LoopbackServer(faulty) as target, server() as database:
        config = ape(tmp_path, target.url, budget={"calls": cap}, backoff=0.01)
        study = f"{database}?study=cap"
        starter = start("run", config, "--folder", tmp_path / "run", "--study", study)
        journal = Journal(study)
        while journal.get_meta("data") is None:
            assert starter.poll() is None, starter.communicate()
            time.sleep(0.01)
        workers = [starter, *(start("worker", "--study", study) for _ in range(2))]
        lines = {finish(process) for process in workers}
        assert len(lines) == 1  # all come to one verdict
        (drawn,) = journal._store.query("SELECT calls FROM purse")
        journal.close()
    assert drawn[0] == target.calls <= cap
    assert target.calls > 0.7 * cap
    record_property("figures", f"{target.calls} of {cap} calls")


def ape(tmp_path: Path, target: str, budget: dict[str, int] | None = None, **options: float) -> Path:
    """Return a job whose searcher proposes prompts."""
    config = job(tmp_path, target)
    data = json.loads(config.read_text())
    search = {"name": "ape", "num_prompts_per_subsample": 6}
    data["target"]["n_parameter"] = (
        False  # whether samples can be drawn together is found out by each process
    )
    data["target"].update(options)
    prompt = "Do it.\n\nInput: {{input}}\nOutput:"
    config.write_text(json.dumps({**data, "prompt": prompt, "search": search, "budget": budget or {}}))
    return config


def check_trials(database: str, result: dict) -> None:
    """Every trial is in Optuna's study once, and the best of them is the winner."""
    import optuna

    with opened_storage(database) as storage:
        (summary,) = optuna.get_all_study_summaries(storage)
        trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    assert len(trials) == TRIALS
    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == TRIALS
    assert "capitals" in json.dumps(max(trials, key=lambda trial: trial.values[0]).params)
    assert summary.study_name in json.dumps(result["search_notes"])


def test_a_run_begun_in_its_folder_goes_on_in_a_database_and_comes_home(tmp_path):
    calls, cut = [], 100

    def target(request):
        calls.append(request)
        if len(calls) == cut:
            raise KeyboardInterrupt
        return target_reply(request)

    def setup():
        return make_setup(models={"target": fake(target, "target"), "proposer": fake(proposer_reply, "p")})

    whole = execute(make_setup())
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        execute(setup(), folder)
    with server() as database:
        moved = execute(setup(), folder, study=database)
        bought = len(calls)
        again = execute(setup(), study=database)
        with pytest.raises(JournalError, match="another job or other rows; name another study"):
            execute(replace(setup(), seed=9, lock={"seed": 9}), study=database)
    home = execute(setup(), folder)
    assert moved.verdict == again.verdict == home.verdict == whole.verdict
    assert moved.best == again.best == home.best == whole.best
    assert len(calls) == bought
    assert len({request.messages for request in calls}) == bought - 1  # the one that was cut


PROGRAM = """
import sys, time
import promptopt as po

def target(messages):
    with open(sys.argv[2], "a") as log:
        print(repr(messages[-1]), file=log)
    time.sleep(0.01)
    text = messages[-1]["content"]
    word = text.rsplit("Input: ", 1)[1].split(chr(10))[0]
    return word.upper() if "capitals" in text else word

rows = [{"id": str(i), "input": f"w{i}", "output": f"W{i}"} for i in range(90)]
search = {
    "name": "template", "text": "{{task}} {{form}}" + chr(10) + "Input: {{input}}", "trials": 8, "batch": 4,
    "slots": {"task": ["Do it.", "Write in capitals.", "Sing."], "form": ["", "Be brief.", "Be quick."]},
}
study = po.optimize(
    prompt="Do it.", train=rows, target=target, search=search, folder=None, seed=3,
    study=None if sys.argv[1] == "alone" else sys.argv[1],
)
print(study.best.id, study.verdict.line)
"""


JUDGED = """
def judge(messages):
    with open(sys.argv[2], "a") as log:
        print(repr(messages[-1]), file=log)
    time.sleep(0.01)
    text = messages[-1]["content"]
    reference, output = [text.split(name, 1)[1].split(chr(10))[1] for name in ("<<<REFERENCE", "<<<OUTPUT")]
    return "5" if output == reference else "1"

rows"""
BY_JUDGE = (
    "search=search, judge=judge, reward={'name': 'judge', 'criteria': 'It is right.', 'canary_every': 99}"
)


@pytest.mark.parametrize("judged", [False, True], ids=["", "judged"])
def test_a_program_shares_its_run_with_whoever_runs_it_too(judged, tmp_path, capsys):
    program = tmp_path / "program.py"
    by_judge = PROGRAM.replace("search=search", BY_JUDGE).replace("\nrows", JUDGED)
    program.write_text(by_judge if judged else PROGRAM)

    def started(study, log):
        command = [sys.executable, program, study, tmp_path / log]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    expected = finish(started("alone", "alone"))
    needed = (tmp_path / "alone").read_text().splitlines()
    with server() as database:
        both = [started(database, log) for log in ("one", "two")]
        assert [finish(process) for process in both] == [expected] * 2
        shares = [(tmp_path / log).read_text().splitlines() for log in ("one", "two")]
        assert main(["worker", "--study", database]) == 2
    assert (
        "was started from Python; run the same program: optimize(..., study=URL)" in capsys.readouterr().err
    )
    assert sorted(shares[0] + shares[1]) == sorted(needed)


@pytest.mark.parametrize(
    ("study", "message"),
    [("study.db", "is no PostgreSQL database"), ("postgresql://127.0.0.1:9/x", "cannot be used")],
)
def test_a_program_that_names_no_database_leaves_nothing_behind(tmp_path, study, message):
    rows = [{"input": f"w{number}", "output": "x"} for number in range(90)]
    with pytest.raises((ConfigError, JournalError), match=message):
        optimize(
            prompt="Do it.", train=rows, target=lambda messages: "x", search="seed_only",
            folder=tmp_path / "runs", study=study,
        )  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_rows_come_back_from_the_study_as_they_went_in():
    rows = read([{"b": "1", "a": "x", "output": "o", "split": "test"}, {"b": "2", "a": "y", "output": "p"}])
    again = rows_from_dict(json.loads(json.dumps(rows_to_dict(rows))))
    assert again.examples == rows.examples
    assert [row.split for row in again] == ["test", None]
    assert again.fields == ("b", "a")
    assert [list(example.inputs) for example in again.examples] == [["b", "a"]] * 2


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ("sqlite:///x.db", "study: is no PostgreSQL database; got 'sqlite:///x.db'; write postgresql://"),
        ("postgresql://me:secret@127.0.0.1/x", "study: holds a password; take it out"),
        ("postgresql://127.0.0.1/x?study=a b", "study: no name of a study; got 'a b'"),
        ("postgresql://127.0.0.1/x?lease=0", "study: lease must be seconds, at least 1; got '0'"),
        ("postgresql://127.0.0.1:9/x", "postgresql://127.0.0.1:9/x: cannot be used: connection failed"),
    ],
)
def test_an_address_that_is_of_no_use_is_one_line(study, message, capsys):
    assert main(["worker", "--study", study]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert "secret" not in err


def test_without_the_driver_the_cure_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert main(["worker", "--study", "postgresql://127.0.0.1/x"]) == 2
    assert capsys.readouterr().err == 'study: needs the package psycopg; pip install "promptopt[postgres]"\n'
