"""Read secrets from the environment, and keep them out of every text that leaves the program.

What was read through `secret` is remembered for the life of the process, because a message that quotes
a key may be composed far from where the key was read.
"""

from __future__ import annotations

import os
import re
import threading

_remembered: set[str] = set()
_lock = threading.Lock()

_SHORTEST = 4  # a shorter value hides nothing, and replacing it would shred ordinary words

_PATTERNS = (
    (re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.\-]{8,}"), "***"),
    (re.compile(r"\b(bearer|basic)\s+(?=\S*[\d=])[\w.~+/\-*]{4,}=*", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "***@"),
)


def secret(name: str) -> str | None:
    """Return the environment variable `name` without surrounding white space; None if unset or empty."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    if len(value) >= _SHORTEST:
        with _lock:
            _remembered.add(value)
    return value


def conceal(text: str) -> str:
    """Replace by `***` every secret read so far, and nothing else: a text may be about keys."""
    with _lock:
        values = sorted(_remembered, key=len, reverse=True)
    for value in values:
        text = text.replace(value, "***")
    return text


def redact(text: str) -> str:
    """Replace by `***` every secret read so far, and what looks like a key, a token or a URL's password.

    Redact before you shorten: half a key is no longer recognised.
    """
    text = conceal(text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
