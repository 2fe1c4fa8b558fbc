"""`promptopt view` as a process of its own, and requests to it as any program could send them."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Viewer:
    """A running server: its address ends in `/TOKEN/`."""

    address: str

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    @property
    def base(self) -> str:
        return urlsplit(self.address).path.rsplit("/", 1)[0]

    def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Send one request; `path` is what is sent, byte for byte."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.host, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, found, reply.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        """Ask for a page below the token."""
        return self.ask(f"{self.base}/{path}", **headers)


@contextmanager
def viewer(folder: Path) -> Iterator[Viewer]:
    """Serve a folder of runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "promptopt.cli", "view", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address.startswith("http"):
            process.kill()
            raise AssertionError(f"{address}\n{process.communicate()[1]}")
        yield Viewer(address)
    finally:
        process.terminate()
        process.communicate(timeout=60)
