"""A session for golden traces: proposer, target and selector are plain functions, and all is recorded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from promptopt.contracts.searcher import SearchTask
from promptopt.prompt import Prompt
from promptopt.records import Budget, Cell, Evaluation, Example, FrozenMap, Score

SEED = Prompt("Do it.")
Reply = Callable[[str, int], "str | None"]


def numbered(n: int) -> tuple[Example, ...]:
    """Return n rows: `in0` with the answer `out0`, and so on."""
    return tuple(Example(str(i), FrozenMap(input=f"in{i}"), (f"out{i}",)) for i in range(n))


class Scripted:
    """A session with a reply by (chat, how often it was asked) and a value by (prompt, row).

    `select` takes the highest means over the rows it is given, ties to the first, as the contract says. What
    a program replied to a row is its `trace`; without one, replies with a value below 1 are `wrong`, the
    others are the answer. `scored`, `selected` and both together, `met`, hold (prompts, ids of the rows).
    """

    def __init__(
        self,
        reply: Reply = lambda text, i: f"Try {i}.",
        value: Callable[[Prompt, Example], float | None] = lambda prompt, row: 0.0,
        *,
        rows: Sequence[Example] = numbered(8),
        seed_prompt: Prompt = SEED,
        trace: Callable[[Example], Sequence[str]] | None = None,
        feedback: str = "",
        seed: int = 0,
        **task: Any,
    ) -> None:
        """Start with nothing asked; `task` says more of the task (description, parts, starts)."""
        self.task = SearchTask(tuple(rows), seed_prompt, tuple(rows[0].inputs), **task)
        self.rng = random.Random(seed)
        self.remaining = Budget()
        self.workdir = Path()
        self.reply, self.value, self.trace, self.feedback = reply, value, trace, feedback
        self.proposals: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.scored: list[tuple[list[Prompt], list[str]]] = []
        self.selected: list[tuple[list[Prompt], int]] = []
        self.met: list[tuple[list[Prompt], list[str]]] = []
        self.notes: list[str] = []
        self.ruled_out: list[Prompt] = []
        self.suspicious: set[str] = set()
        self._asked: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """Every chat the proposer saw, in order."""
        return [text for call in self.proposals for text in call]

    def propose(self, chats: Any, n: int = 1, **options: Any) -> list[list[str]]:
        self.proposals.append([chat[0].content for chat in chats])
        self.options.append({"n": n, **options})
        replies = []
        for chat in chats:
            first = self._asked.get(chat[0].content, 0)
            self._asked[chat[0].content] = first + n
            drawn = [self.reply(chat[0].content, first + i) for i in range(n)]
            replies.append([reply for reply in drawn if reply is not None])
        return replies

    def score(self, prompts: Any, rows: Any = None, reward: str | None = None) -> list[Evaluation]:
        chosen = self._rows(rows)
        self.scored.append((list(prompts), [row.id for row in chosen]))
        return self._meet(prompts, chosen)

    def suspects(self, prompts: Any, rows: Any) -> list[Prompt]:
        return [prompt for prompt in prompts if prompt.instruction in self.suspicious]

    def rule_out(self, prompts: Any) -> None:
        self.ruled_out += prompts

    def select(
        self, prompts: Any, k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        self.selected.append((list(prompts), k))
        return sorted(self._meet(prompts, self._rows(rows)), key=lambda its: -its.mean)[:k]

    def can(self, role: str, what: str) -> bool:
        return False

    def note(self, text: str) -> None:
        self.notes.append(text)

    def _rows(self, rows: Any) -> Any:
        chosen = self.task.rows if rows is None else self.task.rows[:rows] if isinstance(rows, int) else rows
        assert set(chosen) <= set(self.task.rows)
        return chosen

    def _meet(self, prompts: Any, rows: Any) -> list[Evaluation]:
        self.met.append((list(prompts), [row.id for row in rows]))
        return [
            Evaluation(prompt.id, "task", tuple(self._cell(prompt, row) for row in rows))
            for prompt in prompts
        ]

    def _cell(self, prompt: Prompt, row: Example) -> Cell:
        value = self.value(prompt, row)
        if value is None:
            return Cell(prompt.id, row.id, status="failed", reason="down")
        trace = tuple(self.trace(row)) if self.trace else (row.answer if value >= 1 else "wrong",)
        score = Score(value, self.feedback)
        return Cell(prompt.id, row.id, output=trace[-1] if trace else "", score=score, trace=trace)
