"""A key that an endpoint echoes in whatever it says reaches neither disk nor screen; both are searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Messages, Reply, hash_reply
from remote_job import job

CANARY = "canary-4f1c9a77e2"
ECHO = f"Incorrect API key provided: {CANARY}. Authorization: Bearer {CANARY}"


def per_row(messages: Messages, body: dict[str, Any]) -> str | Reply:
    """Echo the key in another way for each of some rows, and answer the others."""
    row = messages[-1]["content"].rsplit("Is ", 1)[-1].split(" ", 1)[0]
    ways = {
        "1": Reply(ECHO, 500),
        "2": Reply(ECHO, 400),
        "3": Reply(body=f"<html>{ECHO}</html>"),
        "4": Reply(body=json.dumps({"choices": [], "error": {"message": ECHO}})),
        "5": Reply(f"yes {CANARY}", headers={"x-echo": CANARY}, model=CANARY),
        "6": Reply("x" * 150 + ECHO * 3, 422),
        "7": Reply(ECHO, 429, {"retry-after": "0.01"}),
    }
    return ways.get(row, Reply(hash_reply(messages, body), model=CANARY))


def spent(messages: Messages, body: dict[str, Any]) -> Reply:
    return Reply(ECHO, 429, code="insufficient_quota")


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "promptopt.cli", *words],
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": CANARY},
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (per_row, 0),
        (lambda m, b: Reply(ECHO, 401), 3),
        (spent, 3),
        (lambda m, b: Reply(ECHO, 404), 2),
    ],
    ids=["by row", "401", "quota", "404"],
)
def test_a_key_that_is_echoed_is_nowhere_on_disk_or_screen(tmp_path: Path, reply: Any, code: int) -> None:
    with LoopbackServer(reply) as server:
        target = {"model": "openai/m", "base_url": server.url, "backoff": 0.001, "max_attempts": 2}
        data = job(server.url, rows=tmp_path / "rows.jsonl", target=target, sizes={"test": 20})
        (tmp_path / "promptopt.yaml").write_text(json.dumps(data))
        done = command(tmp_path, "run", "promptopt.yaml", "--folder", "run")
        assert done.returncode == code, done.stderr.decode()
        assert any(CANARY in header for seen in server.seen for header in seen.headers.values())
        more = (
            [command(tmp_path, "ls", ".")] if code == 0 else [command(tmp_path, "doctor", "promptopt.yaml")]
        )
    for said in (done, *more):
        assert CANARY.encode() not in said.stdout + said.stderr
        assert b"Traceback" not in said.stderr
    found = everything(tmp_path)
    assert CANARY.encode() not in found
    if code == 0:
        assert b"***" in found
