"""Families over one word that follow a rule: letters, plural, past tense."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from ..contracts import Family
from ..corpus import DATA, lexicon, open_words, public_rows
from ._draw import rule
from .lists import items


@cache
def _words() -> tuple[str, ...]:
    return tuple(word for word, _ in open_words() if len(word) <= 9)


def _word(rng: Random) -> str:
    # Items of lists are single tokens: their spelling takes practice.
    return rng.choice(items() if rng.random() < 0.08 else _words())


def _short_word(rng: Random) -> str:
    while True:
        word = _word(rng)
        if len(word) <= 7:
            return word


@cache
def irregular(part: str) -> dict[str, list[str]]:
    """Return WordNet's irregular forms of a part of speech ("n", "v")."""
    forms: dict[str, list[str]] = {}
    for line in (DATA / "corpus" / "lexical" / "irregular_forms.tsv").read_text("utf-8").splitlines()[1:]:
        word, its, form = line.split("\t")[:3]
        if its == part:
            forms.setdefault(word, []).append(form)
    return forms


def plural(word: str) -> str:
    """Form the regular plural."""
    if re.search("(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"


def past(word: str) -> str:
    """Form the regular past, without doubling."""
    if word.endswith("e"):
        return word + "d"
    return word[:-1] + "ied" if re.search("[^aeiou]y$", word) else word + "ed"


@cache
def plurals() -> dict[str, str]:
    """Return nouns and their plurals: public training rows, irregular ones, frequent regular ones."""
    found = {word: plural(word) for word, parts in open_words() if parts == "n" and not word.endswith("s")}
    found = {word: form for word, form in found.items() if word not in irregular("n")}
    found.update(
        (word, outs[0]) for word, outs in public_rows("instruction_induction/singular_to_plural", "train")
    )
    found.update(lexicon()["irregular_plurals"])
    return found


@cache
def pasts() -> dict[str, str]:
    """Return verbs and their simple past."""
    found = {}
    for word, parts in open_words():
        if "v" not in parts or word.endswith("ed") or word.endswith("ing"):
            continue
        forms = [form for form in irregular("v").get(word, []) if form.endswith("ed")]
        if forms:
            found[word] = forms[0]
        elif word not in irregular("v") and not re.search("[^aeiou][aeiou][^aeiouwxy]$", word):
            found[word] = past(word)
    found.update((base, form) for base, form, _ in lexicon()["transitive_verbs"])
    found.update(lexicon()["irregular_pasts"])
    return {word: form for word, form in found.items() if len(word) <= 9}


def _noun(rng: Random) -> str:
    if rng.random() < 0.1:
        return str(rng.choice(lexicon()["irregular_plurals"])[0])
    return rng.choice(list(plurals()))


def _verb(rng: Random) -> str:
    if rng.random() < 0.15:
        return str(rng.choice(lexicon()["irregular_pasts"])[0])
    return rng.choice(list(pasts()))


def _any_plural(word: str) -> str | None:
    return plurals().get(word) or (plural(word) if word.isalpha() else None)


def _any_past(word: str) -> str | None:
    return pasts().get(word) or (past(word) if word.isalpha() else None)


def _spelled(word: str) -> str:
    return f"{' '.join(word)}. {' '.join(word[::-1])}. The answer is {word[::-1]}."


def _counted(word: str) -> str:
    counts = ", ".join(f"{letter} {number}" for number, letter in enumerate(word, 1))
    return f"{counts}. The answer is {len(word)}."


WORDS: tuple[Family, ...] = (
    rule("first_word_letter", "word", _word, lambda word: word[0]),
    rule("second_word_letter", "word", _word, lambda word: word[1:2] or None),
    rule("last_letter", "word", _word, lambda word: word[-1]),
    rule("letters_list", "word", _word, lambda word: " ".join(word)),
    rule("uppercase", "word", _word, str.upper),
    rule("reverse_word", "word", _short_word, lambda word: word[::-1], steps=_spelled),
    rule("word_length", "word", _word, lambda word: str(len(word)), steps=_counted),
    rule("singular_to_plural", "word", _noun, _any_plural),
    rule("past_tense", "word", _verb, _any_past),
)
