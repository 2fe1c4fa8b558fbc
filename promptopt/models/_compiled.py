"""C that is compiled for the processor at hand, once, and kept in the user's cache folder.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")
PATIENCE = 120.0
"""Seconds after which a compiler is given up."""

log = logging.getLogger(__name__)


def library(source: Path, folder: Path | None = None) -> ctypes.CDLL | None:
    """Load what a C file compiles to; None where there is no compiler, or it fails.

    What is kept is loaded only if its folder and file are the user's own, and nobody else may write to them;
    where it cannot be kept like this, it is compiled for this process alone.

    Args:
        source: the file; it may use OpenMP.
        folder: where the library is kept; None is `promptopt` in the user's cache folder.
    """
    try:
        compiler = _compiler()
        if compiler is None:
            log.info("no C compiler (cc): %s is not used", source.name)
            return None
        command = [*compiler, *FLAGS, str(source), *_runtime(), "-lm"]
        name = f"{source.stem}-{_digest(source, command)}.so"
        kept = _kept(command, name, folder)
        if kept is not None:
            return kept
        with tempfile.TemporaryDirectory() as own:
            return ctypes.CDLL(str(_compile(command, Path(own) / name)))
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # also: what `CC` says is no command
        log.info("%s is not used: %s", source.name, error)
        return None


def _kept(command: list[str], name: str, folder: Path | None) -> ctypes.CDLL | None:
    """Load a library from a folder, compiled now if it is not there; None if it can't be kept there."""
    try:
        folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promptopt"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(folder):
            return None
        there = folder / name
        found = _opened(there) if there.exists() and _own(there) else None
        return found or ctypes.CDLL(str(_compile(command, there)))
    except (OSError, RuntimeError) as error:  # also: there is no home
        log.info("%s is not kept: %s", name, error)
        return None


def _opened(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # not whole
        return None


def _compiler() -> list[str] | None:
    """Return the command of the C compiler: what `CC` says, or `cc`."""
    if os.name != "posix":
        return None
    words = shlex.split(os.environ.get("CC", "cc"))
    path = shutil.which(words[0]) if words else None
    return path and [path, *words[1:]]  # type: ignore[return-value]


def _runtime() -> list[str]:
    """Return what links OpenMP: on Linux torch's own runtime, so that the process has one pool of threads."""
    if sys.platform != "linux":
        return []
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    # With defs, a runtime that is missing shows here and not in a run.
    return ["-Wl,--as-needed", "-Wl,-z,defs", *map(str, bundled[:1])]


def _digest(source: Path, command: list[str]) -> str:
    """Return what tells one build from another: the source, the command, the compiler, the processor."""
    compiler = Path(command[0]).resolve()
    about = compiler.stat()
    parts = [
        source.read_text("utf-8"),
        *command,
        f"{compiler} {about.st_size} {about.st_mtime_ns}",
        _processor(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _processor() -> str:
    """Return what the processor can do: a cache folder may be shared by several machines."""
    try:
        lines = re.findall(
            r"(?m)^(?:model name|flags|Features|CPU part)\b.*$", Path("/proc/cpuinfo").read_text()
        )
    except OSError:
        lines = [platform.processor()]
    return "\n".join([platform.machine(), *sorted(set(lines))])


def _own(path: Path) -> bool:
    about = path.stat()
    return about.st_uid == os.getuid() and not about.st_mode & 0o022


def _compile(command: list[str], to: Path) -> Path:
    """Compile to a file of another name, which takes its place when it is whole: others may be at it, too."""
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        fresh = Path(folder) / to.name
        done = subprocess.run(
            [*command, "-o", str(fresh)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise OSError(f"{command[0]}: {done.stderr.strip()[-2000:]}")
        fresh.chmod(0o700)
        return fresh.replace(to)
