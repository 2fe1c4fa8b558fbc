"""What the measures return, and the lines of the file that keeps it; knows no model and no family."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from promptopt.errors import DataError

from .metrics import mean

Scored = tuple[str, float]
"""A wording and its accuracy."""


@dataclass(frozen=True)
class ZeroShot:
    """Accuracy of a family without demonstrations, by kind of wording."""

    none: float
    vague: tuple[Scored, ...]
    misleading: tuple[Scored, ...]
    training: tuple[Scored, ...]
    human: tuple[Scored, ...]
    held_out: tuple[Scored, ...]


@dataclass(frozen=True)
class Landscape:
    """Accuracy of many wordings: (level, wording, accuracy)."""

    scored: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Demonstrations:
    """Accuracy with demonstrations and no instruction.

    Attributes:
        labelled: the family has few outputs; wrong demonstrations then have a wrong one of them, else the
            output of another input.
        counts: how many right demonstrations were shown.
        right: accuracy for each of the counts.
        wrong: accuracy with the most demonstrations, all wrong.
    """

    labelled: bool
    counts: tuple[int, ...]
    right: tuple[float, ...]
    wrong: float


@dataclass(frozen=True)
class Proposals:
    """What APE's forward meta-prompt brought.

    Attributes:
        distinct: the distinct instructions that were read, and their accuracy on the select rows.
        best: the one with the highest accuracy.
        test: its accuracy on the test rows.
        words: how many words all proposals have together, repeated ones included.
        known: how many of them are words.
        unknown: some of the others.
    """

    distinct: tuple[Scored, ...]
    best: str
    test: float
    words: int
    known: int
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Worked:
    """Accuracy of an instruction: answered at once, by the two-step program, and by one worked reply."""

    direct: float
    two_steps: float
    one_call: float

    @classmethod
    def mean(cls, found: Sequence[Worked]) -> Self:
        """Return the mean of one or more."""
        return cls(
            mean([one.direct for one in found]),
            mean([one.two_steps for one in found]),
            mean([one.one_call for one in found]),
        )

    @property
    def gain(self) -> float:
        """What the better way to work in steps gains over answering at once."""
        return max(self.two_steps, self.one_call) - self.direct


@dataclass(frozen=True)
class Steps(Worked):
    """What working in steps does on the rows of a family."""


@dataclass(frozen=True)
class StepsBeyond(Worked):
    """What it does on rows beyond those taught."""


@dataclass(frozen=True)
class Calibration:
    """For each choice among a family's labels: how probable the chosen one was, and whether it was right."""

    confidence: tuple[float, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Rewritten:
    """An instruction, the accuracy with it, and the instructions that a meta-prompt made of it."""

    meta: str
    level: str
    before: Scored
    after: tuple[Scored, ...]


@dataclass(frozen=True)
class Improvement:
    """What the meta-prompts of searchers make of instructions."""

    rewritten: tuple[Rewritten, ...]


@dataclass(frozen=True)
class RealRows:
    """Accuracy of people's wordings on rows of a public set."""

    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Speed:
    """What it cost to score `prompts` x `rows` cells greedily."""

    prompts: int
    rows: int
    cpu_seconds: float


Result = (
    ZeroShot
    | Landscape
    | Demonstrations
    | Proposals
    | Steps
    | StepsBeyond
    | Calibration
    | Improvement
    | RealRows
    | Speed
)

RESULTS: dict[str, type[Any]] = {
    "zero_shot": ZeroShot,
    "landscape": Landscape,
    "demonstrations": Demonstrations,
    "ape": Proposals,
    "chain_of_thought": Steps,
    "chain_of_thought_beyond": StepsBeyond,
    "calibration": Calibration,
    "improvement": Improvement,
    "real_rows": RealRows,
    "speed": Speed,
}
"""The measures by name, and what each returns."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        model: name of the model: its folder, or the size of an embedded one.
        version: hash of its files; a folder that was trained on is another model.
        parameters: how many weights it has.
        family: name of the family.
        measure: name of the measure.
        seed: of rows and wordings.
        split: which rows and held-out wordings: `test` or `dev`.
        n: rows asked for in each cell.
    """

    model: str
    version: str
    parameters: int
    family: str
    measure: str
    seed: int
    split: str
    n: int


@dataclass(frozen=True)
class Record:
    """One line of a results file.

    Attributes:
        of: what was measured.
        result: what came out; None where the family has nothing to measure it on.
        rows: rows there were in each cell; at most `of.n`.
        unanswered: prompts that the model refused as too long; they count as wrong.
        seconds: wall time.
    """

    of: Measured
    result: Result | None
    rows: int
    unanswered: int
    seconds: float

    def line(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> Record:
        """Read what `line` wrote."""
        data = json.loads(line)
        of, result = Measured(**data.pop("of")), data.pop("result")
        made = None if result is None else RESULTS[of.measure](**_frozen(result))
        if isinstance(made, Improvement):
            pairs = [Rewritten(**_frozen(pair)) for pair in result["rewritten"]]
            made = Improvement(tuple(pairs))
        return cls(of, made, **data)


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Yield the records of files.

    Raises:
        DataError: a line is no record.
    """
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = Record.read(line)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(f"{path}:{number}", f"no record of an evaluation: {error!r}") from error
            yield record


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
