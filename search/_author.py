"""The author: asks the proposer for instructions, reads its replies, and lets each prompt through once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from promptopt.contracts.searcher import Session
from promptopt.errors import ModelError, TemplateError
from promptopt.prompt import Prompt
from promptopt.template import braces, slots

from ._text import ANNOUNCED, FENCE, THOUGHTS, chat, copies_pair, read_instruction

TAGGED = re.compile(r"<(prompt|ins|start|instruction)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
OPENED = re.compile(r"<(?:prompt|ins|start|instruction)>", re.IGNORECASE)
BRACKETED = re.compile(r"\[([^\[\]]*)\]\.?")
NUMBER = r"(?:\*\*)?(?:\(?\d{1,3}[.):]|[-*•])(?:\*\*)?[^\S\n]+"
FIRST_ITEM = re.compile(rf"{NUMBER}(\S.*?)(?=\n\s*{NUMBER}|\Z)", re.DOTALL)


def read_proposal(reply: str, max_chars: int) -> str | None:
    """Return the one instruction of a reply, or None if there is none of at most `max_chars`.

    It is what the last pair of tags (`<prompt>`, `<INS>`, `<Start>`) holds, or square brackets around all of
    it, or the first item of a list, and else what `read_instruction` finds. Tags and brackets that are never
    closed were cut off: what is behind them is no instruction.
    """
    text = THOUGHTS.sub("", reply)
    if tagged := TAGGED.findall(text):
        return read_instruction(tagged[-1][1], max_chars)
    if OPENED.search(text):
        return None
    text = ANNOUNCED.sub("", FENCE.sub("", text).strip()).strip()
    if bracketed := BRACKETED.fullmatch(text):
        text = bracketed[1]
    elif text.startswith("[") and "]" not in text:
        return None
    elif item := FIRST_ITEM.match(text):
        text = item[1]
    return read_instruction(text, max_chars)


@dataclass
class Author:
    """Draws instructions from the proposer, and counts what cannot be used.

    Attributes:
        session: whose proposer writes.
        where: the searcher, as errors name it.
        temperature: of the proposer.
        top_p: of the proposer.
        max_tokens: most tokens of a reply.
        max_chars: longer instructions are held back.
        allows: what else an instruction must fulfil.
        replies: replies that came.
        unusable: those without an instruction that may be used.
        passed: prompts let through.
        repeated: prompts that had been there before.
    """

    session: Session
    where: str
    temperature: float
    top_p: float
    max_tokens: int
    max_chars: int
    allows: Callable[[str], bool] | None = None
    replies: int = field(default=0, init=False)
    unusable: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    _last: str | None = field(default=None, init=False)
    _known: set[str] = field(default_factory=set, init=False)

    def draw(self, asked: Sequence[str], n: int = 1) -> list[list[str]]:
        """Ask each text `n` times and return the instructions read; failed calls are left out."""
        if not asked:
            return []
        drawn = self.session.propose(
            [chat(text) for text in asked],
            n,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
        )
        return [[text for text in map(self._read, replies) if text is not None] for replies in drawn]

    def draw_each(self, asked: Sequence[str | None]) -> list[str | None]:
        """Ask each text once and return what was read in its place; None stays None, and is not asked."""
        drawn = iter(self.draw([text for text in asked if text is not None]))
        return [next(iter(next(drawn)), None) if text is not None else None for text in asked]

    def know(self, prompt: Prompt) -> bool:
        """Note a prompt down; whether it is new, white space aside."""
        key = replace(prompt, instruction=" ".join(prompt.instruction.split())).id
        new = key not in self._known
        self._known.add(key)
        return new

    def child(
        self, text: str | None, parents: Sequence[Prompt], origin: str, **changes: Any
    ) -> Prompt | None:
        """Return the first parent with another instruction (and other changes), or None if it is not new."""
        if text is None:
            return None
        ids = tuple(dict.fromkeys(parent.id for parent in parents))
        prompt = replace(parents[0], instruction=text, parents=ids, origin=origin, **changes)
        if self.know(prompt):
            self.passed += 1
            return prompt
        self.repeated += 1
        return None

    def check(self) -> None:
        """Raise ModelError if nothing that came could be used."""
        if self.unusable == self.replies:
            raise ModelError(
                self.where,
                f"the proposer's {self.replies} replies hold no usable instruction",
                got=self._last,
                do="try another proposer, or other max_tokens, max_chars or meta-prompts",
            )

    def _read(self, reply: str) -> str | None:
        self.replies += 1
        text = read_proposal(reply, self.max_chars)
        if (
            text is None
            or (self.allows and not self.allows(text))
            or copies_pair(text, self.session.task.rows)
        ):
            self.unusable += 1
            self._last = reply
            return None
        return text


def need_slots(where: str, text: str, *names: str) -> None:
    """Raise TemplateError unless a meta-prompt shows what it is about."""
    for name in names:
        if name not in slots(text):
            raise TemplateError(where, f"has no {braces(name)}", got=text, do=f"add {braces(name)}")
