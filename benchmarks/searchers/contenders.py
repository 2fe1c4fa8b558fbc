"""Who runs on what: searchers by the name in the table, and tasks that differ in kind."""

from __future__ import annotations

from typing import Any

CONTENDERS: dict[str, Any] = {
    "paraphrases": {"name": "paraphrases", "n": 60},
    "random_demos": "random_demos",
    "ape": "ape",
    "opro": "opro",
    "evolution_ga": {"name": "evolution", "mode": "ga"},
    "evolution_de": {"name": "evolution", "mode": "de"},
    "breeder": "breeder",
    "protegi": "protegi",
    "reflect": "reflect",
    "edit": "edit",
    "demos": "demos",
    "joint": "joint",
    "portfolio": "portfolio",
}
"""By the name in the table: a searcher as a job file names it."""

FLOORS = ("paraphrases", "random_demos")
"""What a searcher must beat to be worth recommending."""

TASKS = (
    "second_word_letter",
    "last_letters",
    "word_length",
    "singular_to_plural",
    "sum",
    "max",
    "last_word",
    "negation",
    "active_to_passive",
    "sentence_type",
    "topic",
    "extract_number",
    "taxonomy_animal",
    "sort",
)
"""Families of benchmarks/embedded: letters, words, relations, numbers, sentences, lists, labels."""
