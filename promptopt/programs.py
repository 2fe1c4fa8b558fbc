"""How one answer is produced from model calls: single, two-step chain of thought, votes, least-to-most.

A program is a generator: it yields asks, is sent their completions, and returns the answer text. It calls
no model itself, so the engine can run the programs of many cells side by side in one batch, and every call
is journaled like any other.

Each program reads its own answer out of what was said: a second call asks for it, or it stands behind a
marker ("The answer is"), or replies vote for it. What a reward then reads out of the answer is its business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from .adapter import Adapter
from .contracts.model import Completion, Decoding, GenerateRequest
from .errors import ConfigError, UnsupportedError, did_you_mean
from .plugins import construct
from .records import Message

Messages = tuple[Message, ...]
Extract = Callable[[str], str | None]

REASONING_TOKENS = 256
"""Tokens that a reply may take to reason where nobody says: room for about ten sentences."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call a program wants: messages, which sample of them, and decoding where it is not the job's.

    `logprobs` asks for the reply's log-probability, too. A reply that `reasons` before it answers, or
    instead, gets the job's `reasoning_tokens`.
    """

    messages: Messages
    sample: int = 0
    temperature: float | None = None
    logprobs: bool = False
    max_tokens: int | None = None
    reasons: bool = False

    def decoding(self, job: Decoding) -> Decoding:
        """Return how its reply is decoded, given how the job's are."""
        length = self.max_tokens
        if length is None and self.reasons:
            length = job.reasoning_tokens
        return Decoding(
            job.max_tokens if length is None else length,
            job.temperature if self.temperature is None else self.temperature,
            job.top_p,
            job.stop,
            job.seed,
        )

    def request(self, job: Decoding, adapter: Adapter | None = None) -> GenerateRequest:
        """Return what a model is asked."""
        decoding = self.decoding(job)
        return GenerateRequest(self.messages, decoding, self.sample, logprobs=self.logprobs, adapter=adapter)


Run = Generator[tuple[Ask, ...], tuple[Completion, ...], str]


@runtime_checkable
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
        """Yield asks, receive their completions in order, return the answer."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name": …, **options}`; `program_from_dict` reads it back."""
        ...


class Named:
    """Serialisation shared by the built-in programs."""

    __slots__ = ()
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the options that are set: older prompts keep their ids."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"name": self.name} | {key: value for key, value in options.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Single(Named):
    """One call, its reply is the answer.

    Attributes:
        temperature: of this prompt's replies; None: the job's.
        max_tokens: most tokens of a reply; None: the job's.
    """

    temperature: float | None = None
    max_tokens: int | None = None

    name: ClassVar[str] = "single"
    calls: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Refuse what no model takes; make equal temperatures give equal ids."""
        if self.temperature is not None:
            if not 0 <= self.temperature <= 2:
                raise ConfigError("program single.temperature", "must be from 0 to 2", got=self.temperature)
            object.__setattr__(self, "temperature", float(self.temperature))
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError("program single.max_tokens", "must be at least 1", got=self.max_tokens)

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask once."""
        (reply,) = yield (Ask(messages, sample, self.temperature, max_tokens=self.max_tokens),)
        return reply.text


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
        (reasoning,) = yield (Ask(asked, sample, reasons=True),)
        concluded = (*asked, Message("assistant", reasoning.text), Message("user", self.answer))
        (reply,) = yield (Ask(concluded, sample),)
        return reply.text


@dataclass(frozen=True, slots=True)
class FewShotChainOfThought(Named):
    """One call; the demonstrations reason before they answer, and so does the reply.

    The outputs of the prompt's demonstrations are to hold the reasoning and then `answer` with the answer.
    What stands behind the last `answer` in the reply is taken, up to the end of its line, without a full
    stop; without one, the whole reply.

    Source: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models",
    section 2.
    """

    answer: str = "The answer is"

    name: ClassVar[str] = "few_shot_chain_of_thought"
    calls: ClassVar[int] = 1

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask once."""
        (reply,) = yield (Ask(messages, sample, reasons=True),)
        return behind(reply.text, self.answer)


@dataclass(frozen=True, slots=True)
class SelfConsistency(Named):
    """Sample n replies and return one whose extracted answer has the most votes (first seen wins ties).

    Source: Wang et al. 2023, "Self-Consistency Improves Chain of Thought Reasoning", section 2. The weighted
    vote is the "weighted sum (normalized)" of table 1: a reply counts by the exponential of the mean
    log-probability of its tokens (equation 1).

    Attributes:
        n: replies.
        temperature: of their decoding.
        trigger: appended to ask for reasoning; empty where the prompt does so, or nothing is to be reasoned.
        answer: marker behind which the answer stands in a reply (as in few-shot chain of thought); empty: the
            whole reply is looked at. With neither, a reply has no more room than an answer.
        vote: `majority`, or `weighted` by likelihood, for which the target must tell log-probabilities.
    """

    n: int = 5
    temperature: float = 0.7
    trigger: str = ""
    answer: str = ""
    vote: Literal["majority", "weighted"] = "majority"

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
        """Ask n times, add up the votes for the extracted answers.

        Raises:
            UnsupportedError: the votes are weighted, and the target tells no log-probabilities.
        """
        asked = _append(messages, self.trigger) if self.trigger else messages
        weighted, reasons = self.vote == "weighted", bool(self.trigger or self.answer)
        replies = yield tuple(
            Ask(asked, sample * self.n + index, self.temperature, weighted, reasons=reasons)
            for index in range(self.n)
        )
        texts = [behind(reply.text, self.answer) if self.answer else reply.text for reply in replies]
        answers = [extract(text) for text in texts]
        votes: dict[str, float] = {}
        for answer, reply in zip(answers, replies, strict=True):
            weight = _weight(reply) if weighted else 1.0
            if answer is not None:
                votes[answer] = votes.get(answer, 0.0) + weight
        if not votes:
            return texts[0]
        return texts[answers.index(max(votes, key=votes.__getitem__))]


@dataclass(frozen=True, slots=True)
class LeastToMost(Named):
    """Decompose into subquestions, answer them one after the other, the last with the whole question.

    Each sees the ones before it with their answers.

    Source: Zhou et al. 2023, "Least-to-Most Prompting Enables Complex Reasoning", section 2.

    Attributes:
        most: subquestions; further ones are left out.
        decompose: asks for them.
        solve: asks for the whole answer when they are answered.
        answer: marker behind which the answer stands in the last reply; empty: it is the reply.
    """

    most: int = 4
    decompose: str = "Which simpler questions must be answered first? Write one a line."
    solve: str = "Now answer the question itself."
    answer: str = ""

    name: ClassVar[str] = "least_to_most"

    BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s+")

    @property
    def calls(self) -> int:
        """One to decompose, one a subquestion, one for the question itself."""
        return self.most + 2

    def run(self, messages: Messages, extract: Extract, sample: int = 0) -> Run:
        """Ask for subquestions, then walk through them."""
        (plan,) = yield (Ask(_append(messages, self.decompose), sample, reasons=True),)
        questions = [self.BULLET.sub("", line).strip() for line in plan.text.splitlines()]
        solved = ""
        for question in [q for q in questions if q][: self.most]:
            (reply,) = yield (Ask(_append(messages, f"{solved}Q: {question}\nA:"), sample, reasons=True),)
            solved += f"Q: {question}\nA: {reply.text.strip()}\n\n"
        last = _append(messages, f"{solved}{self.solve}") if solved else messages
        (reply,) = yield (Ask(last, sample, reasons=True),)
        return behind(reply.text, self.answer) if self.answer else reply.text


PROGRAMS: dict[str, type[Any]] = {
    "single": Single,
    "chain_of_thought": ChainOfThought,
    "few_shot_chain_of_thought": FewShotChainOfThought,
    "self_consistency": SelfConsistency,
    "least_to_most": LeastToMost,
}


def first_asks(program: Program, messages: Messages) -> tuple[Ask, ...]:
    """Return what a program asks before it has seen a reply."""
    return next(program.run(messages, lambda text: text))


def reasons(program: Program) -> bool:
    """Return whether a program's first replies reason before they answer."""
    return first_asks(program, (Message("user", ""),))[0].reasons


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


def behind(text: str, marker: str) -> str:
    """Return what stands behind the last `marker`, to the end of its line and without a full stop.

    Without a marker in it, the whole text. Case does not matter.
    """
    found = [match.end() for match in re.finditer(re.escape(marker), text, re.IGNORECASE)]
    if not found:
        return text
    line, *_ = [*text[found[-1] :].lstrip(" :\n").splitlines(), ""]
    return line.strip().removesuffix(".")


def _weight(reply: Completion) -> float:
    """Return the normalized probability of a reply."""
    if reply.logprob is None:
        raise UnsupportedError(
            "program self_consistency", "the target tells no log-probabilities to weigh votes with",
            do="set vote: majority, or use a target that does",
        )  # fmt: skip
    return math.exp(reply.logprob)


def _append(messages: Messages, text: str) -> Messages:
    last = messages[-1]
    return (*messages[:-1], Message(last.role, f"{last.content}\n\n{text}"))
