"""How texts are read out of a proposer's replies: tags, brackets, fences, lists."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ._text import ANNOUNCED, FENCE, THOUGHTS, has_letters, read_instruction

TAG = re.compile(r"<(/?)(start|ins|prompt|instruction|end)>", re.IGNORECASE)
OPENED = re.compile(r"<(?:start|ins|prompt|instruction)>", re.IGNORECASE)
BRACKETED = re.compile(r"\[([^\[\]]*)\]\.?")
BLOCK = re.compile(r"^[ \t]*```(?:[\w-]*[ \t]*\n)?(.*?)```", re.DOTALL | re.MULTILINE)
OPEN_BLOCK = re.compile(r"^[ \t]*```", re.MULTILINE)
NUMBER = r"(?:\*\*)?(?:\(?\d{1,3}[.):]|[-*•])(?:\*\*)?[^\S\n]+(?=\S)"
ITEM = re.compile(rf"^[^\S\n]*{NUMBER}", re.MULTILINE)


def read_items(reply: str) -> list[str]:
    """Return the texts a reply lists: what its tags hold, else a list's items, else one.

    A tag that is never closed was cut off, so what is behind it is dropped. A text without tags and list is
    its first paragraph that does not only announce something.
    """
    text = THOUGHTS.sub("", reply)
    if OPENED.search(text):
        return _tagged(text)
    text = FENCE.sub("", text).strip()
    if items := _items(text):
        return _filled(item.split("\n\n", 1)[0] for item in items)
    paragraphs = _filled(re.split(r"\n\s*\n", ANNOUNCED.sub("", text)))
    said = [paragraph for paragraph in paragraphs if not paragraph.endswith(":")]
    return said[:1]


def read_reasons(reply: str, most: int, max_chars: int) -> list[str]:
    """Return at most `most` different reasons of at most `max_chars` characters each, on one line each."""
    lines = (" ".join(item.split()) for item in read_items(reply))
    fit = dict.fromkeys(line for line in lines if len(line) <= max_chars and has_letters(line))
    return list(fit)[:most]


def read_one(reply: str, max_chars: int) -> str | None:
    """Return the one instruction of a reply, or None if there is none of at most `max_chars` characters.

    It is what the last pair of tags (`<prompt>`, `<INS>`, `<START>`) holds, or square brackets around all of
    it, or the first item of a list that it begins with, and else what `read_instruction` finds. Tags and
    brackets that are never closed were cut off: what is behind them is no instruction.
    """
    text = THOUGHTS.sub("", reply)
    if OPENED.search(text):
        tagged = _tagged(text)
        return read_instruction(tagged[-1], max_chars) if tagged else None
    text = ANNOUNCED.sub("", FENCE.sub("", text).strip()).strip()
    if bracketed := BRACKETED.fullmatch(text):
        text = bracketed[1]
    elif text.startswith("[") and "]" not in text:
        return None
    elif ITEM.match(text):
        text = _items(text)[0]
    return read_instruction(text, max_chars)


def read_several(reply: str, most: int, max_chars: int) -> list[str | None]:
    """Return the instructions of a reply that was asked for `most`; None stands for one that cannot be read.

    A list is only taken apart when several were asked for: one instruction may hold a list itself.
    """
    if most > 1 or OPENED.search(reply):
        items = [read_instruction(item, max_chars) for item in read_items(reply)]
        return items[:most] or [None]
    return [read_instruction(reply, max_chars)]


def read_block(reply: str, max_chars: int) -> str | None:
    """Return a reply's last fenced block, all its paragraphs; else what `read_instruction` finds.

    None if there is nothing of at most `max_chars` characters, or if a block was begun and cut off.
    """
    text = THOUGHTS.sub("", reply)
    blocks = _filled(BLOCK.findall(text)) or _tagged(text)
    if blocks:
        block = blocks[-1]
        return block if len(block) <= max_chars and has_letters(block) else None
    if OPEN_BLOCK.search(text) or OPENED.search(text):
        return None
    return read_instruction(reply, max_chars)


def _tagged(text: str) -> list[str]:
    """Return what is between tags: up to the next tag that closes this one, `</end>` or `<end>`.

    A regular expression would look for the end anew behind each of a thousand tags that are never closed.
    """
    tags = list(TAG.finditer(text))
    closing: dict[str, re.Match[str]] = {}
    ends: list[re.Match[str] | None] = []
    for tag in reversed(tags):
        name = tag[2].lower()
        able = [closing[key] for key in (name, "end") if key in closing]
        ends.append(min(able, key=lambda end: end.start(), default=None))
        if tag[1] or name == "end":
            closing[name] = tag
    found, at = [], 0
    for tag, end in zip(tags, reversed(ends), strict=True):
        opens = not tag[1] and tag[2].lower() != "end"
        if opens and end is not None and tag.start() >= at:
            found.append(text[tag.end() : end.start()])
            at = end.end()
    return _filled(found)


def _items(text: str) -> list[str]:
    """Return the items of a list in a text, without their numbers."""
    starts = list(ITEM.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return [text[start.end() : end].strip() for start, end in zip(starts, ends, strict=False)]


def _filled(texts: Iterable[str]) -> list[str]:
    return [stripped for text in texts if (stripped := text.strip())]
