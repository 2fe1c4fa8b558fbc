from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import make_setup

from promptopt.events import Notice, Scored, Stage, Tick
from promptopt.history import History, Moment, read_history
from promptopt.ledger import Spent
from promptopt.prompt import Prompt
from promptopt.records import Budget, Cell, Evaluation, Score
from promptopt.run import execute
from promptopt.runfolder import RunFolder


def scored(name: str, right: int, n: int, stage: str = "search") -> Scored:
    prompt = Prompt(name)
    cells = tuple(Cell(prompt.id, str(i), score=Score(float(i < right))) for i in range(n))
    return Scored(stage, prompt, Evaluation(prompt.id, "exact", cells), True, 3)  # type: ignore[arg-type]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    now = iter(range(100))
    with History(file, lambda: float(next(now))) as history:
        for event in (
            Stage("baseline", 20, "ape"),
            Tick("target", 5, 20, {"target": Spent(5, 50, 5, 0.5)}, Budget(calls=95)),
            scored("mine", 10, 20),
            Stage("search", None, "ape"),
            scored("lucky", 1, 1),
            scored("good", 18, 20),
            scored("worse", 9, 20),
            Notice("two\nlines \u202e"),
        ):
            history(event)
        moments = read_history(file)
    assert [m.kind for m in moments] == [
        "stage",
        "tick",
        "score",
        "stage",
        "score",
        "score",
        "score",
        "notice",
    ]
    assert {m.searcher for m in moments} == {"ape"}
    assert moments[1].remaining == Budget(calls=95)
    assert moments[2].spent == Spent(5, 50, 5, 0.5)
    assert [m.best for m in moments if m.kind == "score"] == [True, False, True, False]
    assert moments[5].interval is not None
    assert moments[5].interval[0] == pytest.approx(moments[5].bound)
    assert moments[-1].text == "two\nlines \u202e"
    assert all(line.isascii() and json.loads(line) for line in file.read_text().splitlines())


def test_ticks_are_thinned_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    now = [0.0]
    with History(file, lambda: now[0]) as history:
        for _ in range(100_000):
            now[0] += 0.1
            history(Tick("target", 1, 2))
    assert 1000 < len(read_history(file)) < 3000  # of 10,000 seconds
    whole = read_history(file)
    with file.open("a") as out:
        out.write('{"kind": "tick", "sec')
    assert read_history(file) == whole
    assert read_history(tmp_path / "none.jsonl") == []


def test_a_moment_survives_as_plain_data() -> None:
    moment = Moment(
        "score", 1.5, spent=Spent(1, 2, 3, 4.0, 5.0), prompt="x", n=3, mean=0.5, interval=(0.1, 0.9)
    )
    assert Moment.from_dict(json.loads(json.dumps(moment.to_dict()))) == moment


def test_a_run_that_is_taken_up_again_tells_the_same_story(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(), folder)
    first = read_history(folder.history_file)
    execute(make_setup(), folder)
    again = read_history(folder.history_file)

    def story(moments: list[Moment]) -> list[object]:
        return [(m.kind, m.stage, m.prompt, m.mean, m.best, m.spent[:3]) for m in moments if m.kind != "tick"]

    assert story(first) == story(again)
    assert [m.stage for m in first if m.kind == "stage"] == ["baseline", "search", "select", "test", "done"]


def test_a_history_that_cannot_be_written_says_so_once_and_harms_nobody() -> None:
    heard: list[Notice] = []
    with History(Path("/dev/full"), tell=lambda event: heard.append(event)) as history:
        for name in ("baseline", "search", "select"):
            history(Stage(name))
    assert [notice.text for notice in heard] == ["full ends here: No space left on device"]
