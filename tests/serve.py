"""A real OpenAI-compatible server over the embedded model, started once a test session.

Used as a plug-in: `pytest_plugins = ["serve"]` in a test module or conftest.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from promptopt.models.embedded import EmbeddedModel

START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """Where a server listens, and the name of its model."""

    base_url: str
    model: str


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Server]:
    """Run `transformers serve` over a model folder until the block ends."""
    command = shutil.which("transformers", path=str(Path(sys.executable).parent)) or shutil.which(
        "transformers"
    )
    if command is None:
        pytest.skip("the transformers command is not installed")
    port = free_port()
    arguments = [
        str(folder),
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with TemporaryDirectory() as home, (Path(home) / "log").open("w+") as log:
        (Path(home) / "hub").mkdir()  # /v1/models looks into the cache, and fails if there is none
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": home}
        process = subprocess.Popen(
            [command, "serve", *arguments, *options], env=environment, stdout=log, stderr=log
        )
        try:
            wait_for(process, f"http://127.0.0.1:{port}/health", Path(log.name))
            yield Server(f"http://127.0.0.1:{port}/v1", str(folder))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return when the server answers; fail with its log when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """The embedded model behind HTTP."""
    with serve(EmbeddedModel()._folder) as server:
        yield server
