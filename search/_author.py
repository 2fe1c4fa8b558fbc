"""The author: asks the proposer, holds back what cannot be used, lets each prompt through once, and tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from promptopt.contracts.searcher import Session
from promptopt.errors import BudgetExhausted, ModelError, TemplateError
from promptopt.prompt import Prompt
from promptopt.template import braces, slots

from ._replies import read_one
from ._text import chat, copies_pair

Reader = Callable[[str], "Sequence[str | None]"]


class Known:
    """The prompts met so far, white space aside."""

    def __init__(self) -> None:
        """Know none."""
        self._keys: set[str] = set()

    def add(self, prompt: Prompt) -> bool:
        """Note a prompt down; whether it is new."""
        key = replace(prompt, instruction=" ".join(prompt.instruction.split())).id
        new = key not in self._keys
        self._keys.add(key)
        return new


@dataclass
class Author:
    """Draws instructions from the proposer, and counts what is held back.

    As a context it tells in a line what was held back, when the search ends by itself or with the budget.

    Attributes:
        session: whose proposer writes.
        name: the searcher's.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions are held back.
        allows: what else an instruction must fulfil.
        known: prompts that are not new.
        asked: replies asked for.
        replies: those that came.
        usable: instructions read that may be used.
        passed: prompts let through.
        held: what was held back, by why: `unreadable`, `quoting a row`, `not allowed`, `repeated`.
    """

    session: Session
    name: str
    temperature: float
    top_p: float
    max_tokens: int
    max_chars: int
    allows: Callable[[str], bool] | None = None
    known: Known = field(default_factory=Known, init=False)
    asked: int = field(default=0, init=False)
    replies: int = field(default=0, init=False)
    usable: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)
    held: Counter[str] = field(default_factory=Counter, init=False)
    _last: str | None = field(default=None, init=False)
    _barren: int = field(default=0, init=False)

    def ask(self, texts: Sequence[str], n: int = 1, suffixes: Sequence[str] | None = None) -> list[list[str]]:
        """Return the replies to each text, asked `n` times; failed calls are left out.

        `suffixes`, one a text, ask for what stands between the two.
        """
        if not texts:
            return []
        insertion = {} if suffixes is None else {"suffixes": suffixes}
        drawn = self.session.propose(
            [chat(text) for text in texts],
            n,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            **insertion,
        )
        self.asked += n * len(texts)
        self.replies += sum(map(len, drawn))
        return drawn

    def draw(
        self,
        texts: Sequence[str],
        n: int = 1,
        read: Reader | None = None,
        suffixes: Sequence[str] | None = None,
    ) -> list[list[str]]:
        """Ask each text `n` times and return the instructions that `read` finds, by default one a reply."""
        reader = read or (lambda reply: [read_one(reply, self.max_chars)])
        return [
            [text for reply in replies for text in self._use(reader(reply), reply)]
            for replies in self.ask(texts, n, suffixes)
        ]

    def draw_each(self, texts: Sequence[str | None]) -> list[str | None]:
        """Ask each text once and return what was read in its place; None stays None, and is not asked."""
        drawn = iter(self.draw([text for text in texts if text is not None]))
        return [next(iter(next(drawn)), None) if text is not None else None for text in texts]

    def hold(self, why: str, reply: str | None = None) -> None:
        """Count something that is not used."""
        self.held[why] += 1
        self._last = reply or self._last

    def admit(self, prompt: Prompt) -> Prompt | None:
        """Return the prompt, or None if it is not new."""
        if not self.known.add(prompt):
            self.hold("repeated")
            return None
        self.passed += 1
        return prompt

    def child(
        self, text: str | None, parents: Sequence[Prompt], origin: str, **changes: Any
    ) -> Prompt | None:
        """Return the first parent with another instruction (and other changes), or None if it is not new."""
        if text is None:
            return None
        ids = tuple(dict.fromkeys(parent.id for parent in parents))
        return self.admit(replace(parents[0], instruction=text, parents=ids, origin=origin, **changes))

    def is_over(self, new: bool, patience: int) -> bool:
        """Whether `patience` steps in a row, this one included, brought nothing new; tell so."""
        self._barren = 0 if new else self._barren + 1
        if self._barren < patience:
            return False
        steps = "1 step" if patience == 1 else f"{patience} steps in a row"
        self.session.note(f"{self.name}: ends here, after {steps} without a new prompt")
        return True

    def check(self) -> None:
        """Raise ModelError if something was asked and nothing that came could be used."""
        if self.asked and not self.usable:
            raise ModelError(
                f"searcher {self.name}",
                f"the proposer's {self.replies} replies hold no usable instruction",
                got=self._last,
                do="try another proposer, or other max_tokens, max_chars or meta-prompts",
            )

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell what was held back, unless an error says more."""
        if self.held and (kind is None or issubclass(kind, BudgetExhausted)):
            counts = ", ".join(f"{n} {why}" for why, n in self.held.items())
            total = self.passed + self.held.total()
            self.session.note(f"{self.name}: {self.held.total()} of {total} proposals held back: {counts}")

    def _use(self, found: Iterable[str | None], reply: str) -> list[str]:
        """Return the texts that may be used; count the others."""
        able: list[str] = []
        for text in found:
            if text is None:
                self.hold("unreadable", reply)
            elif self.allows and not self.allows(text):
                self.hold("not allowed", reply)
            elif copies_pair(text, self.session.task.rows):
                self.hold("quoting a row", reply)
            else:
                able.append(text)
        self.usable += len(able)
        return able


def need_slots(where: str, text: str, *names: str) -> None:
    """Raise TemplateError unless a meta-prompt has these slots, and thus says what it has to."""
    found = slots(text)
    for name in names:
        if name not in found:
            raise TemplateError(where, f"has no {braces(name)}", got=text, do=f"add {braces(name)}")
