"""What the recipe reads: the closed lexicon, the open word list, the public rows.

The public rows are looked for in `PROMPTOPT_DATA` (default: `../shared` beside the clone).
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

GRAM = 8
"""Words in a row that count as copied."""
HERE = Path(__file__).parent
DATA = Path(os.environ.get("PROMPTOPT_DATA", HERE.parents[2] / "shared"))


@cache
def lexicon() -> dict[str, Any]:
    """Return the closed lexicon, written for this recipe."""
    return dict(json.loads((HERE / "lexicon.json").read_text("utf-8")))


@cache
def held_out() -> dict[str, dict[str, list[str]]]:
    """Return the held-out wordings: split -> family -> wordings."""
    return dict(json.loads((HERE / "heldout.json").read_text("utf-8")))


def split_of(text: str) -> str:
    """Return where an open input belongs, for good: 8 in 100 to "test", 4 to "dev", the rest to "train"."""
    number = crc32(text.lower().encode()) % 100
    return "test" if number < 8 else "dev" if number < 12 else "train"


@cache
def open_words() -> tuple[tuple[str, str], ...]:
    """Return frequent words and their parts of speech ("n", "v", "a" joined), most frequent first.

    words.tsv holds words of Open English WordNet in the order of their counts in books out of copyright.
    """
    lines = (HERE / "words.tsv").read_text("utf-8").splitlines()
    return tuple((word, parts) for word, parts in (line.split("\t") for line in lines))


@cache
def supersenses(part: str) -> dict[str, str]:
    """Return frequent words of a part of speech ("noun", "verb") and the supersense of their first senses.

    A supersense is the lexicographers' file of WordNet that the sense stands in (Ciaramita and Johnson
    2003): act, animal, artifact, ... supersenses.tsv holds them as Open English WordNet has them.
    """
    lines = (HERE / "supersenses.tsv").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return {word: sense for word, its, sense in rows if its == part}


@cache
def public_rows(name: str, split: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return rows of a public set (`suite/task`) as (input, accepted outputs)."""
    rows = []
    with (DATA / "data" / f"{name}.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["split"] == split:
                outputs = row["output"]
                rows.append((row["input"], tuple(outputs if isinstance(outputs, list) else [outputs])))
    return tuple(rows)


def grams(text: str) -> set[tuple[str, ...]]:
    """Return the word n-grams of a text."""
    words = re.findall("[a-z0-9]+", text.lower())
    return {tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)}


@cache
def training_rows(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the training rows of a public set, less those that share an n-gram with a test row."""
    kept = {gram for text, _ in public_rows(name, "test") for gram in grams(text)}
    return tuple(row for row in public_rows(name, "train") if not grams(row[0]) & kept)


@cache
def human_instructions() -> dict[str, list[str]]:
    """Return the annotators' instructions of the instruction-induction tasks."""
    tasks = json.loads((DATA / "data" / "manifest.json").read_text("utf-8"))["tasks"]
    return {
        task["name"]: task["human_instructions"] for task in tasks if task["suite"] == "instruction_induction"
    }


@cache
def public_test_words() -> frozenset[str]:
    """Return the words that public test rows of word tasks consist of; no training row may use them."""
    tasks = ("first_word_letter", "second_word_letter", "letters_list", "singular_to_plural")
    return frozenset(
        text.lower() for task in tasks for text, _ in public_rows(f"instruction_induction/{task}", "test")
    )


def count_words() -> list[tuple[str, str]]:
    """Count the words of the books and keep those that the word tasks can use; makes words.tsv."""
    import gzip
    from collections import Counter

    parts: dict[str, set[str]] = {}
    table = (DATA / "corpus" / "lexical" / "categories.tsv").read_text("utf-8")
    for line in table.splitlines()[1:]:
        word, part = line.split("\t")[:2]
        if re.fullmatch("[a-z]{3,10}", word):
            parts.setdefault(word, set()).add(part)
    counts: Counter[str] = Counter()
    with gzip.open(DATA / "corpus" / "text" / "books.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            counts.update(re.findall("[a-z]+", json.loads(line)["text"]))
    ranked = sorted((w for w in parts if counts[w] >= 20), key=lambda w: (-counts[w], w))
    return [(word, "".join(sorted(parts[word] & set("nva")))) for word in ranked[:6500]]


def find_supersenses() -> list[tuple[str, str]]:
    """Look up words that are only nouns, or only verbs, of supersenses with many; makes supersenses.tsv."""
    from collections import Counter

    table = (DATA / "corpus" / "lexical" / "categories.tsv").read_text("utf-8").splitlines()[1:]
    found: dict[str, set[str]] = {}
    for word, _, category, _ in (line.split("\t") for line in table):
        found.setdefault(word, set()).add(category)
    senses = {
        word: sense.replace(".", "\t")
        for word, (sense, *others) in found.items()
        if not others and sense.startswith(("noun.", "verb.")) and re.fullmatch("[a-z]{3,12}", word)
    }
    for word in public_test_words():
        senses.pop(word, None)
    many = {sense for sense, count in Counter(senses.values()).items() if count >= 30}
    return sorted((word, sense) for word, sense in senses.items() if sense in many and "Tops" not in sense)


if __name__ == "__main__":
    for name, rows in (("words.tsv", count_words()), ("supersenses.tsv", find_supersenses())):
        (HERE / name).write_text("".join(f"{word}\t{rest}\n" for word, rest in rows), "utf-8")
