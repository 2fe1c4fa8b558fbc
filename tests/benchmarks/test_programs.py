"""The benchmark of programs: its figures, and that it can fail."""

import pytest

from benchmarks import programs
from promptopt.programs import ChainOfThought


def test_the_programs_show_the_published_direction(capsys):
    assert programs.main(["--rows", "80"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "as published"
    assert any(line.startswith("  self-consistency - chain of thought: +0.") for line in lines)


@pytest.mark.parametrize("name", ["LeastToMost", "SelfConsistency"])
def test_a_program_that_does_no_more_than_another_is_found_out(monkeypatch, name):
    monkeypatch.setattr(programs, name, lambda **_: ChainOfThought())
    monkeypatch.setattr(programs, "label", lambda program: program.name)
    assert programs.main(["--rows", "40"]) == 1
