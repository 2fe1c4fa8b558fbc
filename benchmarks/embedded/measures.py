"""The measures: each takes a case (family, seed, model) and returns one frozen result.

Every cell is greedy and right if the stripped reply is an accepted output. A measure asks all its cells
at once. To add one: a result in `results.py`, a function, a line in `MEASURES`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random

from promptopt.programs import ChainOfThought

from .asking import WORKED, Cell, Expected, cells, is_right, layout, read_answer
from .case import Case, distinct
from .improvement import improvement
from .metrics import softmax
from .proposals import ape
from .results import (
    RESULTS,
    Calibration,
    Demonstrations,
    Landscape,
    RealRows,
    Result,
    Scored,
    Speed,
    Steps,
    StepsBeyond,
    Worked,
    ZeroShot,
)

DRAWS = 3
"""Training, vague and misleading wordings of a seed."""
COUNTS = (1, 2, 4, 8)
SETS = 5
"""Sets of demonstrations of a seed: one set alone could be lucky, one a row could not be read in batches."""
TRAIN_POOL = 200
STEP_BY_STEP = "Think step by step."
ANSWER_TOKENS = 8
"""Tokens of the words around an answer: "The answer is" and a full stop."""
SPEED_FAMILIES = ("singular_to_plural", "sentiment")
"""Short and long inputs; the table shows the slower one."""
SPEED_PROMPTS, SPEED_TOKENS = 16, 8


def zero_shot(case: Case) -> ZeroShot:
    """Measure no, vague, misleading, training, human and held-out wordings."""
    material, vague, misleading = case.material, case.rng("vague"), case.rng("misleading")
    wordings: dict[str, list[str]] = {
        "none": [""],
        "vague": distinct(lambda: material.vague(vague), DRAWS),
        "misleading": distinct(lambda: material.misleading(case.name, misleading), DRAWS),
        "training": case.training(DRAWS),
        "human": case.human,
        "held_out": case.held_out,
    }
    found = case.engine.accuracies(
        {(kind, text): cells(text, case.rows) for kind, texts in wordings.items() for text in texts}
    )
    by_kind: dict[str, tuple[Scored, ...]] = {
        kind: tuple((text, found[kind, text]) for text in texts)
        for kind, texts in wordings.items()
        if kind != "none"
    }
    return ZeroShot(none=found["none", ""], **by_kind)


def landscape(case: Case) -> Landscape:
    """Measure the many wordings, good and bad, that a search would meet."""
    wordings = {wording.text: wording.level for wording in case.material.landscape(case.name, case.seed)}
    found = case.engine.accuracies({text: cells(text, case.rows) for text in wordings})
    return Landscape(tuple((level, text, found[text]) for text, level in wordings.items()))


def real_rows(case: Case) -> RealRows | None:
    """Measure people's wordings on rows of a public set; None where there are none."""
    rows = list(case.material.real_rows(case.name, case.split))
    if not rows:
        return None
    rows = case.rng("real").sample(rows, min(case.n, len(rows)))
    texts = case.human or case.held_out
    found = case.engine.accuracies({text: cells(text, rows) for text in texts})
    return RealRows(tuple((text, found[text]) for text in texts))


# -- demonstrations


def demonstrations(case: Case) -> Demonstrations:
    """Measure 1, 2, 4 and 8 right demonstrations and 8 wrong ones, without an instruction.

    Each set of demonstrations serves a part of the rows; smaller sets are the beginnings of larger ones.
    """
    rng, most = case.rng("demonstrations"), max(COUNTS)
    pool = list(dict(case.material.rows(case.name, "train", TRAIN_POOL, case.seed)).items())
    groups: dict[object, list[Cell]] = {key: [] for key in (*COUNTS, "wrong")}
    for part in range(SETS):
        rows = case.rows[part::SETS]
        tested = {x for x, _ in rows}
        # A closed family may have few other inputs; then some of the tested ones are shown, too.
        drawn = sorted(rng.sample(pool, len(pool)), key=lambda row: row[0] in tested)[:most]
        right = [(x, accepted[0]) for x, accepted in drawn]
        wrong = wrong_outputs(drawn, case.family.labels, rng)
        shown = {count: right[:count] for count in COUNTS} | {"wrong": wrong}
        for key, pairs in shown.items():
            groups[key] += [Cell(layout("", x, pairs), accepted) for x, accepted in rows]
    found = case.engine.accuracies(groups)
    right_ones = tuple(found[count] for count in COUNTS)
    return Demonstrations(bool(case.family.labels), COUNTS, right_ones, found["wrong"])


def wrong_outputs(rows: Sequence[Expected], labels: Sequence[str], rng: Random) -> list[tuple[str, str]]:
    """Pair inputs with wrong outputs: a wrong label at random, or without labels another input's output."""
    if labels:
        return [(x, rng.choice([label for label in labels if label not in ok])) for x, ok in rows]

    def moved(by: int) -> list[tuple[str, str]]:
        return [(x, rows[(k + by) % len(rows)][1][0]) for k, (x, _) in enumerate(rows)]

    def still_right(pairs: Sequence[tuple[str, str]]) -> int:
        return sum(output in accepted for (_, output), (_, accepted) in zip(pairs, rows, strict=True))

    # Equal outputs of different inputs stay right when they change places: the shift with the fewest.
    return min((moved(by) for by in range(1, len(rows))), key=still_right, default=moved(0))


# -- steps and calibration


def chain_of_thought(case: Case) -> Steps | None:
    """Measure a training wording answered at once, in two steps, and in one worked reply.

    None for a family of one step.
    """
    if case.family.steps is None:
        return None
    return Steps.mean([_worked(case, text, case.rows) for text in case.training(1)])


def chain_of_thought_beyond(case: Case) -> StepsBeyond | None:
    """Measure the same on rows beyond those taught, with several training wordings; None without rows."""
    if not case.beyond:
        return None
    return StepsBeyond.mean([_worked(case, text, case.beyond) for text in case.training(DRAWS)])


def _worked(case: Case, text: str, rows: Sequence[Expected]) -> Worked:
    asked = cells(text, rows)
    limits = [cell.limit + ANSWER_TOKENS for cell in asked]
    two_steps = case.engine.run(ChainOfThought(), [cell.prompt for cell in asked], (WORKED, max(limits)))
    sentence = text if text.endswith((".", "?", "!")) else f"{text}."
    worked = [layout(f"{sentence} {STEP_BY_STEP}", x) for x, _ in rows]
    one_call = case.engine.greedy(worked, [WORKED] * len(worked))
    return Worked(
        direct=case.engine.accuracies({"direct": asked})["direct"],
        two_steps=share_right(two_steps, rows),
        one_call=share_right(one_call, rows),
    )


def share_right(replies: Sequence[str], rows: Sequence[Expected]) -> float:
    """Return the share of replies whose answer is right."""
    right = [is_right(read_answer(r), accepted) for r, (_, accepted) in zip(replies, rows, strict=True)]
    return sum(right) / len(right)


def calibration(case: Case) -> Calibration | None:
    """Choose the likeliest label of each row, with a training and a held-out wording; None without labels."""
    labels = case.family.labels
    if not labels:
        return None
    texts = case.training(1) + case.held_out[case.seed % max(1, len(case.held_out)) :][:1]
    asked = [(layout(text, x), accepted) for text in texts for x, accepted in case.rows]
    found = case.engine.likelihoods([(prompt, label) for prompt, _ in asked for label in labels])
    confidence, right = [], []
    for number, (_, accepted) in enumerate(asked):
        chances = softmax(found[number * len(labels) :][: len(labels)])
        chosen = max(range(len(labels)), key=chances.__getitem__)
        confidence.append(chances[chosen])
        right.append(labels[chosen] in accepted)
    return Calibration(tuple(confidence), tuple(right))


# -- speed


def speed(case: Case) -> Speed | None:
    """Measure the CPU seconds of 16 prompts x n rows, greedy, up to 8 tokens; first seed, two families.

    The model is loaded before; laying out and tokenising count. Other measures' processes share the
    cores' caches, so the figure is rather too high than too low.
    """
    if case.name not in SPEED_FAMILIES or case.seed != 0:
        return None
    prompts = [layout(text, x) for text in case.training(SPEED_PROMPTS) for x, _ in case.rows]
    case.engine.greedy(prompts[:1], [1])
    before = time.process_time()
    case.engine.greedy(prompts, [SPEED_TOKENS] * len(prompts))
    return Speed(len(prompts) // len(case.rows), len(case.rows), time.process_time() - before)


MEASURES: Mapping[str, Callable[[Case], Result | None]] = {
    "zero_shot": zero_shot,
    "landscape": landscape,
    "demonstrations": demonstrations,
    "ape": ape,
    "chain_of_thought": chain_of_thought,
    "chain_of_thought_beyond": chain_of_thought_beyond,
    "calibration": calibration,
    "improvement": improvement,
    "real_rows": real_rows,
    "speed": speed,
}
assert MEASURES.keys() == RESULTS.keys()
