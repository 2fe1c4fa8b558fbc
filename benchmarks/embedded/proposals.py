"""What meta-prompts make the model write: APE's guesses from rows, and rewritten instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from promptopt.contracts.model import Decoding
from promptopt.records import Example, FrozenMap
from promptopt.search._text import VARIATION, copies_pair, number_word, read_instruction, show_rows
from promptopt.search.ape import FORWARD
from promptopt.template import fill

from .asking import Expected, cells
from .case import Case
from .metrics import split_words
from .results import Improvement, Proposals, Rewritten

PROPOSALS, SHOWN, SELECT = 20, 5, 30
"""Proposals, pairs that the model is shown, and rows that the proposals are ranked on."""
SAMPLING = Decoding(max_tokens=64, temperature=0.9, top_p=0.9)
MAX_CHARS = 500
REWRITES = 4
UNKNOWN_SHOWN = 20


def ape(case: Case) -> Proposals:
    """Propose instructions from five training pairs, rank them on 30 training rows, test the best."""
    shown, select = _training_rows(case)
    values = {"demonstrations": show_rows(shown, ["input"]), "number": number_word(len(shown))}
    decoding = replace(SAMPLING, seed=case.seed)
    (replies,) = case.engine.sample([fill(FORWARD, values)], PROPOSALS, decoding)
    read = [text for text in (read_instruction(reply, MAX_CHARS) for reply in replies) if text]
    texts = list(dict.fromkeys(text for text in read if not copies_pair(text, shown)))
    ranked = case.engine.accuracies({text: cells(text, select) for text in texts})
    # Where nothing can be read, the seed prompt is left: no instruction.
    best = max(texts, key=ranked.__getitem__, default="")
    words = [word for text in read for word in split_words(text)]
    unknown = [word for word in words if word not in case.material.words]
    return Proposals(
        distinct=tuple((text, ranked[text]) for text in texts),
        best=best,
        test=case.engine.accuracies({best: cells(best, case.rows)})[best],
        words=len(words),
        known=len(words) - len(unknown),
        unknown=tuple(dict.fromkeys(unknown))[:UNKNOWN_SHOWN],
    )


@dataclass(frozen=True)
class MetaPrompt:
    """A searcher's meta-prompt that turns an instruction into another one.

    Attributes:
        name: the searcher and what it does.
        text: with the slot `{{instruction}}`; may have `{{demonstrations}}` and `{{number}}` for rows.
        read: finds the instruction in a reply.
    """

    name: str
    text: str
    read: Callable[[str, int], str | None] = read_instruction


META_PROMPTS: Sequence[MetaPrompt] = (MetaPrompt("ape/resample", VARIATION),)
"""The meta-prompts that `improvement` measures; a searcher's file adds its own here."""


def improvement(case: Case) -> Improvement:
    """Let each meta-prompt rewrite a precise and the weakest graded wording; compare before and after."""
    shown, _ = _training_rows(case)
    starts = {"precise": case.training(1)[0]}
    graded = [w for w in case.material.landscape(case.name, case.seed) if 0 < w.clarity < 1]
    if graded:
        starts["graded"] = min(graded, key=lambda wording: wording.clarity).text
    values = {"demonstrations": show_rows(shown, ["input"]), "number": number_word(len(shown))}
    asked = [(meta, level, text) for meta in META_PROMPTS for level, text in starts.items()]
    prompts = [fill(meta.text, {**values, "instruction": text}) for meta, _, text in asked]
    drawn = case.engine.sample(prompts, REWRITES, replace(SAMPLING, seed=case.seed))
    # An unreadable reply leaves the searcher with what it had.
    made = [
        [meta.read(reply, MAX_CHARS) or text for reply in replies]
        for (meta, _, text), replies in zip(asked, drawn, strict=True)
    ]
    texts = {*starts.values(), *(text for group in made for text in group)}
    found = case.engine.accuracies({text: cells(text, case.rows) for text in sorted(texts)})
    return Improvement(
        tuple(
            Rewritten(meta.name, level, (text, found[text]), tuple((new, found[new]) for new in group))
            for (meta, level, text), group in zip(asked, made, strict=True)
        )
    )


def _training_rows(case: Case) -> tuple[list[Example], list[Expected]]:
    """Return the pairs to show and the rows to rank on; none is in both."""
    rows = dict(case.material.rows(case.name, "train", 2 * (SHOWN + SELECT), case.seed))
    # A closed family can have fewer inputs than that; the rows to rank on are what is left.
    shown = min(SHOWN, max(1, len(rows) // 2))
    drawn = list(rows.items())[: shown + SELECT]
    examples = [
        Example(str(number), FrozenMap(input=x), accepted) for number, (x, accepted) in enumerate(drawn)
    ]
    return examples[:shown], drawn[shown:]
