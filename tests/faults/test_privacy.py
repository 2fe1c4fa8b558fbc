"""Nobody hears of a run: folders for their owner alone, no address but the endpoints', no telemetry."""

from __future__ import annotations

import ast
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, hash_reply
from remote_job import job
from worlds import JOB, make_world

from promptopt.api import run_job
from promptopt.config import job_from_dict
from promptopt.telemetry import OFF

EMBEDDED = {
    "target": {"model": "embedded/tiny"},
    "prompt": "Say yes or no.",
    "sizes": {"search": 8, "select": 4, "test": 6},
}


def test_a_run_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with LoopbackServer(hash_reply) as server:
        run_job(job_from_dict(job(server.url, rows=tmp_path / "rows.jsonl")), parent=tmp_path / "runs")
    folder = tmp_path / "runs" / "kill-001"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


WATCHED = """
import sys
sought = []
def watch(event, args):
    if event == "socket.connect":
        sought.append(args[1])
    elif event == "socket.getaddrinfo":
        sought.append(args[:2])
sys.addaudithook(watch)
from promptopt.cli.main import main
code = main(sys.argv[1:])
if "huggingface_hub" in sys.modules:
    from huggingface_hub import constants
    from huggingface_hub.utils import _telemetry
    assert constants.HF_HUB_DISABLE_TELEMETRY
    assert _telemetry._TELEMETRY_QUEUE.empty()
    print("TELEMETRY is off")
print("SOUGHT", sorted({str(place) for place in sought}))
sys.exit(code)
"""


def watched(folder: Path, *words: str, alone: bool = False) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a command; return what became of it, and the addresses it sought."""
    unset = ("OPENAI_API_KEY", "OPENAI_BASE_URL", *OFF, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    env = {key: value for key, value in os.environ.items() if key not in unset}
    command = [*(["unshare", "-rn"] if alone else []), sys.executable, "-c", WATCHED, *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280)
    return done, done.stdout.rsplit("SOUGHT ", 1)[-1].strip()


def test_a_remote_run_seeks_its_endpoint_and_no_other_address(tmp_path: Path) -> None:
    with LoopbackServer(hash_reply) as server:
        (tmp_path / "job.yaml").write_text(json.dumps(job(server.url, rows=tmp_path / "rows.jsonl")))
        done, sought = watched(tmp_path, "run", "job.yaml", "-q")
        assert done.returncode == 0, done.stderr
        assert set(ast.literal_eval(sought)) == {str(("127.0.0.1", server.port))}


def test_a_run_of_functions_seeks_no_address(tmp_path: Path) -> None:
    make_world(tmp_path, JOB)
    done, sought = watched(tmp_path, "run", "promptopt.yaml", "-q")
    assert (done.returncode, sought) == (0, "[]"), done.stderr


def may_cut_off() -> bool:
    """Whether a process can be given a network without a route here."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0
    )


def embedded_job(folder: Path, **changes: Any) -> None:
    data = job("", rows=folder / "rows.jsonl", **{**EMBEDDED, "search": "paraphrases", **changes})
    (folder / "job.yaml").write_text(json.dumps(data))


def test_without_any_network_the_embedded_model_runs_and_seeks_no_address(tmp_path: Path) -> None:
    embedded_job(tmp_path)
    done, sought = watched(tmp_path, "run", "job.yaml", "-q", alone=may_cut_off())
    assert (done.returncode, sought) == (0, "[]"), done.stderr
    assert "TELEMETRY is off" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not may_cut_off(), reason="a network cannot be taken away here")
def test_without_any_network_the_demo_ends_in_its_verdict(tmp_path: Path) -> None:
    done, _ = watched(tmp_path, "init", "demo", "--demo", alone=True)
    assert done.returncode == 0, done.stderr
    done, sought = watched(tmp_path, "run", "demo/promptopt.yaml", "-q", alone=True)
    assert done.returncode == 0, done.stderr
    assert sought == "[]"
    assert "held-out rows" in done.stdout


def test_who_wants_telemetry_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptopt.telemetry import switch_off

    monkeypatch.setattr(os, "environ", {"HF_HUB_DISABLE_TELEMETRY": "0"})
    switch_off()
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
