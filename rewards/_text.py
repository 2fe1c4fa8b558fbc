"""Text rules shared by the rewards: each function is one normalisation, written down once."""

from __future__ import annotations

import re
import string
import unicodedata
from decimal import Decimal, InvalidOperation

from promptopt.errors import DataError, shorten
from promptopt.records import Example

MAX_CHARS = 100_000
"""Readers look at no more than this many characters, the last ones: a runaway reply must not stall a run."""

_COMPOSED_CHARS = 5_000
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CONCLUSION = re.compile(
    r"\banswer\b(?:\s+(?:to|for|of)\s[^.:\n]{0,80}?)?[\s*_]*(?:\bis\b|\bwas\b|:|=)[\s:*_]*", re.IGNORECASE
)
# Scripts written without spaces between words: there a phrase has no word boundary to look for.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def tail(text: str) -> str:
    """Return the last `MAX_CHARS` characters: an answer comes at the end."""
    return text[-MAX_CHARS:]


def compose(text: str) -> str:
    """Return `text` in Unicode normal form C, so that e + combining acute equals é.

    Texts of more than 5,000 characters stay as they are: composing takes quadratic time on long runs of
    combining marks.
    """
    return text if len(text) > _COMPOSED_CHARS else unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """Compose, put in lower case, and make every run of white space one space, none at the ends.

    Lower case rather than case folding, which would make the German words Maße and Masse equal.
    """
    return " ".join(compose(text).lower().split())


def drop_punctuation(text: str) -> str:
    """Remove ASCII punctuation and every character of a Unicode punctuation category."""
    dropped = {char for char in set(text) if is_punctuation(char)}
    return text.translate(dict.fromkeys(map(ord, dropped)))


def is_punctuation(char: str) -> bool:
    """Whether a character is ASCII punctuation or of a Unicode punctuation category."""
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def squad(text: str, articles: bool = True) -> str:
    """Normalise as SQuAD does: lower case, no punctuation, no English articles, single spaces.

    A step that would leave nothing is skipped, so that answers such as `a` or `?` stay what they are.

    Args:
        text: what to normalise.
        articles: whether a, an, the are removed.

    Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section
    6.1 and its evaluation script; Unicode punctuation is added here.
    """
    folded = fold(text)
    folded = fold(drop_punctuation(folded)) or folded
    return (fold(_ARTICLES.sub(" ", folded)) or folded) if articles else folded


def phrase(text: str) -> re.Pattern[str]:
    """Return a pattern that finds a folded `text` in a folded text as whole words, not inside a number.

    `cat` is not found in `cats`, nor `3` in `13`, `3.5` or `1,3`. In scripts without spaces (Chinese,
    Japanese, Thai, Lao, Burmese, Khmer) it may stand anywhere.
    """
    before = after = ""
    if text[:1].isalnum() and not _UNSPACED.match(text[0]):
        before = r"(?<!\w)" + (r"(?<!\d[.,])" if text[0].isdigit() else "")
    if text[-1:].isalnum() and not _UNSPACED.match(text[-1]):
        after = r"(?!\w)" + (r"(?![.,]\d)" if text[-1].isdigit() else "")
    return re.compile(before + re.escape(text) + after)


def conclusion(text: str) -> str | None:
    """Return what follows the last `answer is`, `answer:` or `answer =`; None when there is none of them."""
    ends = [match.end() for match in _CONCLUSION.finditer(text)]
    return text[ends[-1] :] if ends else None


def same_number(left: str, right: str) -> bool:
    """Whether both texts are finite decimal numbers, and equal: `1.0` and `1`."""
    try:
        first, second = Decimal(left), Decimal(right)
    except InvalidOperation:
        return False
    return first.is_finite() and second.is_finite() and first == second


def quote(text: str, limit: int = 80) -> str:
    """Return `text` in quotes on one line, cut to about `limit` characters, safe to print and to store."""
    return shorten(text[: limit + 1], limit)


def quote_any(texts: tuple[str, ...] | list[str], most: int = 3) -> str:
    """Return `'a' or 'b' or 'c' (and 2 more)`."""
    more = f" (and {len(texts) - most} more)" if len(texts) > most else ""
    return " or ".join(quote(text) for text in texts[:most]) + more


def answers_of(example: Example, reward: str) -> tuple[str, ...]:
    """Return the accepted answers.

    Raises:
        DataError: there are none, so the reward has nothing to compare with.
    """
    if not example.answers:
        raise DataError(f"row {example.id}", f"has no answer, and {reward} needs one", do="give it an answer")
    return example.answers
