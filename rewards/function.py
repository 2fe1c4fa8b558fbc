"""A plain Python function as a reward."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from promptopt.callables import function_name, resolve
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
        self._call = resolve(self.function, _WHERE)
        try:
            signature = inspect.signature(self._call)
        except ValueError:  # some built-in functions have none
            return
        try:
            signature.bind(object(), object())
        except TypeError as error:
            name, do = function_name(self._call), "give it the parameters (example, text)"
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
                f"reward function {function_name(self._call)}",
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
