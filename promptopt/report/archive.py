"""The journal of a run, read and never written, also while another process writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..contracts.model import Failure, Outcome
from ..errors import JournalError
from ..outcomes import outcome_from_dict
from ..records import Usage
from ..store import VERSION, open_store, read_bill

FAILED = '%"type":"failure"%'


class CellRow(NamedTuple):
    """A cell as the journal keeps it; `value` is NaN when it failed."""

    example: str
    sample: int
    status: str
    output: str
    value: float
    feedback: str
    parsed: bool
    reason: str


class Mean(NamedTuple):
    """What a prompt scored, added up by the database."""

    mean: float | None
    n: int
    failed: int
    unparsed: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call as it went out, and what came of it.

    Attributes:
        role: who was asked.
        request: as canonical JSON says.
        outcome: the answer, or the failure.
        attempts: requests that were sent for it; 0: taken over from another run.
        usage: tokens.
        seconds: since the answer before it.
        at: seconds since 1970.
    """

    role: str
    request: Mapping[str, Any]
    outcome: Outcome
    attempts: int
    usage: Usage
    seconds: float
    at: float


class Archive:
    """One journal, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            JournalError: it is no journal, or of another version.
        """
        self._store = open_store(path, read_only=True)
        version = self.meta("schema_version")
        if version != VERSION:
            self._store.close()
            raise JournalError(
                str(path), "written by another version", got=version, do="use that version to look at it"
            )

    def __enter__(self) -> Self:
        """Do nothing: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._store.close()

    def meta(self, key: str) -> Any:
        """Return a value of the run's own notes, or None."""
        rows = self._store.query("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def prompts(self) -> list[dict[str, Any]]:
        """Return the content of all prompts in the order in which they were found."""
        rows = self._store.query(f"SELECT content FROM prompts ORDER BY {self._store.order}")
        return [json.loads(content) for (content,) in rows]

    def began(self) -> float | None:
        """Return when the first prompt was written down, in seconds since 1970."""
        ((at,),) = self._store.query("SELECT MIN(at) FROM prompts")
        return None if at is None else float(at)

    def cells(self, prompt: str, split: str, reward: str) -> list[CellRow]:
        """Return a prompt's cells on a split, by row id."""
        rows = self._store.query(
            "SELECT example, sample, status, output, value, feedback, parsed, reason FROM cells"
            " WHERE prompt = ? AND split = ? AND reward = ? ORDER BY example, sample",
            (prompt, split, reward),
        )
        return [
            CellRow(
                example,
                sample,
                status,
                output,
                math.nan if value is None else value,
                feedback,
                bool(parsed),
                why,
            )
            for example, sample, status, output, value, feedback, parsed, why in rows
        ]

    def means(self, reward: str) -> dict[str, dict[str, Mean]]:
        """Return what every prompt scored with a reward, by prompt and split; each row counts once."""
        rows = self._store.query(
            "SELECT prompt, split, AVG(mean), COUNT(mean), SUM(failed), SUM(unparsed) FROM ("
            "SELECT prompt, split, AVG(value) AS mean, SUM(status = 'failed') AS failed,"
            " SUM(parsed = 0) AS unparsed FROM cells WHERE reward = ? GROUP BY prompt, split, example"
            ") GROUP BY prompt, split",
            (reward,),
        )
        found: dict[str, dict[str, Mean]] = {}
        for prompt, split, mean, n, failed, unparsed in rows:
            found.setdefault(prompt, {})[split] = Mean(mean, int(n), int(failed), int(unparsed))
        return found

    def failed_cells(self, reward: str) -> dict[tuple[str, str], int]:
        """Return how many cells failed, by split and reason, most first."""
        rows = self._store.query(
            "SELECT split, reason, COUNT(*) FROM cells WHERE status = 'failed' AND reward = ?"
            " GROUP BY split, reason ORDER BY 3 DESC",
            (reward,),
        )
        return {(split, reason): int(count) for split, reason, count in rows}

    def calls(self) -> dict[str, tuple[int, int, int]]:
        """Return by role the number of calls, of their attempts, and of calls that took several."""
        rows = self._store.query(
            "SELECT role, COUNT(*), SUM(attempts), SUM(attempts > 1) FROM calls GROUP BY role ORDER BY role"
        )
        return {role: (int(count), int(attempts), int(more)) for role, count, attempts, more in rows}

    def failures(self) -> dict[str, dict[str, int]]:
        """Return by role how many calls failed for good, by reason."""
        found: dict[str, dict[str, int]] = {}
        for role, outcome in self._store.query(
            "SELECT role, outcome FROM calls WHERE outcome LIKE ?", (FAILED,)
        ):
            failure = outcome_from_dict(json.loads(outcome))
            if isinstance(failure, Failure):
                counted = found.setdefault(role, {})
                counted[failure.reason] = counted.get(failure.reason, 0) + 1
        return found

    def lost(self) -> dict[str, int]:
        """Return by role how many attempts never got an answer."""
        rows = self._store.query("SELECT role, COUNT(*) FROM attempts WHERE lost = 1 GROUP BY role")
        return {role: int(count) for role, count in rows}

    def bill(self) -> dict[str, tuple[int, Usage, float]]:
        """Return by role attempts, tokens and seconds, lost attempts included."""
        return read_bill(self._store)

    def exchanges(self, keys: Sequence[str]) -> dict[str, Exchange]:
        """Return the calls with these keys, as far as they are there."""
        columns = (
            "key", "role", "request", "outcome", "attempts", "prompt_tokens", "completion_tokens", "seconds",
            "at",
        )  # fmt: skip
        found = {}
        for key, role, request, outcome, attempts, prompt, completion, seconds, at in self._store.get_calls(
            list(keys), columns
        ):
            found[key] = Exchange(
                role,
                json.loads(request),
                outcome_from_dict(json.loads(outcome)),
                attempts,
                Usage(prompt, completion),
                seconds,
                at,
            )
        return found
