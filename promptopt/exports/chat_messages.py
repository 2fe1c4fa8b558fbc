"""Chat messages as JSON: role and content, and which string in the contents stands for which column."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import count

from ..contracts.exporter import Export, Source
from ..template import braces
from ._layout import Layout, lay_out


@dataclass(frozen=True)
class ChatMessages:
    """`{"messages": [{"role", "content"}, …], "inputs": {column: placeholder}}`.

    To fill a row in, replace the placeholders by its values in a single pass. A placeholder is `{{column}}`,
    or another string where the prompt's words hold that.
    """

    def export(self, source: Source) -> Export:
        """Return `messages.json`."""
        layout = lay_out(source.prompt, "messages")
        return Export({"messages.json": messages_json(layout)}, layout.notes)


def messages_json(layout: Layout) -> bytes:
    """Return the messages as ASCII JSON."""
    inputs = _placeholders(layout)
    messages = [
        {"role": message.role, "content": message.write(lambda text, _: text, inputs.__getitem__)}
        for message in layout.messages
    ]
    return (json.dumps({"messages": messages, "inputs": inputs}, indent=2) + "\n").encode()


def _placeholders(layout: Layout) -> dict[str, str]:
    """Return a placeholder for every column that is found again where it was put, and only there."""
    for turn in count():
        found = {name: braces(name if not turn else f"{name} #{turn}") for name in layout.fields}
        if all(_unambiguous(message.pieces, found) for message in layout.messages):
            return found
    raise AssertionError("unreachable")


def _unambiguous(pieces: tuple[object, ...], found: dict[str, str]) -> bool:
    written = [piece if isinstance(piece, str) else found[piece.name] for piece in pieces]  # type: ignore[attr-defined]
    pattern = "|".join(map(re.escape, found.values()))
    parts = re.split(f"({pattern})", "".join(written)) if found else written
    return [part for part in parts if part] == written
