from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from toys import TryAll, make_setup

from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.view.live import look, stamp, stream
from promptopt.view.shelf import Shelf


def test_a_finished_race_is_told_as_it_ended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    study = execute(make_setup(entrants={"one": TryAll(2), "two": TryAll(5)}), folder)
    now = look(folder)
    assert (now.state, now.doing, now.stopping) == ("done", "done", False)
    assert [curve.searcher for curve in now.curves] == ["one", "two"]
    assert {known.id for known in now.prompts} == {c.prompt.id for c in study.candidates}
    bounds = [known.bound for known in now.prompts]
    assert bounds == sorted(bounds, reverse=True)
    assert now.spent.calls >= study.total.calls


def test_a_folder_in_which_nothing_has_happened_yet(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_start({"python": True, "name": "x"})
    now = look(folder)
    assert (now.state, now.prompts, now.curves, now.share) == ("interrupted", (), (), None)
    assert [line.name for line in Shelf(tmp_path).lines()] == ["run"]


def test_a_stream_speaks_when_something_has_changed_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.view.live.PERIOD", 0.001)
    marks = iter([(1, False), (1, False), (2, False), (2, True)])

    def look_at() -> tuple[object, Callable[[], str], bool]:
        mark, over = next(marks)
        return mark, lambda: f"<p>\n{mark}</p>", over

    async def collect() -> list[str]:
        return [piece async for piece in stream(look_at)]

    assert anyio.run(collect) == [
        "data: <p>\ndata: 1</p>\n\n",
        "data: <p>\ndata: 2</p>\n\n",
        "event: end\ndata:\n\n",
    ]


def test_a_file_that_is_not_there_has_a_stamp(tmp_path: Path) -> None:
    assert stamp(tmp_path / "none") == (0, 0)
    (tmp_path / "file").write_text("x")
    assert stamp(tmp_path / "file")[1] == 1
