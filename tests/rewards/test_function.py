from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.errors import ContractError, PluginError
from promptopt.plugins import build
from promptopt.rewards.function import FunctionReward

ROW = Example("r1", FrozenMap(), ("dog",))

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Weight:
    value: float

def right(example, text):
    return Weight(1.0).value if text == example.answer else 0

def alone(text):
    return 1

limit = 3
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my_rewards.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("result", "score"),
    [
        (True, Score(1.0)),
        (False, Score(0.0)),
        (3, Score(3.0)),
        (-0.5, Score(-0.5)),
        (np.float32(0.5), Score(0.5)),
        ((0.25, "close"), Score(0.25, "close")),
        ((True, "yes"), Score(1.0, "yes")),
        (Score(0.0, "unreadable", parsed=False), Score(0.0, "unreadable", parsed=False)),
    ],
)
def test_what_a_function_may_return(result: Any, score: Score) -> None:
    assert FunctionReward(lambda example, text: result)(ROW, Output("dog")) == score


@pytest.mark.parametrize(
    "result", [None, "1", math.nan, math.inf, (1.0,), (1.0, 2), ("x", 1.0), Score(math.nan), [1.0]]
)
def test_anything_else_breaks_the_contract_and_names_the_function(result: Any) -> None:
    def judge(example: Example, text: str) -> Any:
        return result

    with pytest.raises(ContractError, match="reward function judge: returned no score for row r1"):
        FunctionReward(judge)(ROW, Output("dog"))


def test_sees_the_row_and_the_reply_as_they_are() -> None:
    assert FunctionReward(lambda example, text: example.answer == text)(ROW, Output(" dog")).value == 0


def test_an_object_with_call_is_a_function() -> None:
    class Judge:
        def __call__(self, example: Example, text: str) -> bool:
            return True

    assert FunctionReward(Judge())(ROW, Output("")).value == 1


def test_from_a_file(source: Path) -> None:
    reward = build("rewards", "python", {"function": f"{source}:right"})
    assert reward(ROW, Output("dog")).value == 1
    assert reward(ROW, Output("cat")).value == 0


def test_from_a_file_beside(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    assert FunctionReward("my_rewards.py:right")(ROW, Output("dog")).value == 1


def test_from_a_module(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source.parent)
    try:
        assert FunctionReward("my_rewards:right")(ROW, Output("dog")).value == 1
    finally:
        del sys.modules["my_rewards"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("right", "write path/to/file.py:name or package.module:name"),
        ("{file}", "write path/to/file.py:name or package.module:name"),
        ("{file}:not a name", "write path/to/file.py:name or package.module:name"),
        ("{file}:wrong", "has no 'wrong'; it has alone, right"),
        ("{file}:limit", "not a function"),
        ("{file}:alone", r"give it the parameters \(example, text\)"),
        ("{folder}/nothing.py:right", "no such file"),
        (
            "no_such_module_here.deep:right",
            "no module 'no_such_module_here'; .*give the file: path/to/deep.py:name",
        ),
        ("json.nothing:right", "no module 'json.nothing'"),
        ("json:nothing", "json has no 'nothing'"),
    ],
)
def test_wrong_places_are_refused_when_built(function: str, message: str, source: Path) -> None:
    with pytest.raises(PluginError, match=message):
        FunctionReward(function.format(file=source, folder=source.parent))


@pytest.mark.parametrize("body", ["def right(:", "1 / 0", "import no_such_module_here"])
def test_a_file_that_cannot_be_imported_is_refused_with_its_cause(body: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(body, encoding="utf-8")
    before = set(sys.modules)
    with pytest.raises(PluginError, match=r"broken.py cannot be imported: \w+Error: ") as caught:
        FunctionReward(f"{path}:right")
    assert caught.value.__cause__ is not None
    assert set(sys.modules) == before


def test_functions_that_cannot_be_called_are_refused() -> None:
    async def later(example: Example, text: str) -> float:
        return 1.0

    with pytest.raises(PluginError, match="async function"):
        FunctionReward(later)
    with pytest.raises(PluginError, match="cannot be called"):
        FunctionReward(lambda example, text, more: 1.0)
