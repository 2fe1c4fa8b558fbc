"""What the model makes of instructions when searchers' meta-prompts ask it for better ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptopt.contracts.model import Decoding
from promptopt.search._meta import CROSSOVER, EDIT, ERROR, GRADIENT, OPRO, REFLECT, SCORED
from promptopt.search._text import VARIATION, read_instruction, show_rows
from promptopt.template import fill

from .asking import Expected, cells, is_right
from .case import Case
from .proposals import MAX_CHARS, SAMPLING, training_rows
from .results import Improvement, Rewritten

REWRITES = 4
"""Draws of each meta-prompt."""
ERRORS, OLD = 3, 3
"""Errors shown, and old instructions shown with their scores."""
REPLY_TOKENS = 24
META_PROMPTS = {
    "variation": VARIATION,
    "opro": OPRO,
    "protegi": EDIT,
    "reflect": REFLECT,
    "crossover": CROSSOVER,
}


def improvement(case: Case) -> Improvement:
    """Let each meta-prompt rewrite a precise and the weakest graded wording; compare before and after.

    A meta-prompt that shows errors is left out where the model makes none on the training rows.
    """
    graded = [w for w in case.material.landscape(case.name, case.seed) if 0 < w.clarity < 1]
    weak = [wording.text for wording in sorted(graded, key=lambda wording: wording.clarity)[:OLD]]
    starts = {"precise": case.training(1)[0]} | ({"graded": weak[0]} if weak else {})
    asked = []
    for level, text in starts.items():
        values = _values(case, text, weak)
        asked += [
            (name, level, text, fill(meta, values))
            for name, meta in META_PROMPTS.items()
            if "errors" in values or "{{errors}}" not in meta
        ]
    drawn = case.engine.sample([prompt for *_, prompt in asked], REWRITES, replace(SAMPLING, seed=case.seed))
    # An unreadable reply leaves the searcher with what it had.
    made = [
        [read_instruction(reply, MAX_CHARS) or text for reply in replies]
        for (_, _, text, _), replies in zip(asked, drawn, strict=True)
    ]
    texts = {*starts.values(), *(text for group in made for text in group)}
    found = case.engine.accuracies({text: cells(text, case.rows) for text in sorted(texts)})
    return Improvement(
        tuple(
            Rewritten(name, level, (text, found[text]), tuple((new, found[new]) for new in group))
            for (name, level, text, _), group in zip(asked, made, strict=True)
        )
    )


def _values(case: Case, text: str, weak: Sequence[str]) -> dict[str, str]:
    """Return what the slots of the meta-prompts are filled with, for one instruction."""
    shown, select = training_rows(case)
    old = list(dict.fromkeys([*weak, text]))
    scores = case.engine.accuracies({one: cells(one, select) for one in old})
    ranked = sorted(old, key=scores.__getitem__)
    values = {
        "instruction": text,
        "demonstrations": show_rows(shown, ["input"]),
        "scored": "\n\n".join(
            fill(SCORED, {"instruction": one, "score": str(round(100 * scores[one]))}) for one in ranked
        ),
        "first": text,
        "second": ranked[-1],
    }
    if errors := _errors(case, text, select):
        values["errors"] = "\n\n".join(fill(ERROR, error) for error in errors)
        prompt = fill(GRADIENT, values)
        ((reply,),) = case.engine.sample([prompt], 1, Decoding(max_tokens=48))
        values["gradient"] = reply
    return values


def _errors(case: Case, text: str, rows: Sequence[Expected]) -> list[Mapping[str, str]]:
    asked = cells(text, rows)
    replies = case.engine.greedy([cell.prompt for cell in asked], [REPLY_TOKENS] * len(asked))
    wrong = [
        {"input": x, "output": reply, "expected": accepted[0]}
        for (x, accepted), reply in zip(rows, replies, strict=True)
        if not is_right(reply, accepted)
    ]
    return wrong[:ERRORS]
