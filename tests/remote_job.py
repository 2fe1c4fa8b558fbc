"""A job against a loopback server, in this process or as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from loopback import Reply, hash_reply

CONCURRENCY = 4


def slow_reply(messages, body):
    return Reply(hash_reply(messages, body), delay=0.004)


def job(url: str, **changes):
    rows = Path(changes.pop("rows"))
    rows.write_text(
        "".join(
            json.dumps({"id": str(i), "question": f"Is {i} odd?", "output": "yes" if i % 2 else "no"}) + "\n"
            for i in range(changes.pop("n", 50))
        )
    )
    return {
        "name": "kill",
        "data": {"path": str(rows), "sizes": changes.pop("sizes", {"search": 16, "select": 10, "test": 20})},
        "prompt": "Say yes or no.",
        "target": {"model": "openai/loopback", "base_url": url, "concurrency": CONCURRENCY},
        "reward": "exact_match",
        "search": {
            "name": "ape",
            "num_subsamples": 2,
            "num_prompts_per_subsample": 5,
            "rounds": 1,
            "keep": 3,
        },
        **changes,
    }


def start(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    verb = ["resume", str(folder)] if (folder / "journal.sqlite").exists() else ["run", str(config)]
    place = [] if verb[0] == "resume" else ["--folder", str(folder)]
    command = [sys.executable, "-m", "promptopt.cli", *verb, *place, "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(config: Path, folder: Path) -> dict:
    process = start(config, folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    result = json.loads((folder / "result.json").read_text())
    assert out.decode().strip() == result["line"]
    return result
