"""A trained prompt generator against the same generator untrained, and against APE, at equal target cells.

    python -m benchmarks.rl --out rl.jsonl                      # all of it; resumes
    python -m benchmarks.rl --out rl.jsonl --tasks echo --seeds 1
    python -m benchmarks.rl --out rl.jsonl --conditional        # a prompt for each input

The tasks want something of the reply (length, certain words, capitals), as in dialogue: a reward judges it, and
a row holds one reply that would do. Where rows tell the instruction, as in benchmarks/searchers, a dozen
proposals of the untrained generator hold a perfect one, and there is nothing to learn.

Every run may ask the target for so many cells while it searches; what APE asks its proposer comes on top.
`untrained` is `rl` with a learning rate of zero: best of N proposals, by the same rows and selector. `ape`
resamples around its best until the cells are spent. Generator, proposer and target are the embedded model.
Scores are those of the winners on rows that no search has seen; differences are paired by task and seed, and
their intervals resample seeds (a task's) or tasks (all).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import promptopt
from promptopt.contracts.model import Decoding
from promptopt.errors import PromptOptError
from promptopt.records import Example
from promptopt.splits import Sizes
from promptopt.proof.stats import format_number, paired_interval

from .embedded.families import rows as family_rows

SIZES = Sizes(search=40, select=40, test=100)
FINALISTS = 3
TOKENS = 32
"""Most tokens of a reply: who wants long ones must not pay for endless ones."""

PROPOSALS = 150
"""Calls of APE's proposer, on top of the cells."""

SMALL_WORDS = ("the", "is", "not", "was", "by", "it", "no", "a")


def words(text: str) -> set[str]:
    """Return the different words of a text."""
    return set(re.findall(r"[a-z']+", text.lower()))


def long(example: Example, reply: str) -> float:
    """Want a hundred characters."""
    return min(1.0, len(reply) / 100)


def small(example: Example, reply: str) -> float:
    """Want four of the small words."""
    return min(1.0, len(words(reply) & set(SMALL_WORDS)) / 4)


def new(example: Example, reply: str) -> float:
    """Want six words that the input does not have."""
    return min(1.0, len(words(reply) - words(example.inputs["input"])) / 6)


def capitals(example: Example, reply: str) -> float:
    """Want capital letters."""
    letters = [letter for letter in reply if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) / len(letters) if letters else 0.0


def letters(example: Example, reply: str) -> float:
    """Want eight letters e."""
    return min(1.0, reply.count("e") / 8)


def figures(example: Example, reply: str) -> float:
    """Want four digits."""
    return min(1.0, sum(letter.isdigit() for letter in reply) / 4)


Answer = Callable[[str, str], str]
TASKS: dict[str, tuple[str, Callable[[Example, str], float], Answer]] = {
    "long": ("negation", long, lambda text, other: f"{text} {other}"),
    "small words": ("negation", small, lambda text, other: f"it is not the case that {text}"),
    "new words": ("negation", new, lambda text, other: other),
    "capitals": ("negation", capitals, lambda text, other: text.upper()),
    "letter e": ("sort", letters, lambda text, other: f"{text}, {other}"),
    "figures": ("antonyms", figures, lambda text, other: f"{text} 1234"),
}
"""By name: whose inputs, what is wanted of a reply, and a reply to a row (given another row) that would do."""

TRAINED: dict[str, Any] = {
    "name": "rl", "steps": 60, "groups": 2, "group_size": 8, "rows": 3, "share": 0.75,
    "training": {"learning_rate": 3e-4, "beta": 0.02, "patience": 60, "save_every": 60},
}  # fmt: skip
CONTENDERS: dict[str, Any] = {
    "rl": TRAINED,
    "untrained": TRAINED | {"training": TRAINED["training"] | {"learning_rate": 0.0}},
    "ape": {"name": "ape", "rounds": 20},
}
Cell = tuple[str, str, int]
"""A contender, a task and a seed."""


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rl")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line")
    parser.add_argument("--model", default="embedded/small")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=2000, help="of the target, for searching")
    parser.add_argument(
        "--conditional", action="store_true", help="the task of a prompt for each input instead"
    )
    options = parser.parse_args()
    seeds = range(options.seeds)
    wanted: list[Cell] = [("conditional", "keywords", seed) for seed in seeds]
    if not options.conditional:
        wanted = [
            (contender, task, seed)
            for seed in seeds
            for task in options.tasks.split(",")
            for contender in options.contenders.split(",")
        ]
    done = {_cell(record) for record in _read(options.out)}
    missing = [cell for cell in wanted if cell not in done]
    with options.out.open("a", encoding="utf-8") as out:
        for number, cell in enumerate(missing, 1):
            record = (conditional if options.conditional else run)(cell, options.model, options.cells)
            out.write(json.dumps(record) + "\n")
            out.flush()
            print(f"{number}/{len(missing)} {' '.join(map(str, cell))}: {_said(record)}", flush=True)
    records = [record for record in _read(options.out) if _cell(record) in set(wanted)]
    print("\n" + "\n".join(_conditional_table(records) if options.conditional else _table(records)))


def run(cell: Cell, model: str, cells: int) -> dict[str, Any]:
    """Let one contender search on one task, and return what came of it."""
    contender, task, seed = cell
    family, reward, answer = TASKS[task]
    texts = [text for text, _ in family_rows(family, "test", SIZES.search + SIZES.select + SIZES.test, seed)]
    others = random.Random(seed).sample(texts, len(texts))
    proving = (FINALISTS + 1) * SIZES.select + 2 * SIZES.test
    record: dict[str, Any] = {"contender": contender, "task": task, "seed": seed, "cells": cells}
    try:
        study = promptopt.optimize(
            prompt="Answer the message.",
            train=[
                {"input": text, "output": answer(text, other)}
                for text, other in zip(texts, others, strict=True)
            ],
            target=model,
            search=CONTENDERS[contender],
            reward=reward,
            budget={"calls": cells + proving + (PROPOSALS if contender == "ape" else 0)},
            sizes=SIZES,
            finalists=FINALISTS,
            decoding=Decoding(max_tokens=TOKENS),
            seed=seed,
            folder=None,
        )
    except PromptOptError as error:
        return record | {"error": str(error)}
    curves = next((note.data["curves"] for note in study.search_notes if "curves" in note.data), [])
    return record | {
        "seed_score": study.verdict.baseline,
        "score": study.verdict.best,
        "candidates": len(study.candidates),
        "target_calls": study.spent["target"].calls,
        "steps": len(curves),
        "curve": [round(point["score"], 3) for point in curves],
        "seconds": study.seconds,
        "prompt": study.best.instruction,
    }


KEYWORDS = {"sentiment": ("positive", "negative"), "even_odd": ("even", "odd"), "larger_animal": ()}
"""Three kinds of input; the reply must hold one of the words (none: one of the input's own)."""


def conditional(cell: Cell, model: str, cells: int) -> dict[str, Any]:
    """Train a generator that reads the input, and return what its prompts are worth on inputs of no training."""
    _, task, seed = cell
    rows = [
        {"input": text, "output": list(wanted) or text.split(", ")[:1]}
        for family, wanted in KEYWORDS.items()
        for text, _ in family_rows(family, "test", 60, seed)
    ]
    search = TRAINED | {"form": "conditional", "steps": 60, "groups": 4, "shortlist": 4, "keep": 2}
    study = promptopt.optimize(
        prompt="Answer the message.", train=rows, target=model, search=search, reward="contains",
        budget={"calls": 2 * cells}, sizes=Sizes(search=120, select=20, test=40), seed=seed, finalists=1,
        folder=None,
    )  # fmt: skip
    held = next(note.data for note in study.search_notes if "held_after" in note.data)
    before, after = fmean(held["held_before"]), fmean(held["held_after"])
    return {
        "contender": "conditional", "task": task, "seed": seed, "seed_score": before, "score": after,
        "rows": len(held["rows"]), "target_calls": study.spent["target"].calls, "seconds": study.seconds,
    }  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------


def _table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line a task: scores, and paired differences with 95% intervals."""
    found = {_cell(record): record for record in records if "error" not in record}
    names = [name for name in CONTENDERS if any(cell[0] == name for cell in found)]
    tasks = [task for task in TASKS if any(cell[1] == task for cell in found)]
    rivals = [name for name in names if name != "rl"] if "rl" in names else []
    lines = [
        _line(["task", "prompt to beat", *names, *(f"rl minus {rival}" for rival in rivals), "target calls"])
    ]
    lines.append(_line(["---"] * (3 + len(names) + len(rivals))))
    gaps: dict[str, list[tuple[str, float]]] = {rival: [] for rival in rivals}
    for task in tasks:
        mine = {cell: record for cell, record in found.items() if cell[1] == task}
        by_name = {name: [r["score"] for c, r in mine.items() if c[0] == name] for name in names}
        columns = [task, format_number(fmean(r["seed_score"] for r in mine.values()))]
        columns += [format_number(fmean(scores)) if scores else "-" for scores in by_name.values()]
        for rival in rivals:
            pairs = [
                record["score"] - mine[rival, task, seed]["score"]
                for (name, _, seed), record in mine.items()
                if name == "rl" and (rival, task, seed) in mine
            ]
            gaps[rival] += [(task, gap) for gap in pairs]
            columns.append(_difference(pairs))
        calls = [f"{fmean(r['target_calls'] for c, r in mine.items() if c[0] == name):.0f}" for name in names]
        lines.append(_line([*columns, " / ".join(calls)]))
    for rival, both in gaps.items():
        wins = sum(fmean(g for t, g in both if t == task) > 0 for task in tasks)
        text = _difference([gap for _, gap in both], [task for task, _ in both])
        lines.append(f"\nrl minus {rival}, all tasks: {text}; ahead on {wins} of {len(tasks)}")
    failed = [record for record in records if "error" in record]
    return lines + [f"failed: {' '.join(map(str, _cell(record)))}: {record['error']}" for record in failed]


def _conditional_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return what untrained and trained generators are worth on inputs of no training, and how many times more."""
    lines = [_line(["seed", "rows", "untrained", "trained", "times"]), _line(["---"] * 5)]
    for record in records:
        before, after = record["seed_score"], record["score"]
        times = format_number(after / before) if before else "-"
        cells = [str(record["seed"]), str(record["rows"]), format_number(before), format_number(after), times]
        lines.append(_line(cells))
    return [
        *lines,
        f"\ntrained minus untrained: {_difference([r['score'] - r['seed_score'] for r in records])}",
    ]


def _difference(gaps: Sequence[float], groups: Sequence[str] | None = None) -> str:
    if not gaps:
        return "-"
    return f"{format_number(fmean(gaps), sign=True)} {paired_interval(gaps, seed=0, groups=groups)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Read the results that are there; a line cut short by a kill is left out."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _cell(record: dict[str, Any]) -> Cell:
    return record["contender"], record["task"], record["seed"]


def _said(record: dict[str, Any]) -> str:
    if "error" in record:
        return str(record["error"])
    scores = f"{record['seed_score']:.2f} -> {record['score']:.2f}"
    return f"{scores}, {record['target_calls']} calls, {record['seconds']:.0f} s"


if __name__ == "__main__":
    main()
