"""A new user's sums: programs that reason have room by themselves, and who takes it away is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from promptopt.cli.main import main

Capture = pytest.CaptureFixture[str]
THINK = ["--set", "program=chain_of_thought", "--set", "reward=numeric"]
NOTE = "seems to end replies before they have answered; got "


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(capsys: Capture, rows: int = 60) -> None:
    """Write sums of three numbers, and the job that `init` makes of them."""
    rng = random.Random(3)
    sums = {tuple(rng.randint(2, 20) for _ in range(3)) for _ in range(rows)}
    lines = [f'"{" ".join(map(str, numbers))}",{sum(numbers)}' for numbers in sorted(sums)]
    Path("sums.csv").write_text("\n".join(["numbers,answer", *lines]) + "\n", encoding="utf-8")
    assert main(["init", "--data", "sums.csv", "--prompt", "Add the three numbers."]) == 0
    capsys.readouterr()


def test_a_program_that_reasons_has_room_in_the_job_that_init_writes(capsys: Capture) -> None:
    start(capsys)
    assert main(["score", "promptopt.yaml", *THINK]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("Add the three numbers.   1.00")
    assert "note" not in out
    assert main(["validate", *THINK]) == 0
    assert "no room" not in capsys.readouterr().out


def test_without_room_it_is_said_before_at_once_and_in_the_end(capsys: Capture) -> None:
    start(capsys)
    short = [*THINK, "--set", "target.decoding={max_tokens: 16}"]
    assert main(["validate", *short]) == 0
    assert "16 tokens leave replies of chain_of_thought no room to reason" in capsys.readouterr().out
    assert main(["score", "promptopt.yaml", *short]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Add the three numbers. 0.00" in told
    assert (
        f"note: target.decoding.reasoning_tokens: {NOTE}12 of 12 answers of the prompt cut at 16 tokens"
        in told
    )
    assert main(["run", "promptopt.yaml", *short, "--set", "search=seed_only", "--folder", "run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        told.count(f"note: target.decoding.reasoning_tokens: {NOTE}24 of 24 answers of your prompt cut") == 2
    )
    assert NOTE in Path("run/report.html").read_text(encoding="utf-8")
    result = json.loads(Path("run/result.json").read_text(encoding="utf-8"))
    assert [cut["harmful"] for cut in result["guards"]["cut"]] == [True]


LABELS = """
from promptopt.contracts.model import Completion

def reply(text, max_tokens):
    words = ("good" if "nice" in text else "bad", "because", "I", "say", "so", "and", "more")
    return Completion(" ".join(words[:max_tokens]), "length" if max_tokens < len(words) else "stop")
"""


def test_a_label_that_stands_before_the_cut_is_nothing_to_tell(capsys: Capture) -> None:
    lines = [
        f"a {'nice' if i % 2 else 'dull'} film number {i},{'good' if i % 2 else 'bad'}" for i in range(60)
    ]
    Path("films.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    Path("model.py").write_text(LABELS, encoding="utf-8")
    assert main(["init", "--data", "films.csv"]) == 0
    short = ["--set", "target={model: python/model.py:reply, decoding: {max_tokens: 4}}"]
    short += ["--set", "reward=contains", "--set", "search=seed_only"]
    assert main(["score", "promptopt.yaml", *short]) == 0
    assert main(["run", "promptopt.yaml", *short, "--folder", "run"]) == 0
    out = capsys.readouterr().out
    assert "baseline 1.00" in out
    assert NOTE not in out
    assert NOTE not in Path("run/report.html").read_text(encoding="utf-8")
    (yours,) = json.loads(Path("run/result.json").read_text(encoding="utf-8"))["guards"]["cut"]
    assert yours["cut"] == yours["cells"] > 0
    assert not yours["harmful"]
