"""optuna-dashboard over a database, as a process of its own on 127.0.0.1; what its JSON API tells."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

START = "import sys, optuna_dashboard as d; d.run_server(sys.argv[1], '127.0.0.1', int(sys.argv[2]))"


@contextmanager
def dashboard(storage: str, seconds: float = 90.0) -> Iterator[Callable[[str], Any]]:
    """Start it; yield a function from a path to the JSON that is there."""
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", START, storage, str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)

    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                get("/api/meta")
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "it did not start"
                time.sleep(0.2)
        yield get
    finally:
        process.kill()
        process.communicate()
