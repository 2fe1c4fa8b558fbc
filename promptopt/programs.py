"""How one answer is produced from model calls: single, two-step chain of thought, votes, least-to-most.

A program is a generator: it yields asks, is sent their replies, and returns the answer text. It calls
no model itself, so the engine can run the programs of many cells side by side in one batch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from .errors import ConfigError, did_you_mean
from .plugins import construct
from .records import Message

Messages = tuple[Message, ...]
Extract = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Ask:
    """One call a program wants: messages, which sample of them, and a temperature (None: the job's)."""

    messages: Messages
    sample: int = 0
    temperature: float | None = None


Run = Generator[tuple[Ask, ...], tuple[str, ...], str]


class Program(Protocol):
    """From messages to one answer."""

    @property
    def name(self) -> str:
        """Name in configs and saved prompts."""
        ...

    @property
    def calls(self) -> int:
        """Most model calls for one answer."""
        ...

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Yield asks, receive their replies in order, return the answer."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name": …, **options}`; `program_from_dict` reads it back."""
        ...


class Named:
    """Serialisation shared by the built-in programs."""

    __slots__ = ()
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the options."""
        return {"name": self.name} | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Single(Named):
    """One call, its reply is the answer."""

    name: ClassVar[str] = "single"
    calls: ClassVar[int] = 1

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask once."""
        (reply,) = yield (Ask(messages, sample),)
        return reply


@dataclass(frozen=True, slots=True)
class ChainOfThought(Named):
    """Zero-shot chain of thought in two steps: reason after `trigger`, then extract after `answer`.

    Source: Kojima et al. 2022, "Large Language Models are Zero-Shot Reasoners", section 3.
    """

    trigger: str = "Let's think step by step."
    answer: str = "Therefore, the answer is"

    name: ClassVar[str] = "chain_of_thought"
    calls: ClassVar[int] = 2

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask for reasoning, then for the answer."""
        asked = _append(messages, self.trigger)
        (reasoning,) = yield (Ask(asked, sample),)
        concluded = (*asked, Message("assistant", reasoning), Message("user", self.answer))
        (reply,) = yield (Ask(concluded, sample),)
        return reply


@dataclass(frozen=True, slots=True)
class SelfConsistency(Named):
    """Sample n replies and return one whose extracted answer is the most frequent (first seen wins ties).

    Source: Wang et al. 2023, "Self-Consistency Improves Chain of Thought Reasoning", section 2.
    """

    n: int = 5
    temperature: float = 0.7
    trigger: str = ""

    name: ClassVar[str] = "self_consistency"

    def __post_init__(self) -> None:
        """Refuse to vote without a vote; make equal temperatures give equal ids."""
        if self.n < 1:
            raise ConfigError("program self_consistency.n", "must be at least 1", got=self.n)
        object.__setattr__(self, "temperature", float(self.temperature))

    @property
    def calls(self) -> int:
        """Return n."""
        return self.n

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask n times, count the extracted answers."""
        asked = _append(messages, self.trigger) if self.trigger else messages
        replies = yield tuple(
            Ask(asked, sample * self.n + index, self.temperature) for index in range(self.n)
        )
        answers = [extract(reply) for reply in replies]
        votes = Counter(answer for answer in answers if answer is not None)
        if not votes:
            return replies[0]
        winner = max(votes, key=lambda answer: (votes[answer], -answers.index(answer)))
        return replies[answers.index(winner)]


@dataclass(frozen=True, slots=True)
class LeastToMost(Named):
    """Decompose into subquestions, answer them one after the other, the last with the whole question.

    Source: Zhou et al. 2023, "Least-to-Most Prompting Enables Complex Reasoning", section 2.
    """

    most: int = 4
    decompose: str = "Which simpler questions must be answered first? Write one a line."

    name: ClassVar[str] = "least_to_most"

    BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s+")

    @property
    def calls(self) -> int:
        """One to decompose, one a subquestion, one for the question itself."""
        return self.most + 2

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask for subquestions, then walk through them."""
        (plan,) = yield (Ask(_append(messages, self.decompose), sample),)
        questions = [self.BULLET.sub("", line).strip() for line in plan.splitlines()]
        solved = ""
        for question in [q for q in questions if q][: self.most]:
            (reply,) = yield (Ask(_append(messages, f"{solved}Q: {question}\nA:"), sample),)
            solved += f"Q: {question}\nA: {reply.strip()}\n\n"
        if not solved:
            (reply,) = yield (Ask(messages, sample),)
            return reply
        (reply,) = yield (Ask(_append(messages, f"{solved}Now answer the question itself."), sample),)
        return reply


PROGRAMS: dict[str, type[Any]] = {
    "single": Single,
    "chain_of_thought": ChainOfThought,
    "self_consistency": SelfConsistency,
    "least_to_most": LeastToMost,
}


def program_from_dict(data: dict[str, Any]) -> Program:
    """Build a program from `{"name": …, **options}`.

    Raises:
        ConfigError: no program of that name, or an option out of range.
        PluginError: an option is unknown or of the wrong type.
    """
    options = dict(data)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PROGRAMS:
        raise ConfigError("program", f"unknown program {name!r}", do=did_you_mean(str(name), PROGRAMS))
    program: Program = construct(PROGRAMS[name], options, f"program {name}")
    return program


def _append(messages: Messages, text: str) -> Messages:
    last = messages[-1]
    return (*messages[:-1], Message(last.role, f"{last.content}\n\n{text}"))
