"""Every searcher from the command line by its name alone: killed, resumed, within its budget."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from judges import asked, said
from loopback import LoopbackServer, Messages, Reply, Seen, hash_reply

from benchmarks.embedded.corpus import DATA, public_rows
from promptopt.cli.main import main
from promptopt.plugins import installed

NAMES = sorted(
    name for name, point in installed("searchers").items() if point.module.startswith("promptopt.")
)
GRADIENTS = ["autoprompt", "gcg", "pez", "soft", "specialist"]
"""Searchers for models in this process alone; kills of those are in their own tests."""
TOLD = {
    "seeds": {"searchers": ["ape"]},
    "template": {"text": "{{task}}\n\n{{question}}", "slots": {"task": ["Say yes or no.", "Yes?", "Say."]}},
}
"""What a searcher must be told besides its name; `seeds` spreads one that needs gradients, unless told."""
CONCURRENCY = 4
CALLS = 260


def write_job(folder: Path, rows: list[dict[str, str]], sizes: dict[str, int], **job: object) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = folder / "promptopt.yaml"
    file.write_text(json.dumps({"data": {"path": "rows.jsonl", "sizes": sizes}, **job}), encoding="utf-8")
    return str(file)


def write_odd_job(folder: Path, url: str, calls: int, name: str = "ape") -> str:
    """Write a job whose target is at a loopback address, a request a sample."""
    return write_job(
        folder,
        [{"question": f"Is {i} odd?", "output": "yes" if i % 2 else "no"} for i in range(46)],
        {"search": 16, "select": 10, "test": 20},
        prompt="Say yes or no.",
        reward="exact_match",
        search={"name": name, **TOLD.get(name, {})},
        target={
            "model": "openai/loopback",
            "base_url": url,
            "concurrency": CONCURRENCY,
            "n_parameter": False,
        },
        budget={"calls": calls},
    )


def kill_when(ready: Callable[[], bool], argv: list[str]) -> None:
    """Start the command line in a process of its own, and kill it when it is ready for that."""
    process = subprocess.Popen([sys.executable, "-m", "promptopt.cli", *argv], stdout=subprocess.PIPE)
    while process.poll() is None and not ready():
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it was killed"


def again(seen: list[Seen]) -> int:
    """Return how many requests were the same as one before."""
    counts = Counter(json.dumps(one.body, sort_keys=True) for one in seen)
    return counts.total() - len(counts)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*GRADIENTS}))
def test_killed_and_resumed_it_buys_nothing_twice_and_keeps_its_budget(tmp_path, capsys, name):
    chance = random.Random(crc32(name.encode()))
    with LoopbackServer(lambda messages, body: Reply(hash_reply(messages, body), delay=0.004)) as server:
        job = write_odd_job(tmp_path, server.url, CALLS, name)
        argv = ["run", job, "--quiet", *(() if name in TOLD else ("--search", name)), "--folder"]
        assert main([*argv, str(tmp_path / "whole")]) == 0
        whole, needed = capsys.readouterr().out, server.calls
        assert needed <= CALLS
        moment = needed + chance.randrange(1, needed)
        kill_when(lambda: server.calls >= moment, [*argv, str(tmp_path / "killed")])
        assert main(["resume", str(tmp_path / "killed"), "--quiet"]) == 0
        mine = server.seen[needed:]
        assert again(mine) <= CONCURRENCY, "more was asked again than can have been under way"
        # Where all is spent, what the kill lost is missing at the end; the rest may not pay for a whole step.
        paid = needed + CONCURRENCY <= CALLS
        least = needed - CONCURRENCY if paid else needed - 2 * CONCURRENCY
        assert least <= len(mine) <= min(CALLS, needed + CONCURRENCY)
        resumed = capsys.readouterr().out
        if paid:
            assert resumed == whole
        assert main(["resume", str(tmp_path / "killed"), "--quiet"]) == 0
        assert capsys.readouterr().out == resumed
        assert len(server.seen) == needed + len(mine)


def hash_score(messages: Messages, body: dict[str, object]) -> Reply:
    """Play target and proposer, and a judge that gives scores by a hash."""
    question = said(messages)
    if question is None:
        return Reply(hash_reply(messages, body), delay=0.001)
    return Reply(f"{1 + crc32(asked(question.content).output.encode()) % 5}", delay=0.001)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*GRADIENTS}))
def test_judged_it_ends_within_its_budget_and_killed_it_asks_nothing_twice(tmp_path, capsys, name):
    with LoopbackServer(hash_score) as server:
        job = write_odd_job(tmp_path, server.url, CALLS, name)
        its = json.loads(Path(job).read_text())
        judge = its["target"] | {"model": "openai/judge"}
        Path(job).write_text(
            json.dumps(its | {"judge": judge, "reward": {"name": "judge", "criteria": "It is right."}})
        )
        argv = ["run", job, "--quiet", "--folder"]
        assert main([*argv, str(tmp_path / "whole")]) == 0
        whole, needed = capsys.readouterr().out, server.calls
        assert needed <= CALLS
        kill_when(lambda: server.calls >= needed + needed // 2, [*argv, str(tmp_path / "killed")])
        assert main(["resume", str(tmp_path / "killed"), "--quiet"]) == 0
        mine = server.seen[needed:]
        assert again(mine) <= CONCURRENCY
        assert len(mine) <= min(CALLS, needed + CONCURRENCY)
        if needed + CONCURRENCY <= CALLS:
            assert capsys.readouterr().out == whole
        assert sum(one.body["model"] == "judge" for one in mine) > 60


@pytest.mark.parametrize("name", GRADIENTS)
def test_what_needs_gradients_is_refused_elsewhere_before_anything_is_asked(tmp_path, capsys, name):
    with LoopbackServer(hash_reply) as server:
        job = write_odd_job(tmp_path, server.url, CALLS, name)
        assert main(["run", job, "--quiet", "--folder", str(tmp_path / "run")]) == 2
        assert not server.seen
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"searcher {name}: needs gradients")
    assert "ape" in line


def test_several_compete_are_killed_and_end_on_one_leaderboard(tmp_path, capsys):
    names = ["ape", "opro", "evolution", "protegi", "reflect", "demos", "edit", "portfolio"]
    with LoopbackServer(lambda messages, body: Reply(hash_reply(messages, body), delay=0.001)) as server:
        folder = str(tmp_path / "run")
        job = write_odd_job(tmp_path, server.url, 8 * 150)
        argv = ["run", job, "--search", ",".join(names), "--folder", folder]
        kill_when(lambda: server.calls >= 400, argv)
        assert main(["resume", folder]) == 0
        assert again(server.seen) <= CONCURRENCY
        assert 400 < server.calls <= 8 * 150
    lines = capsys.readouterr().out.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("leaderboard: "))
    titles = "searcher test gain p cells calls tokens seconds prompt"
    assert lines[head + 1].split() == titles.split()
    shown = [line.removeprefix("*").split() for line in lines[head + 2 : head + 2 + len(names)]]
    assert {line[0] for line in shown} == set(names)
    assert all(float(line[1]) <= 1 and line[2].startswith("[") for line in shown)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["second_word_letter", "singular_to_plural", "num_to_verbal"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in TOLD])
def test_on_public_rows_with_the_embedded_model(tmp_path, capsys, name, task):
    """Instruction Induction; nothing bought is bought again, as the journal tells."""
    if not DATA.is_dir():
        pytest.skip("needs the benchmark data (PROMPTOPT_DATA)")
    calls = 600
    rows = [
        {"input": text, "output": answer}
        for text, answer in public_rows(f"instruction_induction/{task}", "test")
    ]
    job = write_job(
        tmp_path,
        rows,
        {"search": 20, "select": 20, "test": 30},
        prompt="Do what is to be done with it.",
        reward="exact_match",
        target={"model": "embedded/small", "decoding": {"max_tokens": 24}},
        budget={"calls": calls},
    )
    folder = tmp_path / "run"
    journal = folder / "journal.sqlite"
    argv = ["run", job, "--search", name, "--quiet"]
    kill_when(lambda: len(bought(journal)) >= 50, [*argv, "--folder", str(folder)])
    before = bought(journal)
    assert main(["resume", str(folder), "--quiet"]) == 0
    after = bought(journal)
    assert before.items() <= after.items()
    spent = json.loads((folder / "result.json").read_text())["spent"]
    attempts = sum(entry["calls"] for entry in spent.values())
    assert sum(after.values()) <= attempts <= calls
    assert set(after.values()) == {1}, "a call was made again"
    assert "held-out rows" in capsys.readouterr().out


def bought(journal: Path) -> dict[str, int]:
    """Return the attempts that each answer in a journal took, by its key."""
    if not journal.exists():
        return {}
    connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        return dict(connection.execute("SELECT key, attempts FROM calls"))
    except sqlite3.OperationalError:  # its tables are not there yet
        return {}
    finally:
        connection.close()
