"""A run's folder."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import make_setup

from promptopt.errors import DataError, JournalError
from promptopt.run import execute
from promptopt.runfolder import RunFolder, environment
from promptopt.strict_yaml import load


def test_names_are_safe_and_numbered(tmp_path):
    first, second = RunFolder.create(tmp_path, "../a b"), RunFolder.create(tmp_path, "../a b")
    assert (first.path.parent, first.path.name, second.path.name) == (tmp_path, "..-a-b-001", "..-a-b-002")
    assert os.readlink(tmp_path / "latest") == second.path.name


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="promptopt ls"):
        RunFolder.existing(tmp_path)


def test_files_of_a_finished_run_can_be_read_back(tmp_path):
    lock = {"name": "toy", "prompt": "a: 'b'\n#c", "seed": 0}
    folder = RunFolder(tmp_path / "run")
    study = execute(make_setup(lock=lock), folder)
    assert load(folder.lock_file).value == lock
    assert json.loads((folder.path / "env.json").read_text())["python"] == environment()["python"]
    assert folder.result() == json.loads(json.dumps(study.to_dict()))
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".") and path.name != ".lock"]


HOLD = """
import sys
from promptopt.runfolder import RunFolder
with RunFolder(sys.argv[1]).claimed():
    print(1, flush=True)
    sys.stdin.read()
"""


def test_a_claim_keeps_others_out_and_ends_with_its_process(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    with pytest.raises(JournalError, match="another process"), RunFolder(tmp_path).claimed():
        pass
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with RunFolder(tmp_path).claimed():
        pass


def test_a_run_is_readable_by_its_owner_alone(tmp_path):
    made = RunFolder.create(tmp_path / "runs", "a")
    named = RunFolder(tmp_path / "somewhere" / "else")
    with named.claimed():
        pass
    assert [stat.S_IMODE(folder.path.stat().st_mode) for folder in (made, named)] == [0o700, 0o700]


def test_a_run_that_bought_nothing_leaves_latest_where_it_was(tmp_path):
    kept = RunFolder.create(tmp_path, "a")
    kept.write_start({})
    RunFolder.create(tmp_path, "a").discard()
    assert (tmp_path / "latest").resolve() == kept.path
    kept.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_broken_result_is_one_line(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    folder.result_file.write_text('{"line": ')
    with pytest.raises(
        DataError, match=r"result.json: cannot be read: .*`promptopt resume .*` writes it again"
    ):
        folder.result()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(JournalError, match="file: cannot be written: File exists; mend this"),
        RunFolder(tmp_path / "file").claimed(),
    ):
        pass


def test_the_state_of_a_run_is_told_from_its_claim_and_its_result(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_start({"name": "x"})
    assert folder.state == "interrupted"
    with folder.claimed():
        assert folder.state == "running"
    assert folder.state == "interrupted"
    folder.result_file.write_text("{}")
    assert folder.state == "done"


def test_a_look_at_the_state_keeps_nobody_from_starting(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_start({"name": "x"})
    with folder.claimed():
        pass
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            assert folder.state in ("interrupted", "running")
            time.sleep(0.002)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(200):
            with folder.claimed():
                pass
    finally:
        over.set()
        looker.join()


def test_a_wish_to_stop_of_yesterday_is_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.stop_file.touch()
    stopped = folder.stop_watch()
    assert not stopped()
    folder.stop_file.touch()
    deadline = time.monotonic() + 30
    while not stopped() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stopped()
    folder.stop_file.unlink()
    assert stopped()  # once asked, it is asked
