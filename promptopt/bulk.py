"""Score prompts on a file of any length: read in blocks, written in parts, in constant memory.

A part is a block of rows under all prompts. It has a journal of its own while it is being scored, so that a
killed process goes on in the middle of it; once its cells are in a file and its sums in the book of finished
parts, the journal is deleted. Several processes take the parts of their shard each, or, over a study in
PostgreSQL, whatever part nobody alive is at. They share a folder: whoever takes over finds the journal there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .calls import Caller
from .cellfiles import CellFormat, values_of, write_cells
from .contracts.reward import AsksJudge
from .data import Stream
from .errors import ConfigError, JournalError
from .events import Listener, Notice, Tick, ignore
from .journal import Journal
from .ledger import Ledger, Purse
from .partbook import Part, PartBook
from .prompt import Prompt
from .proof.canaries import ALARM, JudgeCheck
from .records import Example, Usage
from .runfolder import claimed
from .scoring import Scorer
from .setup import Setup
from .tally import Tally

PART_CELLS = 8192
"""Cells of a part, about: what is in memory at one time."""
TICK_SECONDS = 0.05
PAUSE = 0.5
"""Seconds between looks at parts that others are at."""
SPLIT = "bulk"
"""What the journal of a part calls its rows."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `of`-th part, from `index` (from 1) on."""

    index: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/8`.

        Raises:
            ConfigError: it is no such thing.
        """
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise ConfigError("--shard", "no shard", got=text, do="write it like 2/8: the second of eight")
        return cls(int(index), int(of))

    def has(self, number: int) -> bool:
        """Whether a part is in it."""
        return number % self.of == self.index - 1

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.index}/{self.of}"


WHOLE = Shard()


@dataclass(frozen=True)
class Bulk:
    """A scoring job.

    Attributes:
        setup: target, reward, decoding, samples, budget.
        prompts: to score; all meet the same rows.
        stream: the rows.
        folder: where the files go.
        size: rows of a part.
        format: of the files.
    """

    setup: Setup
    prompts: Sequence[Prompt]
    stream: Stream
    folder: Path
    size: int
    format: CellFormat = "parquet"

    def file(self, number: int) -> Path:
        """The cells of a part."""
        return self.folder / f"part-{number:06d}.{self.format}"

    def journal(self, number: int) -> Path:
        """The journal of a part that is not finished."""
        return self.folder / f".part-{number:06d}.sqlite"


@dataclass(frozen=True)
class Totals:
    """What the finished parts add up to.

    Attributes:
        tallies: by prompt.
        rows: of the source.
        parts: how many.
        calls: model calls, those of earlier processes included.
        usage: their tokens.
        usd: what they cost.
        judge_check: what came of all canaries; None where no model judges.
    """

    tallies: Mapping[str, Tally]
    rows: int
    parts: int
    calls: int
    usage: Usage
    usd: float
    judge_check: JudgeCheck | None = None

    @classmethod
    def of(cls, parts: Sequence[Part], setup: Setup) -> Totals:
        """Add parts up."""
        tallies: dict[str, Tally] = {}
        for part in parts:
            for prompt, tally in part.tallies.items():
                tallies[prompt] = tallies.get(prompt, Tally()) + tally
        ledger = Ledger(prices=setup.prices)
        for part in parts:
            for role, (calls, usage) in part.bill.items():
                ledger.charge(role, calls, usage)
        spent = ledger.total
        checks = [part.judge_check for part in parts if part.judge_check is not None]
        return cls(
            tallies, sum(part.rows for part in parts), len(parts), spent.calls,
            Usage(spent.prompt_tokens, spent.completion_tokens), spent.usd,
            sum(checks, JudgeCheck()) if checks else None,
        )  # fmt: skip


class BulkScoring:
    """One process's work on a scoring job.

    Args:
        job: what is to be done.
        book: which parts are finished, and whose are the others.
        shard: the parts that are this process's.
        elapsed: seconds that finished parts have taken, for a budget of minutes.
        purse: what other processes spend from, too.
        listen: told what happens.
    """

    def __init__(
        self,
        job: Bulk,
        book: PartBook,
        *,
        shard: Shard = WHOLE,
        elapsed: float = 0.0,
        purse: Purse | None = None,
        listen: Listener = ignore,
    ) -> None:
        """Wire it up."""
        self.job, self._book, self._shard, self._listen = job, book, shard, listen
        self._ledger = Ledger(job.setup.budget, job.setup.prices, elapsed=elapsed, purse=purse)
        self._finished: dict[int, Part] = {}
        self._ticked = 0.0
        self._alarmed = False

    def run(self) -> Totals:
        """Score every part of the shard, and wait for those that others are at.

        Raises:
            BudgetExhausted: the budget ended; what was bought is kept.
            DataError: a row cannot be read, or judged; parts before it are kept.
            ModelError: the target cannot be used at all.
        """
        elsewhere = self._pass(self._wanted)
        while elsewhere:
            time.sleep(PAUSE)
            for number in sorted(elsewhere):
                if self._found(number):
                    elsewhere.discard(number)
            if taken := {number for number in sorted(elsewhere)[:1] if self._book.take(number)}:
                elsewhere |= self._pass(taken.__contains__, taken)
                elsewhere -= self._finished.keys()
        return Totals.of(list(self._finished.values()), self.job.setup)

    def _wanted(self, number: int) -> bool:
        return self._shard.has(number) and not self._found(number)

    def _found(self, number: int) -> bool:
        """Whether a part is finished; the first time, its cost is booked."""
        if number not in self._finished and (part := self._book.get(number)) is not None:
            self._finished[number] = part
            for role, (calls, usage) in part.bill.items():
                self._ledger.charge(role, calls, usage, part.seconds if role == "target" else 0.0)
            self._forget(number)
        return number in self._finished

    def _pass(self, wanted: Callable[[int], bool], taken: Collection[int] = ()) -> set[int]:
        """Go through the source once, scoring what is to be had; return the parts that others are at."""
        elsewhere = set()
        for number, block in enumerate(self.job.stream.blocks(self.job.size)):
            if not wanted(number):
                continue
            if number not in taken and not self._book.take(number):
                elsewhere.add(number)
                continue
            try:
                with ExitStack() as stack:
                    try:
                        lock = self.job.folder / f".part-{number:06d}.lock"
                        stack.enter_context(claimed(lock, str(lock)))
                    except JournalError:  # taken for dead, and yet at work
                        elsewhere.add(number)
                        continue
                    part = self._score(number, self.job.stream.examples(block))
                    self._book.put(part)
                    self._finished[number] = part
                    self._forget(number)
            finally:
                self._book.drop(number)
        return elsewhere

    def _score(self, number: int, examples: Sequence[Example]) -> Part:
        """Buy and judge the cells of a part, and write them."""
        job, setup = self.job, self.job.setup
        begun = time.monotonic()
        with Journal(job.journal(number)) as journal:
            caller = Caller(setup.models, journal, self._ledger, on_outcome=self._tick)
            scorer = Scorer(
                caller,
                journal,
                {setup.task.reward_name: setup.task.reward},
                decoding=setup.decoding,
                samples=setup.samples,
                warn=self._warn,
                canary_rows=examples,
            )
            found = scorer.evaluate(job.prompts, examples, setup.task.reward_name, SPLIT)
            places = {example.id: number * job.size + i for i, example in enumerate(examples)}
            rows = (values_of(places[cell.example], cell) for each in found for cell in each.cells)
            write_cells(job.file(number), rows, job.format)
            bill = {role: (call.attempts, call.usage) for role, call in journal.bill().items()}
        judged = isinstance(setup.task.reward, AsksJudge)
        return Part(
            number,
            len(examples),
            bill,
            time.monotonic() - begun,
            {evaluation.prompt: Tally.of(evaluation) for evaluation in found},
            scorer.judging.check if judged else None,
        )

    def _warn(self, text: str) -> None:
        """Tell what went wrong; of a judge that was talked into scores, in the first part only."""
        alarm = text.startswith(ALARM)
        if not (alarm and self._alarmed):
            self._listen(Notice(text))
        self._alarmed = self._alarmed or alarm

    def _forget(self, number: int) -> None:
        """Delete what only an unfinished part needs."""
        for path in (self.job.journal(number), self.job.folder / f".part-{number:06d}.lock"):
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)

    def _tick(self, role: str, done: int, asked: int) -> None:
        now = time.monotonic()
        if done == asked or now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self._listen(Tick(role, done, asked, self._ledger.by_role, self._ledger.remaining))
