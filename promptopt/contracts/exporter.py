"""The contract of export formats: from a prompt to files that another tool reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..prompt import Prompt
from .model import Decoding


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported.

    Attributes:
        prompt: with its demonstrations, layout, program and weights.
        name: what the prompt is called where it goes; letters, digits, `.`, `-` and `_`.
        model: the target it was found for, as `provider/name`; empty where that is not known.
        decoding: how the target decoded; None where that is not known.
        notes: what a reader must know of it, a line each.
    """

    prompt: Prompt
    name: str
    model: str = ""
    decoding: Decoding | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """The files of an export.

    Attributes:
        files: content by relative path, `/` between folders.
        notes: what a reader must know to use them, a line each.
    """

    files: Mapping[str, bytes]
    notes: tuple[str, ...] = ()


@runtime_checkable
class Exporter(Protocol):
    """A format.

    What is loaded from its files and filled with a row must be, byte for byte, the messages that were scored.
    A prompt that the format cannot hold is refused.
    """

    def export(self, source: Source) -> Export:
        """Return the files of one prompt; nothing is written, no network is used.

        Raises:
            ConfigError: the format cannot hold the prompt; the message says why, and what can.
        """
        ...
