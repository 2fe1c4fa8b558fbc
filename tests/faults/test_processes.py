"""What happens to a run's process: interrupted once and twice, a full disk, a clock that jumps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Reply, hash_reply
from remote_job import CONCURRENCY, finish, job, start

from promptopt.api import run_job
from promptopt.config import job_from_dict
from promptopt.journal import Journal


def waiting(messages: Any, body: Any) -> Reply:
    return Reply(hash_reply(messages, body), delay=0.2)


def write_job(folder: Path, url: str, **changes: Any) -> Path:
    config = folder / "job.yaml"
    config.write_text(json.dumps(job(url, rows=folder / "rows.jsonl", **changes)))
    return config


def wait_until(true: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def count(folder: Path, table: str) -> int:
    journal = Journal(folder / "journal.sqlite", read_only=True)
    try:
        return journal.count(table)
    finally:
        journal.close()


@pytest.fixture
def server() -> Any:
    with LoopbackServer(waiting) as its:
        yield its


def test_one_interrupt_waits_for_the_calls_under_way_and_keeps_them(
    server: LoopbackServer, tmp_path: Path
) -> None:
    config, folder = write_job(tmp_path, server.url), tmp_path / "run"
    process = start(config, folder)
    wait_until(lambda: server.calls > 2 * CONCURRENCY and server.active == CONCURRENCY)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines() == [
        "stopping: no further call is begun, those under way are kept; Ctrl-C again stops at once",
        "interrupted",
    ]
    assert "go on with: promptopt resume" in out.decode()
    assert server.broken == 0
    assert (count(folder, "calls"), count(folder, "attempts")) == (server.calls, 0)
    server.reply = hash_reply
    before = server.calls
    result = finish(config, folder)
    stopped = server.calls
    assert before < stopped == sum(part["calls"] for part in result["spent"].values())
    whole = finish(config, tmp_path / "whole")
    assert server.calls - stopped == stopped
    assert whole["line"] == result["line"]


def test_a_second_interrupt_stops_at_once(server: LoopbackServer, tmp_path: Path) -> None:
    server.reply = lambda messages, body: Reply(hash_reply(messages, body), delay=30.0 * (server.calls > 8))
    config, folder = write_job(tmp_path, server.url), tmp_path / "run"
    process = start(config, folder)
    wait_until(lambda: server.calls > 8 and server.active == CONCURRENCY)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"stopping")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - begun < 15
    assert process.returncode == 130
    server.reply = hash_reply
    finish(config, folder)


def test_a_second_process_is_turned_away_and_harms_nothing(server: LoopbackServer, tmp_path: Path) -> None:
    config, folder = write_job(tmp_path, server.url), tmp_path / "run"
    first = start(config, folder)
    wait_until(lambda: server.calls > CONCURRENCY)
    second = subprocess.run(
        [sys.executable, "-m", "promptopt.cli", "resume", str(folder), "-q"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    server.reply = hash_reply
    assert second.returncode == 2
    assert second.stderr == f"{folder}: another process is working on it; wait for it, or stop it\n"
    out, err = first.communicate(timeout=60)
    assert first.returncode == 0, err.decode()
    assert out.decode().strip() == finish(config, tmp_path / "whole")["line"]


def test_an_interrupt_while_no_call_is_under_way_stops_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from promptopt import interrupt\n"
        "with interrupt.drained(print):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "stopped\n"


FULL = """
set -eu
mkdir disk
{limit}
set +e
{python} -m promptopt.cli run job.yaml -q --folder disk/run 2> full.txt
echo $? > full.code
set -e
{free}
{python} -m promptopt.cli resume disk/run -q > resumed.txt
cp disk/run/result.json result.json
"""
TMPFS = ("mount -t tmpfs -o size=400k none disk", "mount -o remount,size=64m disk")
QUOTA = ("ulimit -S -f 300", "ulimit -S -f unlimited")


def may_mount() -> bool:
    """Whether a user may make a file system of his own here."""
    unshare = shutil.which("unshare")
    test = ["unshare", "-rm", "sh", "-c", "d=$(mktemp -d) && mount -t tmpfs none $d"]
    return unshare is not None and subprocess.run(test, capture_output=True).returncode == 0


@pytest.mark.parametrize(("limit", "free"), [TMPFS, QUOTA], ids=["full", "quota"])
def test_a_full_disk_ends_a_run_in_a_line_and_it_goes_on_when_there_is_room(
    tmp_path: Path, limit: str, free: str
) -> None:
    mounts = limit.startswith("mount")
    if mounts and not may_mount():
        pytest.skip("file systems cannot be mounted here")
    with LoopbackServer(lambda m, b: hash_reply(m, b) + " " * 2000) as server:
        write_job(tmp_path, server.url)
        script = FULL.format(limit=limit, free=free, python=sys.executable)
        command = [*(["unshare", "-rm"] if mounts else []), "bash", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        stopped = server.calls
        said = (tmp_path / "full.txt").read_text()
        assert (tmp_path / "full.code").read_text().strip() == "2"
        assert said.count("\n") == 1, said
        assert "disk" in said or "write" in said
        assert "promptopt resume" in said
        write_job(tmp_path, server.url)
        whole = finish(tmp_path / "job.yaml", tmp_path / "whole")
        needed = server.calls - stopped
        assert json.loads((tmp_path / "result.json").read_text())["line"] == whole["line"]
        assert needed <= stopped <= needed + 2 * CONCURRENCY


def test_a_server_that_is_restarted_loses_no_cell(tmp_path: Path) -> None:
    target = {"model": "openai/loopback", "concurrency": CONCURRENCY, "backoff": 0.1, "max_attempts": 12}

    def slow(messages: Any, body: Any) -> Reply:
        return Reply(hash_reply(messages, body), delay=0.01)

    with LoopbackServer(slow) as first:
        port, url = first.port, first.url
        config = write_job(tmp_path, url, target={**target, "base_url": url})
        process = start(config, tmp_path / "run")
        wait_until(lambda: first.calls > 60)
    time.sleep(0.3)
    with LoopbackServer(slow, port=port) as second:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        assert second.calls > 60
        whole = finish(config, tmp_path / "whole")
    assert out.decode().strip() == whole["line"]


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines, pace and the cap on minutes go by a clock that cannot be set."""
    day, real, jumps = 86400.0, time.time, iter(range(10**9))

    def once_busy(messages: Any, body: Any) -> Reply:
        if server.calls % 20 == 3:
            return Reply("busy", 429, {"retry-after": "0.05"})
        return Reply(hash_reply(messages, body))

    lines = []
    with LoopbackServer(once_busy) as server:
        for jump in (0.0, day):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump * (next(jumps) % 3 - 1))
            made = job(server.url, rows=tmp_path / "rows.jsonl", budget={"minutes": 5})
            begun = time.monotonic()
            study = run_job(job_from_dict(made), folder=tmp_path / str(jump))
            assert study.stopped == "finished"
            assert study.seconds <= time.monotonic() - begun + 0.1
            lines.append(study.verdict.line)
    assert lines[0] == lines[1]


def test_a_lock_file_of_a_process_that_is_gone_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("99999999\n")
    with LoopbackServer(hash_reply) as server:
        made = job(server.url, rows=tmp_path / "rows.jsonl")
        assert run_job(job_from_dict(made), folder=tmp_path / "run").stopped == "finished"


def test_a_run_writes_into_its_folder_alone(tmp_path: Path) -> None:
    """Neither a home folder nor a cache is touched."""
    home = tmp_path / "home"
    home.mkdir()
    with LoopbackServer(hash_reply) as server:
        config = write_job(tmp_path, server.url)
        command = [sys.executable, "-m", "promptopt.cli", "run", str(config), "--folder", "run", "-q"]
        env = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "job.yaml", "rows.jsonl", "run"}
    assert list(home.rglob("*")) == []
