"""What the model proposes from rows alone, as APE asks it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptopt.contracts.model import Decoding
from promptopt.records import Example, FrozenMap
from promptopt.search._text import copies_pair, number_word, read_instruction, show_rows
from promptopt.search.ape import FORWARD
from promptopt.template import fill

from .asking import Expected, cells, layout
from .case import Case
from .metrics import split_words
from .results import Proposals

PROPOSALS, SHOWN, SELECT = 20, 5, 30
"""Proposals, pairs that the model is shown, and rows that the proposals are ranked on."""
SAMPLING = Decoding(max_tokens=64, temperature=0.9, top_p=0.9)
MAX_CHARS = 500
UNKNOWN_SHOWN = 20


def ape(case: Case) -> Proposals:
    """Propose instructions from five training pairs, rank them on 30 training rows, test the best."""
    shown, select = training_rows(case)
    values = {"demonstrations": show_rows(shown, ["input"]), "number": number_word(len(shown))}
    decoding = replace(SAMPLING, seed=case.seed)
    (replies,) = case.engine.sample([fill(FORWARD, values)], PROPOSALS, decoding)
    read = [text for text in (read_instruction(reply, MAX_CHARS) for reply in replies) if text]
    texts = list(dict.fromkeys(text for text in read if not copies_pair(text, shown)))
    ranked = case.engine.accuracies({text: cells(text, select) for text in texts})
    best = _best(ranked, select, case)
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


def _best(ranked: Mapping[str, float], select: Sequence[Expected], case: Case) -> str:
    """Return the proposal of the highest score; of equals, that of the likeliest right outputs.

    These are the two scores of APE (Zhou et al. 2023, section 3.1). Where nothing can be read, the seed
    prompt is left: no instruction.
    """
    first = [text for text, score in ranked.items() if score == max(ranked.values())]
    if len(first) < 2:
        return first[0] if first else ""
    asked = [(layout(text, x), accepted[0]) for text in first for x, accepted in select]
    found = case.engine.likelihoods(asked)
    sums = [sum(found[start : start + len(select)]) for start in range(0, len(found), len(select))]
    return first[max(range(len(first)), key=sums.__getitem__)]


def training_rows(case: Case) -> tuple[list[Example], list[Expected]]:
    """Return the pairs to show and the rows to rank on; none is in both."""
    rows = dict(case.material.rows(case.name, "train", 2 * (SHOWN + SELECT), case.seed))
    # A closed family can have fewer inputs than that; the rows to rank on are what is left.
    shown = min(SHOWN, max(1, len(rows) // 2))
    drawn = list(rows.items())[: shown + SELECT]
    examples = [
        Example(str(number), FrozenMap(input=x), accepted) for number, (x, accepted) in enumerate(drawn)
    ]
    return examples[:shown], drawn[shown:]
