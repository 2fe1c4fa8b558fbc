"""A prompt as other tools see it: messages of fixed texts and slots, everything else filled in.

The pieces are read off a rendering in which every column holds a mark of its own, so they are what the engine
sends, what the prompt's program adds included.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from ..errors import ConfigError
from ..programs import FewShotChainOfThought, SelfConsistency, Single, first_asks
from ..prompt import Prompt
from ..records import Example, FrozenMap
from ..template import slots

MARKS = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))
"""Code points for private use, which stand for columns while a prompt is taken apart."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WHOLE = "save the prompt itself (best/prompt.json of a run) and call promptopt.answer"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a column's value goes."""

    name: str


@dataclass(frozen=True, slots=True)
class MessageLayout:
    """One message: its role, and texts and slots in order; no two texts are neighbours, none is empty."""

    role: str
    pieces: tuple[str | Slot, ...]

    def write(self, text: Callable[[str, bool], str], slot: Callable[[str], str]) -> str:
        """Return it as one text.

        Args:
            text: writes a fixed text; told whether the message ends with it.
            slot: writes the place of a column.
        """
        last = len(self.pieces) - 1
        return "".join(
            slot(piece.name) if isinstance(piece, Slot) else text(piece, place == last)
            for place, piece in enumerate(self.pieces)
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The messages of one call.

    Attributes:
        messages: in order.
        notes: what is to be done with the reply, if it is not the answer itself.
    """

    messages: tuple[MessageLayout, ...]
    notes: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns, in the order in which they first appear."""
        pieces = chain.from_iterable(message.pieces for message in self.messages)
        return tuple(dict.fromkeys(piece.name for piece in pieces if isinstance(piece, Slot)))


def lay_out(prompt: Prompt, format_name: str, *, weights: bool = False) -> Layout:
    """Take a prompt apart.

    Args:
        prompt: what to export.
        format_name: for messages.
        weights: whether the format holds trained weights, too.

    Raises:
        ConfigError: its messages depend on a row in more than the values of slots, or it takes several calls.
    """
    where = f"export {format_name}"
    if prompt.template.engine != "plain":
        raise ConfigError(where, "the prompt's layout is Jinja of its own", do="use the format jinja")
    if prompt.retriever is not None:
        raise ConfigError(
            where, "the prompt shows each row demonstrations of its own, which no fixed text can", do=WHOLE
        )
    if prompt.adapter is not None and not weights:
        raise ConfigError(
            where, "the prompt has trained weights, which the format cannot hold", got=prompt.adapter.method,
            do="use the format peft",
        )  # fmt: skip
    program = prompt.program
    if not isinstance(program, Single | FewShotChainOfThought | SelfConsistency):
        raise ConfigError(where, "the prompt's program takes several calls", got=program.name, do=WHOLE)
    names = sorted({*slots(prompt.template.user), *slots(prompt.template.system)} & prompt.template.names())
    marks = _marks(json.dumps(prompt.to_dict(), ensure_ascii=False), len(names))
    row = Example("", FrozenMap(dict(zip(names, marks, strict=True))))
    (ask, *_) = first_asks(program, prompt.render(row))
    back = dict(zip(marks, map(Slot, names), strict=True))
    messages = tuple(MessageLayout(one.role, tuple(_pieces(one.content, back))) for one in ask.messages)
    if not all(any(isinstance(piece, str) for piece in one.pieces) for one in messages[:-1]):
        raise ConfigError(
            where, "the system message holds columns alone, and is left out where they are empty",
            do="write a word of your own into it",
        )  # fmt: skip
    return Layout(messages, _notes(prompt))


def identifiers(fields: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """Return a variable's name for every column: its own where it can be one, else one made from it.

    Args:
        fields: columns, in order.
        reserved: what a variable of the format must not be called.
    """
    taken = {*reserved, *keyword.kwlist, "self", "none", "true", "false", "null", "loop", "super"}
    given = list(fields)
    named = {field: field for field in given if IDENTIFIER.fullmatch(field) and field not in taken}
    taken |= set(named)
    for field in given:
        if field not in named:
            stem = re.sub(r"[^A-Za-z0-9_]+", "_", field).strip("_") or "column"
            stem = f"column_{stem}" if stem[0].isdigit() else stem
            named[field] = next(
                name for name in (stem, *(f"{stem}_{number}" for number in range(2, len(taken) + 3)))
                if name not in taken
            )  # fmt: skip
            taken.add(named[field])
    return {field: named[field] for field in given}


def renamed(names: dict[str, str]) -> tuple[str, ...]:
    """Return a note on the columns that are called otherwise; none if all keep their names."""
    changed = [f"{field!r} is {name}" for field, name in names.items() if field != name]
    return (f"columns go by other names there: {', '.join(changed)}",) if changed else ()


def for_jinja(text: str, last: bool) -> str:
    """Write a fixed text for Jinja and its relatives, in whatever environment it is rendered.

    Openings of tags become strings in tags. So do ends of comments, which Nunjucks refuses, carriage returns,
    which Jinja turns into line feeds, and a line feed at the end of the message, which it drops.
    """
    return (OPENING_AT_END if last else OPENING).sub(lambda match: f'{{{{ "{_escaped(match[0])}" }}}}', text)


OPENING = re.compile(r"(?:\{(?=[{%#\r]|\Z)|#(?=\})|\r)+")
OPENING_AT_END = re.compile(r"(?:\{(?=[{%#\r]|\n?\Z)|#(?=\})|\r|\n\Z)+")


def _escaped(text: str) -> str:
    return text.replace("\r", r"\r").replace("\n", r"\n")


def _marks(text: str, count: int) -> list[str]:
    """Return characters that a text does not hold."""
    free = (chr(point) for point in MARKS if chr(point) not in text)
    return [next(free) for _ in range(count)]


def _pieces(text: str, back: dict[str, Slot]) -> Iterator[str | Slot]:
    pattern = "|".join(map(re.escape, back))
    for part in re.split(f"({pattern})", text) if back else [text]:
        if part:
            yield back.get(part, part)


def _notes(prompt: Prompt) -> tuple[str, ...]:
    match prompt.program:
        case FewShotChainOfThought(answer=marker):
            return (f"the answer is what stands behind {marker!r} in the reply",)
        case SelfConsistency(n=n, temperature=temperature, answer=marker):
            behind = f" (behind {marker!r} in each)" if marker else ""
            return (f"ask {n} times at temperature {temperature:g}; the most frequent answer wins{behind}",)
        case _:
            return ()
