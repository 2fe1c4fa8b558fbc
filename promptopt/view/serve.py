"""Serve the pages on 127.0.0.1, under an address that nobody can guess."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ..errors import ConfigError, DataError
from ..runfolder import LOCK
from .app import Pages
from .guard import Guard

HOST = "127.0.0.1"
PORT = 8765
"""The first port that is tried; the next free one is taken."""
TRIES = 50


@dataclass(frozen=True, slots=True)
class Place:
    """What is shown: a folder of runs, and one of them to begin with; empty: the list."""

    root: Path
    run: str = ""


def place_of(folder: Path) -> Place:
    """Return what a folder means: runs, or one run among its neighbours.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            str(folder), "no such folder", do="`promptopt run` makes it; name another one if it is elsewhere"
        )
    path = folder.resolve()
    if (path / "journal.sqlite").exists() or (path / LOCK).exists():
        return Place(path.parent, path.name)
    return Place(path)


def listen(port: int | None) -> socket.socket:
    """Return a socket on a free port of this machine's own address.

    Raises:
        ConfigError: the port asked for is taken.
    """
    reason: str | None = None
    for number in (port,) if port is not None else (*range(PORT, PORT + TRIES), 0):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere this lets two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, number))
            bound.listen(64)
        except OSError as error:
            bound.close()
            reason = error.strerror
            continue
        return bound
    raise ConfigError("--port", f"cannot be used: {reason}", got=port, do="choose another, or leave it out")


def serve(place: Place, *, port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Serve until interrupted.

    Args:
        place: from `place_of`.
        port: None takes a free one.
        ready: told the address once it can be opened.
    """
    bound = listen(port)
    number = bound.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = Guard(Pages(place.root, token).app(), token, [f"{HOST}:{number}", f"localhost:{number}"])
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    path = f"run/{place.run}" if place.run else ""
    ready(f"http://{HOST}:{number}/{token}/{path}")
    uvicorn.Server(config).run(sockets=[bound])
