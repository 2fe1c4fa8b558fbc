r"""Text of unknown origin, made safe to look at: what would act on a screen is shown instead.

Control characters (a terminal obeys them), marks that turn the direction of writing, invisible characters and
half characters become escapes such as `\x1b` or `\u202e`. Line ends and tabs stay, and so do the two
joiners that scripts and emoji need.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

KEPT = "\n\t\u200c\u200d"
JUMPY = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories: control, format, half, private and unassigned characters, separators of lines."""

INVISIBLE = frozenset(map(chr, (0x34F, 0x115F, 0x1160, 0x3164, *range(0xE0100, 0xE01F0))))
"""Letters and marks by category that show nothing and can hide a message."""

_SUSPECT = re.compile(r"[^\x20-\x7e\n\t\u00a1-\u00ac\u00ae-\u024f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")
"""What is worth a look; most texts hold little of it."""


def visible(text: str, show: Callable[[str], str] = str) -> str:
    """Return the text with escapes for what would act; `show` may dress an escape up."""
    return _SUSPECT.sub(lambda found: _seen(found[0], show), text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return the text on one line, white space folded."""
    return " ".join(visible(text).split())


def _seen(character: str, show: Callable[[str], str]) -> str:
    jumpy = unicodedata.category(character) in JUMPY or character in INVISIBLE
    return show(escape(character)) if jumpy and character not in KEPT else character


def escape(character: str) -> str:
    r"""Return a character as in a string of Python: `\x1b`, `\u202e`, `\U000e0041`."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
