"""A PostgreSQL server of a test's own: in a new folder, on 127.0.0.1, stopped at the end, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USERS = ("postgres", "nobody")
"""Who may run it where the tests are root's."""
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin")


def binaries() -> Path:
    """Return the folder of initdb and postgres; skip the test where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted((p for place in PLACES for p in Path("/").glob(place.lstrip("/"))), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")


def unprivileged() -> list[str]:
    """Return the words that run a command as a system user, if this is root; skip where that cannot be."""
    if os.getuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in USERS if name in names), None)
    setpriv = shutil.which("setpriv")
    if user is None or setpriv is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv or no user to run it as")
    entry = pwd.getpwnam(user)
    return [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


@contextmanager
def server() -> Iterator[str]:
    """Start a server; yield the URL of an empty database."""
    folder, prefix = binaries(), unprivileged()
    home = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    data = home / "data"
    if prefix:
        entry = pwd.getpwnam(next(n for n in USERS if n in {e.pw_name for e in pwd.getpwall()}))
        os.chown(home, entry.pw_uid, entry.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = subprocess.run(
        [*prefix, folder / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync",
         "--locale=C"],
        capture_output=True, text=True, timeout=120, check=False, cwd="/",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(home), "fsync": "off"}
    settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, folder / "postgres", "-D", data, "-p", str(port), *settings],
            stdout=log, stderr=log, cwd="/",
        )  # fmt: skip
    try:
        _wait(process, port, home / "log")
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # "fast shutdown": connections still open are closed
        process.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 60.0) -> None:
    import psycopg

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            psycopg.connect(f"postgresql://tester@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')}")
