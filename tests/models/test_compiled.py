"""Compiling once, and loading nothing that somebody else may have written."""

import ctypes
import shutil
import subprocess
import sys

import pytest

from promptopt.models import _compiled, _kernels
from promptopt.models._compiled import library

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }\n")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that leaves a line in a file each time it is called."""
    calls = tmp_path / "calls"
    calls.touch()
    script = tmp_path / "counting-cc"
    script.write_text(f'#!/bin/sh\necho called >> "{calls}"\nexec cc "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    return lambda: len(calls.read_text().splitlines())


def test_a_library_is_compiled_once(source, folder, compiler):
    assert library(source, folder).seven() == 7
    assert library(source, folder).seven() == 7
    assert compiler() == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    source.write_text("int seven(void) { return 7; }\nint eight(void) { return 8; }\n")
    assert library(source, folder).eight() == 8
    assert compiler() == 2
    assert len(list(folder.iterdir())) == 2


def test_another_processor_gets_its_own(source, folder, compiler, monkeypatch):
    library(source, folder)
    monkeypatch.setattr(_compiled, "_processor", lambda: "another")
    assert library(source, folder).seven() == 7
    assert compiler() == 2


@pytest.mark.parametrize("flaw", ["others may write", "not whole"])
def test_a_file_that_is_not_to_be_trusted_is_replaced(source, folder, compiler, flaw):
    library(source, folder)
    (kept,) = folder.iterdir()
    if flaw == "others may write":
        other = source.with_name("eight.c")
        other.write_text("int seven(void) { return 8; }\n")
        subprocess.run(["cc", "-shared", "-fPIC", str(other), "-o", str(kept)], check=True)
        kept.chmod(0o777)
    else:
        kept.unlink()  # a library that is loaded is not written to
        kept.write_bytes(b"half a file")
        kept.chmod(0o700)
    code = f"""
import pathlib
from promptopt.models._compiled import library
print(library(pathlib.Path({str(source)!r}), pathlib.Path({str(folder)!r})).seven())
"""
    # In a process of its own: one that has loaded a path once is given the same again.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"
    assert compiler() == 2
    (kept,) = folder.iterdir()
    assert ctypes.CDLL(str(kept)).seven() == 7
    assert kept.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_others_is_not_used(source, folder, compiler):
    folder.mkdir()
    folder.chmod(0o777)
    assert library(source, folder).seven() == 7
    assert list(folder.iterdir()) == []


def test_where_nothing_can_be_kept_it_is_compiled_for_the_process(source, tmp_path, compiler):
    (tmp_path / "file").touch()
    assert library(source, tmp_path / "file" / "cache").seven() == 7


@pytest.mark.parametrize("said", ["no-such-compiler", "", '"cc'])
def test_without_a_compiler_there_is_none(source, folder, monkeypatch, said):
    monkeypatch.setenv("CC", said)
    assert library(source, folder) is None


@pytest.mark.parametrize("body", ["exit 1", "sleep 60"])
def test_a_compiler_that_fails_or_hangs_is_given_up(source, folder, tmp_path, monkeypatch, body, caplog):
    script = tmp_path / "bad-cc"
    script.write_text(f"#!/bin/sh\n{body.replace('sleep', 'exec sleep')}\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(_compiled, "PATIENCE", 0.2)
    with caplog.at_level("INFO"):
        assert library(source, folder) is None
    assert "seven.c is not used" in caplog.text


def test_what_names_a_symbol_that_is_nowhere_is_refused_at_once(source, folder):
    source.write_text("int nowhere(void); int seven(void) { return nowhere(); }\n")
    if sys.platform == "linux":
        assert library(source, folder) is None


def test_processes_that_compile_at_the_same_time_all_get_it(folder, source):
    code = f"""
import pathlib
from promptopt.models._compiled import library
assert library(pathlib.Path({str(source)!r}), pathlib.Path({str(folder)!r})).seven() == 7
"""
    at_once = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(120) for process in at_once] == [0] * 4
    assert len(list(folder.iterdir())) == 1


def test_the_kernels_can_be_turned_off(monkeypatch):
    monkeypatch.setenv(_kernels.SWITCH, "off")
    assert _kernels.loaded.__wrapped__() is None
