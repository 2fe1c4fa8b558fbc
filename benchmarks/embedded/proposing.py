"""Training documents that ask for instructions: from pairs, paraphrases, scores, errors and parents."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from promptopt.search._meta import CROSSOVER, EDIT, ERROR, GRADIENT, OPRO, REFLECT, SCORED
from promptopt.search._text import VARIATION, number_word
from promptopt.search.ape import FORWARD
from promptopt.template import fill

from .contracts import Family, Row, Tree, Wording
from .layout import ASSISTANT, END, READ, USER, demonstrations
from .wordings import difficulty, noun_phrase, partial, precise, taught, vague

INDUCE = (
    FORWARD,
    FORWARD,
    FORWARD,
    "I gave a friend an instruction. Based on the instruction they produced the following input-output "
    "pairs:\n\n{{demonstrations}}\n\nThe instruction was to",
    "Write the instruction that maps the inputs to the outputs.\n\n{{demonstrations}}\n\nInstruction:",
    "{{demonstrations}}\n\nWhat was the instruction?",
)
REWORD = (
    VARIATION,
    VARIATION,
    VARIATION,
    "Paraphrase the instruction: {{instruction}}",
    "Rewrite this instruction in other words.\n\n{{instruction}}",
)
PROPOSAL = 0.6
"""Weight of a proposal's tokens: many proposals are right, so none is learned by heart."""
CANNOT_FOLLOW_TO = re.compile(
    r"(?i)(i |your |you |please|now |for |in |given |read |the |an? |what|can |could |both |all |it |each "
    r"|this |if |whether |positive|only |two |letter |how |task|when |one |even |odd |its |here|hello|thank "
    r"|good |question|which|who|.*\?)"
)

Draw = Callable[[Random], Family]


def instruction_tree(rng: Random, draw: Draw) -> Tree:
    """Draw a document whose answers are instructions of a family that `draw` draws."""
    its = draw(rng)
    kinds = (_induced, _reworded, _outscored, _diagnosed, _mended, _combined)
    return rng.choices(kinds, (46, 22, 9, 5, 12, 6))[0](its, rng)


def _asked(prompt: str, answers: Sequence[str]) -> Tree:
    return Tree(
        ((f"{USER}{prompt}", READ), (ASSISTANT, 0.0)),
        tuple(((f"{answer}{END}", PROPOSAL),) for answer in answers),
    )


def _proposals(its: Family, rng: Random, count: int = 3, clear: float = 0.88) -> list[str]:
    """Draw instructions, most of them clear, none long."""
    found: list[str] = []
    while len(found) < count:
        wording = precise(its.name, rng) if rng.random() < clear else partial(its.name, rng)
        if len(wording.text) <= 90:
            found.append(wording.text)
    return found


def _rows(its: Family, rng: Random, count: int) -> list[Row]:
    """Draw different short rows."""
    found: dict[str, Row] = {}
    for _ in range(20 * count):
        row = its.draw(rng, "train")
        if len(row[0]) <= 80:
            found.setdefault(row[0], row)
        if len(found) == count:
            break
    return list(found.values())


def _induced(its: Family, rng: Random) -> Tree:
    prompt = rng.choice(INDUCE)
    rows = _rows(its, rng, rng.choice((3, 4, 5, 5, 5, 6)))
    answers = _proposals(its, rng)
    if prompt.endswith(" to"):
        while any(CANNOT_FOLLOW_TO.match(answer) for answer in answers):
            answers = [a if not CANNOT_FOLLOW_TO.match(a) else _proposals(its, rng, 1)[0] for a in answers]
        answers = [answer[:1].lower() + answer[1:] for answer in answers]
    values = {"demonstrations": demonstrations(rows), "number": number_word(len(rows))}
    return _asked(fill(prompt, values), answers)


def _reworded(its: Family, rng: Random) -> Tree:
    clear = rng.random() < 0.75
    given = precise(its.name, rng) if clear else partial(its.name, rng)
    answers = _proposals(its, rng, clear=0.95 if clear else 0.4)
    return _asked(fill(rng.choice(REWORD), {"instruction": given.text}), answers)


def _outscored(its: Family, rng: Random) -> Tree:
    old = [partial(its.name, rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.4:
        old.append(precise(its.name, rng))
    if rng.random() < 0.3:
        old.append(Wording(vague(rng), "vague", 0.0))
    scored = sorted((_score(wording, rng), wording.text) for wording in old)
    values = {
        "scored": "\n\n".join(fill(SCORED, {"instruction": t, "score": str(s)}) for s, t in scored),
        "demonstrations": demonstrations(_rows(its, rng, 3)),
    }
    return _asked(fill(OPRO, values), _proposals(its, rng, clear=0.97))


def _score(wording: Wording, rng: Random) -> int:
    return max(0, min(100, round(100 * wording.clarity + rng.gauss(-3, 8))))


def _flawed(its: Family, rng: Random) -> tuple[Wording, str]:
    """Draw an unclear wording and errors that follow from it."""
    while True:
        wording = partial(its.name, rng) if rng.random() < 0.8 else Wording(vague(rng), "vague", 0.0)
        rows = [row for row in _rows(its, rng, 8) if difficulty(its.name, row[0]) >= wording.clarity]
        errors = [(text, taught(its.name, wording, (text, right)), right) for text, right in rows[:3]]
        errors = [error for error in errors if error[1] != error[2]]
        if errors:
            shown = [fill(ERROR, {"input": a, "output": b, "expected": c}) for a, b, c in errors]
            return wording, "\n\n".join(shown)


def _diagnosis(its: Family, wording: Wording, rng: Random) -> str:
    if wording.mistake == "chatty":
        return rng.choice(
            ("It does not say that only the answer is wanted.", "It does not ask for the bare answer.")
        )
    verb = rng.choice(("It does not say", "It does not say clearly", "It is not clear"))
    return (
        f"{verb} that {noun_phrase(its.name, rng)} {rng.choice(('is wanted', 'is asked for', 'is needed'))}."
    )


def _diagnosed(its: Family, rng: Random) -> Tree:
    wording, errors = _flawed(its, rng)
    values = {"instruction": wording.text, "errors": errors}
    return _asked(fill(GRADIENT, values), [_diagnosis(its, wording, rng) for _ in range(2)])


def _mended(its: Family, rng: Random) -> Tree:
    wording, errors = _flawed(its, rng)
    values = {"instruction": wording.text, "errors": errors}
    if rng.random() < 0.5:
        return _asked(fill(REFLECT, values), _proposals(its, rng, clear=0.97))
    values["gradient"] = _diagnosis(its, wording, rng)
    return _asked(fill(EDIT, values), _proposals(its, rng, clear=0.97))


def _combined(its: Family, rng: Random) -> Tree:
    pair = [precise(its.name, rng) if rng.random() < 0.6 else partial(its.name, rng) for _ in range(2)]
    clear = 0.95 if any(wording.clarity >= 1 for wording in pair) else 0.5
    values = {"first": pair[0].text, "second": pair[1].text}
    return _asked(fill(CROSSOVER, values), _proposals(its, rng, clear=clear))
