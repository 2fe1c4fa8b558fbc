"""The contract of a reward: how good one output is for one example.

A reward says what it needs from the target model (`needs`):

* `text`: the generated reply, in `Output.text`;
* `likelihood`: the log-probability of the example's main answer, in `Output.logprob` and `Output.tokens`;
* `options`: the log-probability of every option of the example, in `Output.options`.

Parsing and scoring stay outside the cache key, so changing a reward re-scores old replies for free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ..records import Example, Score

Needs = Literal["text", "likelihood", "options"]


@dataclass(frozen=True, slots=True)
class OptionScore:
    """Log-probability in nats of one option: the sum over its `tokens` tokens."""

    option: str
    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Output:
    """What the target answered for one example.

    Attributes:
        text: the reply (for `options`: empty; the reward chooses).
        logprob: sum over the tokens of the main answer, in nats (`likelihood` only).
        tokens: number of tokens of the main answer (`likelihood` only).
        options: one entry per option of the example, in its order (`options` only).
        trace: the replies of all calls of the prompt's program, in order (`text` only).
    """

    text: str = ""
    logprob: float = 0.0
    tokens: int = 0
    options: tuple[OptionScore, ...] = field(default=())
    trace: tuple[str, ...] = ()


@runtime_checkable
class Reward(Protocol):
    """Judge outputs; deterministic, without network or clock.

    Attributes:
        needs: what the target must be asked for.
    """

    needs: Needs

    def __call__(self, example: Example, output: Output) -> Score:
        """Return the score; a value that is not finite, or an exception, makes the cell failed."""
        ...

    def extract(self, text: str) -> str | None:
        """Return the answer read out of a reply, or None; votes (self-consistency) count these."""
        ...
