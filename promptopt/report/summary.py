"""The summary of a run: frozen records that every rendering draws from. Built by `reading.read_run`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..leaderboard import Entry
from ..ledger import Spent
from ..prompt import Prompt
from ..proof.calibration import Reliability
from ..proof.canaries import JudgeCheck
from ..proof.cutoff import Cut, cut_notes
from ..proof.stats import Interval
from ..proof.verdict import Verdict
from ..records import Example
from ..runfolder import State

Change = Literal["fixed", "broke", "wrong", "right", "missing"]
"""What became of a row: better than before, worse, as bad, as good, or not comparable."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a prompt scored on the rows of a split that it met.

    Attributes:
        mean: None when no row has a score.
        n: rows with a score.
        interval: 95%, of the mean; None where it was not asked for.
        failed: cells without an answer.
        unparsed: answers that the reward could not read.
        prompt_tokens: read for one answer, on average; None when the model counted none.
        output_tokens: written for one answer.
    """

    mean: float | None
    n: int
    interval: Interval | None = None
    failed: int = 0
    unparsed: int = 0
    prompt_tokens: float | None = None
    output_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt of the run: its place in the order of discovery, and its scores by split."""

    number: int
    prompt: Prompt
    scores: Mapping[str, Score]

    @property
    def last(self) -> Score | None:
        """Its score on the most decisive rows that it met."""
        return next(
            (self.scores[split] for split in ("test", "select", "search") if split in self.scores), None
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A prompt scored, or a new best one: its score on search rows, and what was spent by then.

    `bound` ranks it among prompts that met other numbers of rows (`proof.stats.lower_bound`).
    """

    prompt: str
    mean: float
    n: int
    spent: Spent
    bound: float = -math.inf
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """How one searcher got on.

    Attributes:
        searcher: empty where one works alone.
        steps: each new best, in order.
        scored: every prompt at its last score, in order.
        end: what its search had spent when it ended, or has spent so far.
    """

    searcher: str
    steps: tuple[Step, ...]
    scored: tuple[Step, ...]
    end: Spent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prompt answered to a row.

    Attributes:
        output: the reply; empty where the reward looks at likelihoods alone.
        value: mean over the samples; None when all failed.
        feedback: the reward's.
        reason: why it failed; empty if it did not.
        samples: replies.
    """

    output: str
    value: float | None
    feedback: str = ""
    reason: str = ""
    samples: int = 1


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row, and what seed prompt and winner made of it; `row` is None when the run kept no rows."""

    id: str
    split: str
    row: Example | None
    before: Answer | None
    after: Answer | None
    change: Change


@dataclass(frozen=True, slots=True)
class Slice:
    """The proving rows that share a value of a column: seed prompt against winner."""

    column: str
    value: str
    n: int
    before: float
    after: float
    difference: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one role.

    Attributes:
        role: target, proposer, judge, trainer.
        answers: calls with an answer or a failure in the journal.
        attempts: requests that were sent for them, repeated ones included.
        retried: calls that took more than one.
        failures: calls that failed for good, by reason.
        lost: attempts whose process died before their answer came.
        spent: what they took.
    """

    role: str
    answers: int
    attempts: int
    retried: int
    failures: Mapping[str, int]
    lost: int
    spent: Spent


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidences of a prompt's answers against their truth; `of` says what counts as confidence."""

    prompt: str
    of: str
    reliability: Reliability


@dataclass(frozen=True)
class Summary:
    """All there is to say about a run.

    Attributes:
        name: the run's folder.
        folder: where it is kept.
        state: done, interrupted or running.
        reward: the task's.
        verdict: None while there is none.
        seed_prompt: the prompt to beat.
        best: the winner, or the best on search rows so far; None before anything was scored.
        candidates: all prompts in the order in which they were found.
        curves: of each searcher.
        leaderboard: the searchers that competed.
        proof_split: where the verdict's rows are from; the last split met while there is none.
        rows: of that split, by what became of them.
        slices: of those rows.
        calls: by role.
        failed_cells: number of cells without a score, by split and reason.
        calibrations: of seed prompt and winner, where likelihoods are known.
        binary: whether all scores of `rows` are 0 or 1.
        notices: what the run said while it went on.
        result: the plain data of `result.json`; empty while the run is not done.
        lock: the job as it was run.
        environment: what it was run with.
        models: what answered, by role.
        command: runs it again; empty for a run from Python.
    """

    name: str
    folder: Path
    state: State
    reward: str
    verdict: Verdict | None
    seed_prompt: Prompt | None
    best: Prompt | None
    candidates: tuple[Candidate, ...]
    curves: tuple[Curve, ...]
    leaderboard: tuple[Entry, ...]
    proof_split: str
    rows: tuple[RowResult, ...]
    slices: tuple[Slice, ...]
    calls: tuple[Calls, ...]
    failed_cells: Mapping[tuple[str, str], int]
    calibrations: tuple[Calibration, ...]
    binary: bool
    notices: tuple[str, ...]
    result: Mapping[str, Any]
    lock: Mapping[str, Any]
    environment: Mapping[str, Any]
    models: Mapping[str, Mapping[str, str]]
    command: str

    def candidate(self, identifier: str) -> Candidate | None:
        """Return a candidate by its prompt's id."""
        return next((one for one in self.candidates if one.prompt.id == identifier), None)

    @property
    def counts(self) -> dict[Change, int]:
        """How many rows were fixed, broke, stayed wrong, stayed right, are missing."""
        found: dict[Change, int] = {"fixed": 0, "broke": 0, "wrong": 0, "right": 0, "missing": 0}
        for row in self.rows:
            found[row.change] += 1
        return found

    @property
    def judge_check(self) -> JudgeCheck | None:
        """Whether the judge can be talked into scores; None where no model judges."""
        data = (self.result.get("guards") or {}).get("judge")
        return None if data is None else JudgeCheck.from_dict(data)

    @property
    def cut_notes(self) -> tuple[str, ...]:
        """Which token limits end replies before they have answered, a line each."""
        return cut_notes([Cut.from_dict(cut) for cut in (self.result.get("guards") or {}).get("cut", ())])

    @property
    def spent(self) -> Spent:
        """What all roles took together."""
        return sum((calls.spent for calls in self.calls), Spent())
