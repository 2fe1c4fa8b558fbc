"""The tokenizer: whole words of a closed list, with and without a leading space, single bytes for the rest.

So a word that is not in the list is read letter by letter, which the letter tasks need, and the words of
instructions and sentences are one token each, which a small model needs.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from .corpus import held_out, human_instructions, lexicon
from .documents import tree
from .families import FAMILIES, reviews_and_requests
from .families.numbers import ONES, TENS
from .layout import ASSISTANT, END, USER

SPECIAL = ("<|pad|>", "<|bos|>", END, USER, ASSISTANT)
MARKS = (
    "\n\n",
    "Input: ",
    "\nOutput:",
    "\nOutput: ",
    "Instruction: ",
    "Instruction:",
    "\nScore: ",
    "\nExpected: ",
)
OPENERS = (
    "a", "are", "can", "could", "do", "does", "how", "i", "if", "is", "it", "my", "please", "tell", "the",
    "what", "when", "where", "which", "who", "will", "would",
)  # fmt: skip
"""Words that requests and phrases begin with."""
SIZE = 4700
"""Tokens in all, at most."""
CHAT = (
    "{% set ns = namespace(open=false) %}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "<|assistant|>{{ m['content'] }}<|end|>{% set ns.open = false %}"
    "{% else %}{% if ns.open %}{{ '\n\n' }}{% else %}<|user|>{% endif %}{{ m['content'] }}"
    "{% set ns.open = true %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A system message and the user's are one turn, with an empty line between them."""


def pieces() -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer: digits one by one, then words with their leading space."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _counted() -> Counter[str]:
    """Count the words of training documents; words that must be there count extra."""
    split = pieces()
    counts: Counter[str] = Counter()

    def add(text: str, times: int = 1) -> None:
        for piece, _ in split.pre_tokenize_str(text):
            counts[piece] += times

    rng = Random(5)
    for _ in range(9000):
        drawn = tree(rng)
        for text, _ in (segment for part in (drawn.trunk, *drawn.branches) for segment in part):
            add(text.replace(USER, "\n").replace(ASSISTANT, "\n").replace(END, "\n"))
    for wordings in (
        *human_instructions().values(),
        *held_out()["dev"].values(),
        *held_out()["test"].values(),
    ):
        for wording in wordings:
            add(" " + wording.lower(), 5)
    for text in reviews_and_requests():
        add(" " + text, 2)
    for word in _inside():
        add(" " + word, 500)
    for word in _alone():
        add(word, 500)
    return counts


def _inside() -> list[str]:
    """Return the words that stand inside texts and carry their meaning."""
    words = lexicon()
    found = [
        *words["positive"],
        *words["negative"],
        *words["names"],
        *words["film_words"],
        *words["adjectives_people"],
    ]
    found += [
        form for name in ("people", "things", "transitive_verbs") for forms in words[name] for form in forms
    ]
    found += [item for items in words["categories"].values() for item in items]
    return sorted({*found, *words["animal_sizes"], *ONES, *TENS[2:], "hundred", "thousand", *_labels()})


def _alone() -> list[str]:
    """Return the words that are one token also without a leading space: items of lists, names, answers.

    All others are spelled where they begin a text, so that letter tasks, plurals and tenses hold for them;
    of these few the model has to learn the spelling by heart.
    """
    words = lexicon()
    found = [*OPENERS, *(word for pair in words["capitals"] for word in pair)]
    found += [item for items in words["categories"].values() for item in items]
    return sorted({*found, *words["names"], *words["animal_sizes"], *ONES, *TENS[2:], *_labels()})


def _labels() -> list[str]:
    return [label for family in FAMILIES.values() for label in family.labels]


def build() -> PreTrainedTokenizerFast:
    """Build the tokenizer from the recipe's own documents; the same every time."""
    alone = set(_alone())
    vocabulary = {token: index for index, token in enumerate(SPECIAL)}
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[byte] = len(vocabulary)
    for letter in "abcdefghijklmnopqrstuvwxyz0123456789":
        vocabulary[f"Ġ{letter}"] = len(vocabulary)
    for piece, count in sorted(_counted().items(), key=lambda item: (-item[1], item[0])):
        spelled = piece.islower() and piece[0].isalpha() and piece[0] != "Ġ" and piece not in alone
        word = re.fullmatch(r"Ġ?['’]?[A-Za-zÄÖÜäöüßÃ¤¶¼Ł©]+", piece)
        if word and len(piece.lstrip("Ġ")) > 1 and piece not in vocabulary and count >= 2 and not spelled:
            vocabulary[piece] = len(vocabulary)
        if len(vocabulary) == SIZE - len(MARKS):
            break
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pieces()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token=END, pad_token="<|pad|>",
        padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = CHAT
    return fast


def load(folder: str | Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a folder; build and save it there first if it has none."""
    if not (Path(folder) / "tokenizer.json").is_file():
        build().save_pretrained(folder)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded
