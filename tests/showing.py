"""A session for tests of searchers: target and proposer are functions, what it is asked is written down."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from promptopt.contracts.searcher import SearchTask
from promptopt.prompt import Prompt
from promptopt.records import Budget, Cell, Evaluation, Example, FrozenMap, Score

SEED = Prompt("Do it.")


def make_rows(n: int) -> tuple[Example, ...]:
    """Return n rows `in0 -> out0` and so on."""
    return tuple(Example(str(i), FrozenMap(input=f"in{i}"), (f"out{i}",)) for i in range(n))


class ScriptedSession:
    """Attributes: `scored` holds (prompts, ids of the rows) of each call, `asked` (texts, n) of each call."""

    def __init__(
        self,
        value: Callable[[Prompt, Example], float],
        *,
        rows: Sequence[Example] = make_rows(20),
        seed_prompt: Prompt = SEED,
        trace: Callable[[Example], Sequence[str]] = lambda row: (row.answer,),
        reply: Callable[[str, int], str] = lambda text, i: f"Try {i}.",
        seed: int = 0,
        description: str = "",
    ) -> None:
        self.task = SearchTask(tuple(rows), seed_prompt, ("input",), description)
        self.rng = random.Random(seed)
        self.workdir = Path()
        self.remaining = Budget()
        self.scored: list[tuple[list[Prompt], list[str]]] = []
        self.asked: list[tuple[list[str], int]] = []
        self._value, self._trace, self._reply = value, trace, reply

    def score(self, prompts: Sequence[Prompt], rows: Any = None, reward: Any = None) -> list[Evaluation]:
        rows = self.task.rows if rows is None else self.task.rows[:rows] if isinstance(rows, int) else rows
        assert set(rows) <= set(self.task.rows)
        self.scored.append((list(prompts), [row.id for row in rows]))
        return [
            Evaluation(prompt.id, reward or "task", tuple(self._cell(prompt, row) for row in rows))
            for prompt in prompts
        ]

    def propose(self, chats: Any, n: int = 1, **options: Any) -> list[list[str]]:
        before = sum(len(texts) * times for texts, times in self.asked)
        texts = [chat[0].content for chat in chats]
        self.asked.append((texts, n))
        return [[self._reply(text, before + c * n + i) for i in range(n)] for c, text in enumerate(texts)]

    def _cell(self, prompt: Prompt, row: Example) -> Cell:
        trace = tuple(self._trace(row))
        return Cell(prompt.id, row.id, output=trace[-1], score=Score(self._value(prompt, row)), trace=trace)
