"""A search that sits apart: its session asks, wherever it sits, and a desk in the run answers.

What is asked is a plain record, so it can cross a cluster, and be kept: a search that has ended is not begun
again by a resumed run, whose desk answers the same once more, out of the journal.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .adapter import write_whole
from .contracts.model import GradientModel
from .contracts.searcher import HERE, Searcher, SearchTask, Seats, Session
from .errors import BudgetExhausted, ConfigError, SealedSplit, UnsupportedError
from .prompt import Prompt
from .records import Budget, Evaluation, Example, Message

FINISHED = "finished.json"
"""In the folder of a search: all that it asked, once it has ended."""
PROMPTS = ("score", "select", "rule_out", "suspects")
"""What is asked about prompts, the first argument."""
FORGOTTEN = ("remaining", "known")
"""What changes nothing, and need not be asked again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a search asks of its run: a method of the session, and its arguments."""

    what: str
    args: tuple[Any, ...] = ()


Ask = Callable[[Asked], Any]


class SeatSession:
    """The session of a search that sits apart (see `contracts.searcher.Session`).

    Args:
        task: as in the run.
        seed: of its chance.
        workdir: a folder here.
        ask: brings what is asked to the desk, and the answer back.
        target: the target, if gradients can be taken through it here.
    """

    def __init__(
        self, task: SearchTask, seed: int, workdir: Path, ask: Ask, target: GradientModel | None = None
    ) -> None:
        """Sit down."""
        self.task = task
        self.rng = random.Random(f"searcher {seed}")
        self.workdir = workdir
        self._ask, self._target = ask, target

    @property
    def remaining(self) -> Budget:
        """What is left of its share."""
        left: Budget = self._ask(Asked("remaining"))
        return left

    @property
    def known(self) -> Mapping[str, Evaluation]:
        """The largest evaluation of each prompt that it, or the run before it, has scored."""
        found: Mapping[str, Evaluation] = self._ask(Asked("known"))
        return found

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        """Evaluate prompts on search rows."""
        named = rows if rows is None or isinstance(rows, int) else [self._own(row) for row in rows]
        return list(self._ask(Asked("score", (list(prompts), named, reward))))

    def _own(self, row: Example) -> str:
        if row not in self.task.rows:
            raise SealedSplit("session.score", "a searcher scores on search rows only", got=row.id)
        return row.id

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        """Return the evaluations of the best, by the run's selector."""
        return list(self._ask(Asked("select", (list(prompts), k, reward, rows))))

    def propose(
        self,
        chats: Sequence[Sequence[Message]],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        suffixes: Sequence[str] | None = None,
    ) -> list[list[str]]:
        """Draw replies of the proposer."""
        plain = [[list(message) for message in chat] for chat in chats]
        ends = None if suffixes is None else list(suffixes)
        asked = (plain, n, temperature, top_p, max_tokens, list(stop), ends)
        return list(self._ask(Asked("propose", asked)))

    @contextmanager
    def limit(self, calls: int) -> Iterator[None]:
        """Let at most so many calls be made inside."""
        self._ask(Asked("enter", (calls,)))
        try:
            yield
        except BudgetExhausted:
            if not self._ask(Asked("leave", (True,))):
                raise
        except BaseException:
            self._ask(Asked("leave", (False,)))
            raise
        else:
            self._ask(Asked("leave", (False,)))

    def gradients(self) -> GradientModel:
        """Return the target as it is here."""
        if self._target is None:
            raise UnsupportedError(
                "target", "gives no gradients: it does not run in this process", do="use embedded/… or hf/…"
            )
        return self._target

    def spend(self, passes: int, tokens: int) -> None:
        """Pay for training passes."""
        self._ask(Asked("spend", (passes, tokens)))

    def spread(self, searchers: Sequence[Searcher], seats: Seats = HERE) -> None:
        """Refuse: it is one of several already."""
        raise ConfigError("session.spread", "a search that is one of several cannot be spread again")

    def note(self, text: str) -> None:
        """Tell whoever is watching."""
        self._ask(Asked("note", (text,)))

    def can(self, role: Literal["target", "proposer"], what: Literal["likelihood", "insert"]) -> bool:
        """Whether a model is able."""
        return bool(self._ask(Asked("can", (role, what))))

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Keep prompts from winning."""
        self._ask(Asked("rule_out", (list(prompts),)))

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        """Return those whose outputs talk the judge into scores."""
        named = [self._own(row) for row in rows]
        found = set(self._ask(Asked("suspects", (list(prompts), named))))
        return [prompt for prompt in prompts if prompt.id in found]

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Keep a line for the result."""
        self._ask(Asked("report", (text, None if data is None else dict(data))))


class Desk:
    """Answers what one search asks, through a session of the run, and keeps what it asked.

    Args:
        session: whose budget, candidates and notes are that search's alone.
        mark: says which search it is, and on what share.
    """

    def __init__(self, session: Session, mark: str) -> None:
        """Open."""
        self.session, self._mark = session, mark
        self._asked: list[Asked] = []
        self._limits: list[AbstractContextManager[None]] = []
        self._spent: BudgetExhausted | None = None
        self._rows = {row.id: row for row in session.task.rows}
        self._methods: Mapping[str, Callable[..., Any]] = {
            "remaining": lambda: session.remaining,
            "known": lambda: dict(session.known),
            "score": self._score,
            "select": session.select,
            "propose": self._propose,
            "enter": self._enter,
            "leave": self._leave,
            "spend": session.spend,
            "note": session.note,
            "can": session.can,
            "rule_out": session.rule_out,
            "suspects": self._suspects,
            "report": session.report,
        }

    def answer(self, asked: Asked) -> Any:
        """Do what is asked in the run."""
        if asked.what not in FORGOTTEN:
            self._asked.append(asked)
        try:
            return self._methods[asked.what](*asked.args)
        except BudgetExhausted as spent:
            self._spent = spent
            raise

    def close(self) -> None:
        """Write down that the search has ended."""
        workdir = self.session.workdir
        told = [{"what": one.what, "args": _plain(one, workdir)} for one in self._asked]
        data = json.dumps({"mark": self._mark, "asked": told}).encode()
        write_whole(workdir / FINISHED, data)

    def replay(self) -> bool:
        """Answer once again what a search that has ended asked; False if it has not, or was another."""
        file = self.session.workdir / FINISHED
        if not file.exists():
            return False
        told = json.loads(file.read_bytes())
        if told["mark"] != self._mark:
            return False
        for one in told["asked"]:
            with suppress(BudgetExhausted):  # as it was then: what came after it, comes
                self.answer(_asked(one["what"], one["args"], self.session.workdir))
        return True

    def _score(
        self, prompts: Sequence[Prompt], rows: int | Sequence[str] | None, reward: str | None
    ) -> list[Evaluation]:
        known = rows if rows is None or isinstance(rows, int) else [self._rows[row] for row in rows]
        return self.session.score(prompts, known, reward)

    def _suspects(self, prompts: Sequence[Prompt], rows: Sequence[str]) -> list[str]:
        return [prompt.id for prompt in self.session.suspects(prompts, [self._rows[row] for row in rows])]

    def _propose(
        self,
        chats: Sequence[Sequence[Sequence[str]]],
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        stop: Sequence[str],
        suffixes: Sequence[str] | None,
    ) -> list[list[str]]:
        return self.session.propose(
            [[Message(*message) for message in chat] for chat in chats],
            n,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            suffixes=suffixes,
        )

    def _enter(self, calls: int) -> None:
        self._limits.append(self.session.limit(calls))
        self._limits[-1].__enter__()

    def _leave(self, exhausted: bool) -> bool:
        limit, spent = self._limits.pop(), self._spent
        if not exhausted or spent is None:
            limit.__exit__(None, None, None)
            return True
        try:
            return bool(limit.__exit__(type(spent), spent, None))
        except BudgetExhausted:
            return False


def moved(prompt: Prompt, source: Path, target: Path) -> Prompt:
    """Return a prompt whose trained weights, if they are in one folder, are taken to be in another."""
    adapter = prompt.adapter
    if adapter is None or adapter.file is None or not adapter.file.is_relative_to(source):
        return prompt
    return replace(prompt, adapter=replace(adapter, file=target / adapter.file.relative_to(source)))


def _plain(asked: Asked, workdir: Path) -> list[Any]:
    """Return arguments as JSON data."""
    if asked.what not in PROMPTS:
        return list(asked.args)
    prompts, *others = asked.args
    return [[[prompt.to_dict(), _place(prompt, workdir)] for prompt in prompts], *others]


def _asked(what: str, args: Sequence[Any], workdir: Path) -> Asked:
    """Read what `_plain` wrote."""
    if what not in PROMPTS:
        return Asked(what, tuple(args))
    told, *others = args
    prompts = [Prompt.from_dict(data, None if place is None else workdir / place) for data, place in told]
    return Asked(what, (prompts, *others))


def _place(prompt: Prompt, workdir: Path) -> str | None:
    """Return the folder of a prompt's trained weights: within the search's own, or in full."""
    if prompt.adapter is None or prompt.adapter.file is None:
        return None
    folder = prompt.adapter.file.parent
    return str(folder.relative_to(workdir) if folder.is_relative_to(workdir) else folder)
