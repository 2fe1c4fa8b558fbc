"""The frozen records that pass between modules: rows, messages, scores, cells, evaluations."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

CellStatus = Literal["ok", "failed"]


class FrozenMap(Mapping[str, str]):
    """An immutable, hashable mapping of strings that keeps its order."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None, /, **more: str) -> None:
        """Copy `items` and `more`."""
        self._items: dict[str, str] = {**(items or {}), **more}

    def __getitem__(self, key: str) -> str:
        """Return the value of `key`."""
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in insertion order."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._items)

    def __hash__(self) -> int:
        """Hash the items, whatever their order (as equality does)."""
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        """Show as a dict."""
        return f"FrozenMap({self._items!r})"


class Message(NamedTuple):
    """One chat message: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task.

    Attributes:
        id: unique within the task.
        inputs: input columns by name.
        answers: accepted answers, the first is the main one; may be empty (a reward may need none).
        options: the possible answers of this row, if it is a choice.
        group: rows that share a group are not independent (clustered statistics).
    """

    id: str
    inputs: FrozenMap
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    group: str | None = None

    @property
    def answer(self) -> str:
        """The main accepted answer, or an empty string."""
        return self.answers[0] if self.answers else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` reads it back."""
        return {
            "id": self.id,
            "inputs": dict(self.inputs),
            "answers": list(self.answers),
            "options": list(self.options),
            "group": self.group,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Example:
        """Read what `to_dict` wrote; other keys are left alone."""
        return cls(
            data["id"],
            FrozenMap(data["inputs"]),
            tuple(data["answers"]),
            tuple(data["options"]),
            data["group"],
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the model counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        """Add two usages."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        )


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward says of one output.

    Attributes:
        value: higher is better; in [0, 1], or any finite real (log-likelihoods are negative).
        feedback: why, in words a prompt-writing model can use.
        parsed: False when no answer could be read out of the output (counted apart from wrong answers).
    """

    value: float
    feedback: str = ""
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """One (prompt, example, sample) outcome: ok with a score, or failed with a reason. Never a silent 0.

    `usage` is what the answer's calls took together, as the model counted them; none if it counts none.
    `trace` holds the replies of all calls of the prompt's program, in order: how the output came about.
    `cut` is the token limit that ended the first of them that one ended; 0: none was cut.
    """

    prompt: str
    example: str
    sample: int = 0
    status: CellStatus = "ok"
    output: str = ""
    score: Score | None = None
    reason: str = ""
    usage: Usage = Usage()
    trace: tuple[str, ...] = ()
    cut: int = 0

    @property
    def value(self) -> float:
        """The score's value; NaN for a failed cell."""
        return self.score.value if self.score is not None else math.nan


@dataclass(frozen=True)
class Evaluation:
    """A prompt's cells on a list of example ids, one reward. Everything else is derived.

    A failed cell counts neither as right nor as wrong. When more than `MAX_FAILED` of the cells
    failed, the evaluation is not comparable with others.
    """

    prompt: str
    reward: str
    cells: tuple[Cell, ...] = ()

    MAX_FAILED = 0.1

    @cached_property
    def values(self) -> dict[str, float]:
        """Mean value by example id over the ok cells, in the order of the cells."""
        sums: dict[str, list[float]] = {}
        for cell in self.cells:
            if cell.status == "ok":
                sums.setdefault(cell.example, []).append(cell.value)
        return {example: math.fsum(v) / len(v) for example, v in sums.items()}

    @cached_property
    def row_values(self) -> tuple[float, ...]:
        """Mean value of each row met, in the order of the cells; NaN for a row without an ok cell."""
        rows = dict.fromkeys(cell.example for cell in self.cells)
        return tuple(self.values.get(row, math.nan) for row in rows)

    @property
    def n(self) -> int:
        """Number of examples with at least one ok cell."""
        return len(self.values)

    @property
    def met(self) -> int:
        """Number of examples asked about, failed ones included."""
        return len({cell.example for cell in self.cells})

    @property
    def mean(self) -> float:
        """Mean value over the examples; NaN when there are none."""
        return math.fsum(self.values.values()) / self.n if self.n else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean (sample standard deviation / sqrt(n)); NaN for n < 2."""
        if self.n < 2:
            return math.nan
        mean = self.mean
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values.values()) / (self.n - 1) / self.n)

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return all(v in (0.0, 1.0) for v in self.values.values())

    @property
    def failed(self) -> int:
        """Number of failed cells."""
        return sum(cell.status == "failed" for cell in self.cells)

    @property
    def unparsed(self) -> int:
        """Number of ok cells whose output held no readable answer."""
        return sum(cell.score is not None and not cell.score.parsed for cell in self.cells)

    @property
    def cut(self) -> int:
        """Number of ok cells with a reply that the token limit ended."""
        return sum(cell.status == "ok" and cell.cut > 0 for cell in self.cells)

    @property
    def comparable(self) -> bool:
        """Whether enough cells came back to compare this prompt with others."""
        return bool(self.values) and self.failed <= self.MAX_FAILED * len(self.cells)


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps of a run over target, proposer and judge together; None is no cap.

    Attributes:
        calls: model calls, retries included.
        tokens: prompt and completion tokens.
        usd: US dollars.
        minutes: wall time; no call is begun after it, those under way are waited for.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    minutes: float | None = None

    def share(self, parts: int) -> Budget:
        """Return one of `parts` equal shares; together they never exceed the whole."""
        return Budget(
            None if self.calls is None else self.calls // parts,
            None if self.tokens is None else self.tokens // parts,
            None if self.usd is None else self.usd / parts,
            None if self.minutes is None else self.minutes / parts,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0

    def usd(self, usage: Usage) -> float:
        """Return what `usage` costs in US dollars."""
        return (usage.prompt_tokens * self.input + usage.completion_tokens * self.output) / 1e6


def fold_inputs(inputs: Mapping[str, str]) -> tuple[str, ...]:
    """Return what two rows with the same inputs share: the values, by name, without case and white space."""
    return tuple(" ".join(inputs[name].casefold().split()) for name in sorted(inputs))


@dataclass(frozen=True, slots=True)
class SearchNote:
    """What a searcher says of its search: a line for people, and the plain JSON data behind it."""

    text: str
    data: Mapping[str, Any]


def canonical_json(value: Any) -> str:
    """Serialise to JSON with sorted keys and no white space, so that equal values give equal text."""
    return _encode(value)


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `value`'s canonical JSON."""
    return digest_text(canonical_json(value), length)


def digest_text(text: str, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def _encoder() -> Callable[[Any], str]:
    """Return `JSONEncoder.encode` with a C encoder made once; it makes one a call, a third of the work."""
    plain = json.JSONEncoder(
        sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain, check_circular=False
    )
    make = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # its stubs lack it
    if make is None:  # Python built without it
        return plain.encode
    quote = json.encoder.encode_basestring
    pieces = make(None, _plain, quote, None, ":", ",", True, False, True)
    return lambda value: "".join(pieces(value, 0))


_encode = _encoder()


__all__ = [
    "Budget",
    "Cell",
    "Evaluation",
    "Example",
    "FrozenMap",
    "Message",
    "Price",
    "Score",
    "SearchNote",
    "Usage",
    "canonical_json",
    "digest",
    "digest_text",
    "fold_inputs",
]
