"""How texts are read out of a proposer's replies (tags, lists, fences), and which of them are news."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from promptopt.errors import ModelError, TemplateError
from promptopt.prompt import Prompt
from promptopt.records import Example
from promptopt.template import braces, slots

from ._parts import INSTRUCTION, Part
from ._text import ANNOUNCED, FENCE, THOUGHTS, copies_pair, read_instruction

TAGGED = re.compile(r"<START>(.*?)(?:<END>|</START>|</END>)", re.DOTALL | re.IGNORECASE)
OPENING = re.compile(r"<START>", re.IGNORECASE)
BLOCK = re.compile(r"^[ \t]*```(?:[\w-]*[ \t]*\n)?(.*?)```", re.DOTALL | re.MULTILINE)
OPEN_BLOCK = re.compile(r"^[ \t]*```", re.MULTILINE)
ITEM = re.compile(r"^[ \t]*(?:\*\*)?(?:\(?\d{1,2}[.):]|[-*•])(?:\*\*)?[ \t]+(?=\S)", re.MULTILINE)


def read_items(reply: str) -> list[str]:
    """Return the texts a reply lists: what `<START>` and `<END>` hold, else a list's items, else one.

    A tag that is never closed was cut off, so what is behind it is dropped. A text without tags and list is
    its first paragraph that does not only announce something.
    """
    text = THOUGHTS.sub("", reply)
    if OPENING.search(text):
        return _filled(TAGGED.findall(text))
    text = FENCE.sub("", text).strip()
    starts = list(ITEM.finditer(text))
    if starts:
        ends = [start.start() for start in starts[1:]] + [len(text)]
        return _filled(_paragraph(text[s.end() : end]) for s, end in zip(starts, ends, strict=True))
    paragraphs = _filled(re.split(r"\n\s*\n", ANNOUNCED.sub("", text)))
    said = [paragraph for paragraph in paragraphs if not paragraph.endswith(":")]
    return said[:1]


def read_reasons(reply: str, most: int, max_chars: int) -> list[str]:
    """Return at most `most` different reasons of at most `max_chars` characters each, on one line each."""
    lines = (" ".join(item.split()) for item in read_items(reply))
    fit = dict.fromkeys(line for line in lines if len(line) <= max_chars and _has_letters(line))
    return list(fit)[:most]


def read_instructions(reply: str, most: int, max_chars: int) -> list[str | None]:
    """Return the instructions of a reply that was asked for `most`; None stands for one that cannot be read.

    A list is only taken apart when several were asked for: one instruction may hold a list itself.
    """
    if most > 1 or OPENING.search(reply):
        items = [read_instruction(item, max_chars) for item in read_items(reply)]
        return items[:most] or [None]
    return [read_instruction(reply, max_chars)]


def read_block(reply: str, max_chars: int) -> str | None:
    """Return a reply's last fenced block, all its paragraphs; else what `read_instruction` finds.

    None if there is nothing of at most `max_chars` characters, or if a block was begun and cut off.
    """
    text = THOUGHTS.sub("", reply)
    blocks = _filled(BLOCK.findall(text)) or _filled(TAGGED.findall(text))
    if blocks:
        block = blocks[-1]
        return block if len(block) <= max_chars and _has_letters(block) else None
    if OPEN_BLOCK.search(text) or OPENING.search(text):
        return None
    return read_instruction(reply, max_chars)


def need_slots(where: str, text: str, *names: str) -> None:
    """Raise TemplateError unless a meta-prompt has these slots, and thus says what it has to."""
    found = slots(text)
    for name in names:
        if name not in found:
            raise TemplateError(where, f"has no {braces(name)}", got=text, do=f"add {braces(name)}")


class Sieve:
    """Lets new prompts through, and counts the proposals that it holds back."""

    def __init__(self, seed: Prompt, rows: Sequence[Example] = ()) -> None:
        """Know the seed; a text that quotes one of `rows` is held back."""
        self.held: Counter[str] = Counter()
        self.passed = 0
        self._rows = rows
        self._known = {_key(seed)}

    def child(self, parent: Prompt, text: str | None, origin: str, part: Part = INSTRUCTION) -> Prompt | None:
        """Return the parent with a new text, or None if the text is none, quotes a row or is not new."""
        if text is None or not part.allows(parent, text):
            self.held["unreadable"] += 1
            return None
        return self.admit(parent.child(origin=origin, **part.changes(parent, text)), [text])

    def admit(self, prompt: Prompt, texts: Iterable[str]) -> Prompt | None:
        """Return a prompt made of these texts, unless one quotes a row or the prompt is not new."""
        if any(copies_pair(text, self._rows) for text in texts):
            self.held["quoting a row"] += 1
            return None
        if _key(prompt) in self._known:
            self.held["repeated"] += 1
            return None
        self._known.add(_key(prompt))
        self.passed += 1
        return prompt

    def check_readable(self, where: str, replies: Sequence[Sequence[str]]) -> None:
        """Raise ModelError if nothing that could be read has come so far; `replies` are the latest."""
        if not self.passed and not self.held.keys() - {"unreadable"}:
            raise ModelError(
                where,
                f"none of the proposer's replies ({self.held['unreadable']} so far) can be read",
                got=next((reply for its in replies for reply in its), None),
                do="try another proposer, or other max_tokens, max_chars or meta-prompts",
            )


def _key(prompt: Prompt) -> str:
    return replace(prompt, instruction=" ".join(prompt.instruction.split())).id


def _filled(texts: Iterable[str]) -> list[str]:
    return [stripped for text in texts if (stripped := text.strip())]


def _paragraph(text: str) -> str:
    return text.strip().split("\n\n", 1)[0]


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)
