"""Searches of one run that know nothing of each other: each has its share of the budget, and its session.

A branch begins where the run is: it knows what the run has scored, and pays for nothing that the run has
paid. What it finds and spends is the run's in the end, branch by branch in their order. So the result does
not depend on which of them was faster, nor on where they took place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from .calls import Caller
from .contracts.model import LanguageModel
from .contracts.searcher import Searcher, SearchTask
from .events import Event, Listener, Notice, Scored, Tick
from .journal import Journal
from .ledger import Ledger, Purse, Spent
from .proof.canaries import JudgeCheck
from .records import Budget, SearchNote, Usage, digest
from .scoring import Scorer
from .seat import Desk
from .session import Candidates, RunSession
from .setup import Setup

TOGETHER = 1000
"""Calls that are looked up together."""


@dataclass
class Trunk:
    """The run that branches grow from.

    Attributes:
        setup: its parts.
        journal: where everything is kept.
        caller: the run's own.
        candidates: the run's.
        notes: the run's, for the result.
        listen: told what happens; one branch at a time.
        stopped: whether someone has asked for a stop.
        judge_check: what is known of the judge.
        reuse: journals whose answers cost nothing again.
        purse: what other processes spend from, too.
    """

    setup: Setup
    journal: Journal
    caller: Caller
    candidates: Candidates
    notes: list[SearchNote]
    listen: Listener
    stopped: Callable[[], bool]
    judge_check: Callable[[], JudgeCheck] = JudgeCheck
    reuse: Sequence[Journal] = ()
    purse: Purse | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _growing: dict[int, Branch] = field(default_factory=dict)

    @property
    def left(self) -> Budget:
        """What of the budget may be shared out."""
        return self.caller.ledger.remaining

    def grow(
        self,
        number: int,
        searcher: Searcher,
        task: SearchTask,
        workdir: Path,
        share: Budget,
        models: Mapping[str, LanguageModel] | None = None,
    ) -> Branch:
        """Begin a branch; one of the same number that has begun before is forgotten.

        Args:
            number: from 0; its chance is that of so many seeds after the run's.
            searcher: what searches in it.
            task: what it may know.
            workdir: its own folder.
            share: of the budget.
            models: that answer in it instead of the run's, alike.
        """
        branch = Branch(self, number, searcher, task, workdir, share, models or {})
        with self._lock:
            self._growing[number] = branch
        return branch

    def gather(self) -> None:
        """Take over what the branches have found and spent, in their order."""
        for _, branch in sorted(self._growing.items()):
            self.candidates.adopt(branch.candidates)
            self._pay(branch)
            self.notes.extend(branch.notes)
        self._growing.clear()

    def _pay(self, branch: Branch) -> None:
        """Book what a branch has spent; what another one has used as well is booked once."""
        spent: dict[str, Spent] = {}
        caller = branch.caller
        for keys in _batched(key for key in caller.used if key not in caller.began_with):
            for key, call in self.journal.get_calls(keys).items():
                role = caller.used[key]
                self.caller.first_use(role, key, call)
                amount = Spent(call.attempts, call.usage.prompt_tokens, call.usage.completion_tokens)
                spent[role] = spent.get(role, Spent()) + amount
        for role, booked in branch.ledger.booked_by_role.items():  # and what has no answer to show for it
            rest = booked - spent.get(role, Spent())
            self.caller.ledger.charge(role, rest.calls, Usage(rest.prompt_tokens, rest.completion_tokens))

    def tell(self, event: Event) -> None:
        """Tell of a branch what the run would tell."""
        with self._lock:
            growing = list(self._growing.values())
            if isinstance(event, Tick):
                event = replace(event, spent=self._spent(growing), remaining=self._remaining(growing))
            elif isinstance(event, Scored):
                begun = len(self.candidates)
                found = sum(len(branch.candidates) - begun for branch in growing)
                event = replace(event, candidates=begun + found)
            self.listen(event)

    # What two branches have used is counted twice until they are gathered: to know better would take a look
    # at every key.

    def _spent(self, growing: Sequence[Branch]) -> dict[str, Spent]:
        spent = dict(self.caller.ledger.by_role)
        for branch in growing:
            for role, amount in branch.ledger.booked_by_role.items():
                spent[role] = spent.get(role, Spent()) + amount
        return spent

    def _remaining(self, growing: Sequence[Branch]) -> Budget:
        left, gone = self.left, sum((branch.ledger.booked for branch in growing), Spent())
        return replace(
            left,
            calls=None if left.calls is None else left.calls - gone.calls,
            tokens=None if left.tokens is None else left.tokens - gone.tokens,
            usd=None if left.usd is None else left.usd - gone.usd,
        )


class Branch:
    """One search: what it may spend, what it has found, and the desk that answers it."""

    def __init__(
        self,
        trunk: Trunk,
        number: int,
        searcher: Searcher,
        task: SearchTask,
        workdir: Path,
        share: Budget,
        models: Mapping[str, LanguageModel],
    ) -> None:
        """Begin where the trunk is."""
        setup = trunk.setup
        self.number, self.searcher, self.task, self.workdir = number, searcher, task, workdir
        self.seed = setup.seed + number
        self.notes: list[SearchNote] = []
        self.ledger = Ledger(share, setup.prices, purse=trunk.purse)
        self.caller = Caller(
            {**setup.models, **models},
            trunk.journal,
            self.ledger,
            reuse=trunk.reuse,
            on_outcome=self._tick,
            stopped=trunk.stopped,
            beside=trunk.caller,
        )
        self._trunk = trunk
        reward = setup.task.reward_name
        self.candidates = Candidates(trunk.journal, reward, trunk.tell)
        self.candidates.adopt(trunk.candidates)
        workdir.mkdir(parents=True, exist_ok=True)
        scorer = Scorer(
            self.caller,
            trunk.journal,
            {reward: setup.task.reward},
            decoding=setup.decoding,
            samples=setup.samples,
            warn=self._note,
            canary_rows=setup.task.splits.search,
        )
        scorer.judging.check = trunk.judge_check()
        session = RunSession(
            task,
            scorer=scorer,
            caller=self.caller,
            candidates=self.candidates,
            selector=setup.selector,
            reward=reward,
            seed=self.seed,
            workdir=workdir,
            listen=self._tell,
            on_note=lambda note: self.notes.append(replace(note, text=self._named(note.text))),
        )
        self.desk = Desk(session, _mark(searcher, task, self.seed, share))

    def _named(self, text: str) -> str:
        return f"seed {self.seed}: {text}"

    def _note(self, text: str) -> None:
        self._tell(Notice(text))

    def _tell(self, event: Event) -> None:
        if isinstance(event, Notice):
            event = Notice(self._named(event.text))
        self._trunk.tell(event)

    def _tick(self, role: str, done: int, asked: int) -> None:
        self._trunk.tell(Tick(role, done, asked))


def _batched(keys: Iterable[str]) -> Iterator[list[str]]:
    """Part keys into lists of those that are looked up together."""
    source = iter(keys)
    while some := list(islice(source, TOGETHER)):
        yield some


def _mark(searcher: Searcher, task: SearchTask, seed: int, share: Budget) -> str:
    """Say which search this is; minutes are left out, which are never the same."""
    starts = [prompt.id for prompt in (task.seed_prompt, *task.starts)]
    caps = [share.calls, share.tokens, share.usd]
    rows = [row.to_dict() for row in task.rows]
    return digest([type(searcher).__qualname__, repr(searcher), seed, starts, caps, rows], 32)
