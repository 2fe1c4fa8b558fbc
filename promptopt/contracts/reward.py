"""The contract of a reward: how good one output is for one example.

A reward says what it needs from the target model (`needs`):

* `text`: the generated reply, in `Output.text`;
* `likelihood`: the log-probability of the example's main answer, in `Output.logprob` and `Output.tokens`;
* `options`: the log-probability of every option of the example, in `Output.options`.

A reward that a language model is to speak implements `AsksJudge` as well: it says what to ask, the engine
asks, and the replies are in `Output.opinions` when it is called. So a reward itself never calls a model.

Parsing and scoring stay outside the cache key, so changing a reward re-scores old replies for free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ..records import Example, Score
from .model import Outcome, Request

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
        opinions: what the judge said to the reward's questions, in order (`AsksJudge` only).
        cut: token limit that ended the first reply of the trace that one ended; 0: none was cut.
    """

    text: str = ""
    logprob: float = 0.0
    tokens: int = 0
    options: tuple[OptionScore, ...] = field(default=())
    trace: tuple[str, ...] = ()
    opinions: tuple[Outcome, ...] = ()
    cut: int = 0


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


class Unscorable(Exception):  # it is no error of the code
    """Raised by a reward that cannot say: the judge's reply is no score. The cell fails; it is no 0."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A wrong output that talks to the judge, and what it is to be measured against.

    Attributes:
        kind: how it talks.
        example: the row.
        right: a right output; None where the row has no answer.
        wrong: a wrong one.
        injected: the wrong one with the text that talks.
    """

    kind: str
    example: Example
    right: Output | None
    wrong: Output
    injected: Output


@runtime_checkable
class AsksJudge(Reward, Protocol):
    """What a reward implements besides, if a language model is to say how good an output is.

    Attributes:
        canary_every: judged cells between two rounds of canaries.
    """

    canary_every: int

    def questions(self, example: Example, output: Output) -> tuple[Request, ...]:
        """Return what is still to be asked of the judge, given `output.opinions`; none when it can be scored.

        Text of the row and of the output must not be able to pass for the reward's own words.
        """
        ...

    def make_canaries(self, rows: Sequence[Example], turn: int) -> tuple[Canary, ...]:
        """Return the canaries of a round, other ones each turn; none turns the check off."""
        ...
