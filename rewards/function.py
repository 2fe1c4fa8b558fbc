"""A plain Python function as a reward."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from promptopt.contracts.reward import Needs, Output
from promptopt.errors import ContractError, PluginError
from promptopt.records import Example, Score

from ._text import fold, tail

_WHERE = "reward python.function"


@dataclass
class FunctionReward:
    """What `function(example, text)` says of a reply.

    The function may return True or False (1 or 0), a finite number, a number with a feedback text, or a
    `Score`. It must give the same answer for the same arguments, and use neither network nor clock. No
    normalisation: it sees the row and the reply as they are.

    A function named in a config is imported when the reward is built, so that a wrong name stops the run
    before a model call is paid for.

    Attributes:
        function: the function, or where it is: `path/to/file.py:name` or `package.module:name`.
    """

    function: str | Callable[..., Any]
    needs: Needs = field(default="text", init=False, repr=False)
    _call: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Import the function and check that it takes an example and a text."""
        self._call = _resolve(self.function) if isinstance(self.function, str) else self.function
        if not callable(self._call):
            raise PluginError(_WHERE, "not a function", got=self.function)
        if inspect.iscoroutinefunction(self._call):
            raise PluginError(_WHERE, "an async function", got=self.function, do="write it with plain def")
        try:
            signature = inspect.signature(self._call)
        except ValueError:  # some built-in functions have none
            return
        try:
            signature.bind(object(), object())
        except TypeError as error:
            name, do = _name(self._call), "give it the parameters (example, text)"
            raise PluginError(
                f"{_WHERE} {name}", "cannot be called", got=f"{name}{signature}", do=do
            ) from error

    def __call__(self, example: Example, output: Output) -> Score:
        """Call the function and check what it returns.

        Raises:
            ContractError: it returned something else than documented, or a number that is not finite.
        """
        result = self._call(example, output.text)
        score = _score(result)
        if score is None or not math.isfinite(score.value):
            raise ContractError(
                f"reward function {_name(self._call)}",
                f"returned no score for row {example.id}",
                got=result,
                do="return a bool, a finite number, (number, feedback text) or a promptopt.Score",
            )
        return score

    def extract(self, text: str) -> str | None:
        """Return the folded reply: how the function reads it is not known."""
        return fold(tail(text)) or None


def _score(result: object) -> Score | None:
    if isinstance(result, Score):
        return result
    value, feedback = result if isinstance(result, tuple) and len(result) == 2 else (result, "")
    if isinstance(value, Real) and isinstance(feedback, str):
        return Score(float(value), feedback)
    return None


def _name(function: Callable[..., Any]) -> str:
    named = inspect.isfunction(function) or inspect.isbuiltin(function) or inspect.isclass(function)
    return function.__name__ if named else type(function).__name__


def _resolve(place: str) -> Callable[..., Any]:
    module_name, colon, name = place.rpartition(":")
    if not (colon and module_name and name.isidentifier()):
        do = "write path/to/file.py:name or package.module:name"
        raise PluginError(_WHERE, "names no function", got=place, do=do)
    try:
        module = _load_file(Path(module_name)) if module_name.endswith(".py") else _load_module(module_name)
    except PluginError:
        raise
    except Exception as error:  # the user's module may fail in any way while it is imported
        problem = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise PluginError(_WHERE, problem) from error
    if name not in vars(module):
        own = [v for v in vars(module).values() if inspect.isfunction(v) and v.__module__ == module.__name__]
        public = sorted(v.__name__ for v in own if not v.__name__.startswith("_"))
        do = f"it has {', '.join(public)}" if public else "it has no functions"
        raise PluginError(_WHERE, f"{module_name} has no {name!r}", do=do)
    found: Callable[..., Any] = vars(module)[name]
    return found


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError(
            _WHERE, "no such file", got=str(path), do="give its path from the working directory"
        )
    place = str(path.resolve())
    name = f"_promptopt_function_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise PluginError(_WHERE, "cannot be imported", got=str(path))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up here while it is being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            do = f"install it, or give the file: path/to/{name.rpartition('.')[2]}.py:name"
            raise PluginError(_WHERE, f"no module {error.name!r}", do=do) from error
        raise
