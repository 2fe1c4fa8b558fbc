"""Which parts of a scoring job are finished, and who may take which: in a folder, or in a shared study."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .errors import JournalError
from .journal import Call, Journal
from .proof.canaries import JudgeCheck
from .records import Usage, digest
from .tally import Tally


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part.

    Attributes:
        number: its place in the source, from 0.
        rows: how many rows it has.
        bill: model calls that it took, lost ones included, and their tokens, by role.
        seconds: that it took.
        tallies: what its cells add up to, by prompt.
        judge_check: what came of its canaries; None where no model judges.
    """

    number: int
    rows: int
    bill: Mapping[str, tuple[int, Usage]] = field(default_factory=dict)
    seconds: float = 0.0
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    judge_check: JudgeCheck | None = None

    @property
    def took(self) -> tuple[int, Usage]:
        """Calls and tokens of all roles together."""
        return sum(n for n, _ in self.bill.values()), sum((u for _, u in self.bill.values()), Usage())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "number": self.number,
            "rows": self.rows,
            "bill": {role: [calls, *astuple(usage)] for role, (calls, usage) in self.bill.items()},
            "seconds": self.seconds,
            "tallies": {prompt: tally.to_dict() for prompt, tally in self.tallies.items()},
            **({} if self.judge_check is None else {"judge_check": self.judge_check.to_dict()}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Part:
        """Read what `to_dict` wrote."""
        tallies = {prompt: Tally.from_dict(tally) for prompt, tally in data["tallies"].items()}
        bill = {role: (calls, Usage(*tokens)) for role, (calls, *tokens) in data["bill"].items()}
        check = JudgeCheck.from_dict(data["judge_check"]) if "judge_check" in data else None
        return cls(data["number"], data["rows"], bill, data["seconds"], tallies, check)


class PartBook(Protocol):
    """What one process knows of the parts, and shares with others."""

    def get(self, number: int) -> Part | None:
        """Return a finished part; None if it is not."""
        ...

    def take(self, number: int) -> bool:
        """Take on a part that is not finished; False if somebody else has it."""
        ...

    def put(self, part: Part) -> None:
        """Note that a part that was taken is finished; the first note of a part stays."""
        ...

    def drop(self, number: int) -> None:
        """Let others have a part that was taken and is not finished."""
        ...


class FileBook:
    """A list in the folder, one line a part; it belongs to one process at a time.

    Args:
        path: the list.
    """

    def __init__(self, path: Path) -> None:
        """Read what is finished; a last line that a kill cut off is not."""
        self.path = path
        self._parts: dict[int, Part] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            if not line.endswith(b"\n"):
                break
            try:
                part = Part.from_dict(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise JournalError(
                    str(path), f"is damaged: {error}", do="delete the folder and begin again"
                ) from error
            self._parts.setdefault(part.number, part)
            whole += len(line)
        if path.exists():
            os.truncate(path, whole)

    @property
    def parts(self) -> list[Part]:
        """The finished parts."""
        return list(self._parts.values())

    def get(self, number: int) -> Part | None:
        """Return a finished part."""
        return self._parts.get(number)

    def take(self, number: int) -> bool:
        """Take on any: there is nobody else."""
        return True

    def put(self, part: Part) -> None:
        """Append a line, and wait until it is on disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(part.to_dict()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._parts[part.number] = part

    def drop(self, number: int) -> None:
        """Do nothing."""


class StudyBook:
    """Parts are calls of a journal that several processes share: leased, and noted once.

    Args:
        journal: of the study.
        mark: says which job the parts are of.
    """

    def __init__(self, journal: Journal, mark: str) -> None:
        """Join."""
        self._journal, self._mark = journal, mark
        self._known: dict[int, Part] = {}

    def _key(self, number: int) -> str:
        return digest(["part", self._mark, number], 32)

    def get(self, number: int) -> Part | None:
        """Look a part up in the study."""
        if number not in self._known and (call := self._journal.get_call(self._key(number))) is not None:
            self._known[number] = Part.from_dict(call.outcome)
        return self._known.get(number)

    def take(self, number: int) -> bool:
        """Lease a part."""
        return bool(self._journal.claim([self._key(number)]))

    def put(self, part: Part) -> None:
        """Note a part in the study, and end the lease."""
        calls, usage = part.took
        call = Call(part.to_dict(), calls, usage, part.seconds)
        self._journal.put_call(self._key(part.number), "target", f'{{"part":{part.number}}}', call)
        self._journal.release([self._key(part.number)])

    def drop(self, number: int) -> None:
        """End the lease."""
        self._journal.release([self._key(number)])
