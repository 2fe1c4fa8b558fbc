"""Python: a module with one function from a row to messages, which needs nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.exporter import Export, Source
from ._layout import MessageLayout, Slot, lay_out

HEAD = '''"""Prompt {name}{found}."""

from collections.abc import Mapping


def messages(row: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the messages for one row, which needs the columns {fields}."""
    return [
'''
WIDTH = 90


@dataclass(frozen=True)
class PythonSnippet:
    """`prompt.py`: `messages(row)` returns what to send, as `[{"role": …, "content": …}]`."""

    def export(self, source: Source) -> Export:
        """Return `prompt.py`."""
        layout = lay_out(source.prompt, "python")
        found = f", found for {source.model}" if source.model else ""
        fields = ", ".join(map(ascii, layout.fields))
        head = HEAD.format(name=_plain(source.name), found=_plain(found), fields=_plain(fields))
        lines = [line for message in layout.messages for line in _message(message)]
        code = head + "".join(f"        {line}\n" for line in lines) + "    ]\n"
        return Export({"prompt.py": code.encode("ascii")}, layout.notes)


def _message(message: MessageLayout) -> list[str]:
    """Return the source of one message, a piece or a line of text a line."""
    terms = [term for piece in message.pieces for term in _terms(piece)] or ['""']
    lines = [f"{'+ ' if place else ''}{term}" for place, term in enumerate(terms)]
    return [
        "{",
        f'    "role": {message.role!a},',
        '    "content": (',
        *(f"        {x}" for x in lines),
        "    ),",
        "},",
    ]


def _terms(piece: str | Slot) -> list[str]:
    if isinstance(piece, Slot):
        return [f"row[{piece.name!a}]"]
    return [ascii(line) for line in piece.splitlines(keepends=True)]


def _plain(text: str) -> str:
    """Make a text harmless inside a docstring."""
    return ascii(text)[1:-1].replace('"', "'")
