"""A light chunker, and the phrase edits that it serves: delete, swap, replace, add.

Phrases are runs of words that end before punctuation and before a function word that follows a content word:
`Write | the second letter | of the word`. That needs no parser and no download; in a language without
spaces or without these function words, a phrase is what stands between punctuation, up to `MOST_WORDS`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_WORDS = 6
"""A longer run of words is cut here."""

ENGLISH = """
    a an the this that these those my your his her its our their each every some any all no not only of in
    on at by for from to into onto with without about as between before after under over through and or
    but nor so if then than when where while because which who whom whose what how is are was were be been
    do does did can could will would shall should may must
"""
FUNCTION_WORDS = frozenset(ENGLISH.split())

WORD = re.compile(r"\w+(?:['’\-]\w+)*")
PUNCTUATION = re.compile(r"[^\w\s]|\n")
STOPS = ".,;:!?"


class Phrase(NamedTuple):
    """A place in a text: `text[start:end]`."""

    start: int
    end: int


def phrases(text: str) -> list[Phrase]:
    """Return the phrases of a text, in order: disjoint, and every word in one of them."""
    found: list[Phrase] = []
    run: list[re.Match[str]] = []
    for word in WORD.finditer(text):
        if run and _begins(text, run, word):
            found.append(Phrase(run[0].start(), run[-1].end()))
            run = []
        run.append(word)
    return [*found, Phrase(run[0].start(), run[-1].end())] if run else found


def words(text: str) -> list[Phrase]:
    """Return the words of a text, in order, each as a phrase of its own."""
    return [Phrase(word.start(), word.end()) for word in WORD.finditer(text)]


def _begins(text: str, run: Sequence[re.Match[str]], word: re.Match[str]) -> bool:
    if PUNCTUATION.search(text, run[-1].end(), word.start()) or len(run) == MOST_WORDS:
        return True
    return _is_function(word) and not _is_function(run[-1])


def _is_function(word: re.Match[str]) -> bool:
    return word[0].lower() in FUNCTION_WORDS


def delete(text: str, phrase: Phrase) -> str:
    """Return the text without a phrase, and without the space or comma that it leaves over."""
    left, right = text[: phrase.start], text[phrase.end :]
    if not left or left[-1].isspace():
        right = right.lstrip(" \t")
    if right and right[0] in STOPS:
        left = left.rstrip(" \t").rstrip(",;:")
        if not left.strip():
            right = right.lstrip(STOPS)
    return (left + right).strip()


def swap(text: str, first: Phrase, second: Phrase) -> str:
    """Return the text with two phrases in each other's place."""
    first, second = sorted((first, second))
    swapped = substitute(text, second, text[first.start : first.end])
    return substitute(swapped, first, text[second.start : second.end])


def substitute(text: str, phrase: Phrase, words: str) -> str:
    """Return the text with other words in a phrase's place."""
    return text[: phrase.start] + words + text[phrase.end :]


def add(text: str, words: str, after: Phrase | None) -> str:
    """Return the text with words put behind a phrase, or in front of all."""
    return f"{words} {text}" if after is None else f"{text[: after.end]} {words}{text[after.end :]}"
