"""How searchers show rows to a proposer, and read an instruction out of what it replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.records import Example, Message
from promptopt.template import Template, slots

VARIATION = (
    "Generate a variation of the following instruction while keeping the semantic meaning.\n\n"
    "Input: {{instruction}}\nOutput:"
)
"""Resampling wording (Zhou et al. 2022, section 3.3)."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`", "**": "**"}

THOUGHTS = re.compile(r"^.*</think>", re.DOTALL)
FENCE = re.compile(r"^```\w*\s*$\n?", re.MULTILINE)
PAIRS = re.compile(r"^[^\S\n]*(?:input|output)\s*:", re.IGNORECASE | re.MULTILINE)
ANNOUNCED = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok)\b[,.!]*\s*)?(?:here(?:'s| is| are)\b[^\n:]{0,80}:\s*)?",
    re.IGNORECASE,
)
NAMED = re.compile(
    r"^(?:\*\*)?(?:the |your |a )?(?:(?:new|revised|rewritten|original|possible) )?"
    r"(?:instructions?|prompt|variation|output|answer)"
    r"(?:\s*:|\s+(?:was|is|were|are|(?:could|might|may)(?: have)? be(?:en)?)"
    r"(?: likely| probably| possibly| simply)?(?:\s*:|(?=\s+to\s)))(?:\*\*)?\s*",
    re.IGNORECASE,
)
TO = re.compile(r"^to\s+", re.IGNORECASE)
BETWEEN = r"(?:\W|\b(?:output|answer|becomes?|gives?|is|to)\b){1,12}"


def number_word(n: int) -> str:
    """Write a small number as a word: `five`."""
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def show_rows(rows: Sequence[Example], fields: Iterable[str]) -> str:
    """Lay rows out as `Input: x` and `Output: y`, with an empty line between them."""
    template = Template.for_fields(fields)
    return template.separator.join(
        template.render(template.demonstration, {**row.inputs, "output": row.answer}) for row in rows
    )


def read_instruction(reply: str, max_chars: int) -> str | None:
    """Return the instruction in a proposer's reply, or None if there is none of at most `max_chars`.

    Only its first paragraph counts, without thoughts, announcements ("Here is a variation:"), quotes
    and a leading "to"; made-up input-output pairs behind it are cut off. Its capitals stay as they are.
    """
    text = FENCE.sub("", THOUGHTS.sub("", reply)).strip()
    text = NAMED.sub("", ANNOUNCED.sub("", text))
    text = _unquote(text.split("\n\n", 1)[0].strip())
    text = _unquote(NAMED.sub("", text).strip())
    pairs = PAIRS.search(text)
    if pairs:
        text = text[: pairs.start()].rstrip()
    text = TO.sub("", text)
    if not has_letters(text) or len(text) > max_chars:
        return None
    return text


def has_letters(text: str) -> bool:
    """Whether there is anything to read in a text."""
    return any(character.isalpha() for character in text)


def copies_pair(instruction: str, rows: Iterable[Example]) -> bool:
    """Whether the text quotes a row: one of its inputs and, right behind it, one of its answers."""
    text = instruction.casefold()
    for row in rows:
        for answer in (a.casefold() for a in row.answers if a and a.casefold() in text):
            for value in (v.casefold() for v in row.inputs.values() if v and v.casefold() in text):
                if re.search(rf"(?<!\w){re.escape(value)}{BETWEEN}{re.escape(answer)}(?!\w)", text):
                    return True
    return False


def unique(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Drop repeated prompts, keeping the first of each."""
    return list(dict.fromkeys(prompts))


def chat(text: str) -> tuple[Message, ...]:
    """Return a chat of one user message."""
    return (Message("user", text),)


def check_has_place(prompt: Prompt, where: str) -> None:
    """Raise ConfigError unless the prompt's layout shows its instruction."""
    layout = prompt.template
    if "instruction" not in slots(layout.user) + slots(layout.system) and layout.engine == "plain":
        raise ConfigError(
            where, "the prompt has no place for an instruction", got=layout.user, do="add {{instruction}}"
        )


def _unquote(text: str) -> str:
    for opening, closing in QUOTES.items():
        inside = text.rstrip(".")
        if len(inside) > len(opening + closing) and inside.startswith(opening) and inside.endswith(closing):
            middle = inside[len(opening) : -len(closing)]
            if opening not in middle and closing not in middle:
                return middle.strip()
    return text
