"""What a mistake must end in: a line that names it and its cure, exit code 2, nothing written or asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from worlds import JOB, MODELS, make_world

from promptopt.cli.main import main

CALLED = "called.txt"
TELLTALE = f"""\
def asked(reply):
    def telling(text):
        with open({CALLED!r}, "a") as file:
            file.write("a call\\n")
        return reply(text)
    return telling


{MODELS}
target, plain = asked(target), target
"""
"""The models of a small world, of which the target writes down that it was asked."""

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Mistake:
    """One named case.

    Attributes:
        name: of the case.
        problem: a part of the line that says what is wrong, and where.
        cure: another part, which says what to do or shows what was got.
        edits: texts of the job file and what to put in their place.
        job: the whole job file instead.
        files: written into the folder; bytes as they are.
        spoil: done to the folder last.
        command: arguments of promptopt.
    """

    name: str
    problem: str
    cure: str
    edits: Sequence[tuple[str, str]] = ()
    job: str | bytes | None = None
    files: Files | None = None
    spoil: Callable[[Path], object] | None = None
    command: Sequence[str] = ("run", "promptopt.yaml", "-q")

    def __str__(self) -> str:
        """Name the case."""
        return self.name

    def make(self, folder: Path) -> None:
        """Write a job that is right but for this."""
        text = JOB
        for old, new in self.edits:
            assert old in text, old
            text = text.replace(old, new)
        make_world(folder)
        (folder / "models.py").write_text(TELLTALE, encoding="utf-8")
        for name, content in {"promptopt.yaml": self.job or text, **(self.files or {})}.items():
            data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        if self.spoil is not None:
            self.spoil(folder)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder, but for compiled Python: files with their content, folders with none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def check(mistake: Mistake, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Make the mistake in `folder`, the working folder, and see what it ends in; return the line."""
    mistake.make(folder)
    before = snapshot(folder)
    capsys.readouterr()
    code = main(list(mistake.command))
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert len(captured.err) < 1000
    assert "Traceback" not in captured.err
    assert mistake.problem in captured.err
    assert mistake.cure in captured.err
    assert captured.out == ""
    assert code == 2, captured.err
    assert snapshot(folder) == before
    return captured.err


def rows(*given: Mapping[str, object], more: int = 40) -> str:
    """Return rows of a JSONL file: those given, and so many that are right."""
    right = [{"input": f"word{i}", "output": f"WORD{i}"} for i in range(more)]
    return "".join(json.dumps(row) + "\n" for row in [*given, *right])
