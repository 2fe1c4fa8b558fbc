"""Plain text: the prompt as one text with `{{column}}` slots, as a person would write it."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.exporter import Export, Source
from ..errors import ConfigError
from ..template import SLOT, braces
from ._layout import lay_out

CURE = "use the format messages, which can"


@dataclass(frozen=True)
class PlainText:
    """One text with `{{column}}` slots, which `prompt: {file: …}` and `promptopt score --prompt` read again.

    The file ends in a line feed that is not the prompt's.
    """

    def export(self, source: Source) -> Export:
        """Return `prompt.txt`."""
        layout = lay_out(source.prompt, "text")
        if len(layout.messages) > 1:
            raise ConfigError("export text", "a text cannot hold a system message", do=CURE)
        (message,) = layout.messages
        text = message.write(lambda piece, _: piece, braces)
        if len(SLOT.findall(text)) != sum(not isinstance(piece, str) for piece in message.pieces):
            raise ConfigError("export text", "the prompt holds words that look like a slot", do=CURE)
        if "\r" in text or text.endswith("\n"):
            raise ConfigError(
                "export text", "line ends at the end, or of another system, are lost in a text file", do=CURE
            )
        if not text.isprintable() and _has_surrogates(text):
            raise ConfigError("export text", "the prompt holds half characters (surrogates)", do=CURE)
        return Export({"prompt.txt": f"{text}\n".encode()}, layout.notes)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)
