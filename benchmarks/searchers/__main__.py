"""Every searcher on the same tasks, at the same budget, from the same unclear prompts.

    python -m benchmarks.searchers --out searchers.jsonl            # all: hours on two cores
    python -m benchmarks.searchers --out searchers.jsonl --searchers ape,opro --tasks negation --seeds 1

A run is an ordinary one: the searcher sees search rows, the winner is chosen on select rows and proved on
test rows. Each run may make so many model calls, target's and proposer's together. Target and proposer are
the embedded model. The seed prompt is an unclear wording of the task, another one for every seed, which the
model was not trained on. What --out holds already is not run again.

The last table sets each searcher beside the floors, `paraphrases` (best of n, sees no row) and
`random_demos` (random demonstrations), paired by task and seed; its intervals resample tasks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import promptopt
from promptopt.errors import PromptOptError
from promptopt.splits import Sizes

from ..embedded.families import rows as family_rows
from ..embedded.wordings import landscape
from .contenders import CONTENDERS, TASKS
from .table import print_tables

SIZES = Sizes(search=60, select=60, test=120)
Cell = tuple[str, str, int]
"""A searcher, a task and a seed."""


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.searchers")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line")
    parser.add_argument("--model", default="embedded/small")
    parser.add_argument("--searchers", default=",".join(CONTENDERS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1200, help="of each run; choosing and proving take 600")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    wanted = [
        (searcher, task, seed)
        for seed in range(options.seeds)
        for task in options.tasks.split(",")
        for searcher in options.searchers.split(",")
    ]
    done = {_cell(record) for record in read(options.out)}
    missing = [cell for cell in wanted if cell not in done]
    with ProcessPoolExecutor(options.processes) as pool, options.out.open("a", encoding="utf-8") as out:
        running = {pool.submit(run, cell, options.model, options.calls): cell for cell in missing}
        for number, finished in enumerate(as_completed(running), 1):
            record = finished.result()
            out.write(json.dumps(record) + "\n")
            out.flush()
            print(f"{number}/{len(missing)} {_said(record)}", flush=True)
    print_tables([record for record in read(options.out) if _cell(record) in set(wanted)])


def run(cell: Cell, model: str, calls: int) -> dict[str, Any]:
    """Run one searcher on one task, and return what came of it."""
    searcher, task, seed = cell
    rows = family_rows(task, "test", SIZES.search + SIZES.select + SIZES.test, seed)  # type: ignore[operator]
    record: dict[str, Any] = {"searcher": searcher, "task": task, "seed": seed, "calls_allowed": calls}
    try:
        study = promptopt.optimize(
            prompt=seed_prompt(task, seed),
            train=[{"input": text, "output": answers[0]} for text, answers in rows],
            target=model,
            search=CONTENDERS[searcher],
            reward={"name": "exact_match", "ignore_case": False},
            budget={"calls": calls},
            sizes=SIZES,
            seed=seed,
            folder=None,
        )
    except PromptOptError as error:
        return record | {"error": str(error)}
    verdict = study.verdict
    return record | {
        "seed_score": verdict.baseline,
        "score": verdict.best,
        "gain": verdict.difference,
        "reliable": verdict.reliable,
        "candidates": len(study.candidates),
        "calls": study.total.calls,
        "tokens": study.total.tokens,
        "seconds": study.seconds,
        "prompt": study.best.instruction,
        "demonstrations": len(study.best.demonstrations),
    }


def seed_prompt(task: str, seed: int) -> str:
    """Return the least clear wording that still says something of the task: a user's first attempt."""
    partial = [wording for wording in landscape(task, seed) if wording.level.startswith("partial")]
    return min(partial, key=lambda wording: wording.clarity).text


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Read the results that are there; a line cut short by a kill is left out."""
    if path.is_file():
        yield from _records(path.read_text(encoding="utf-8").splitlines())


def _records(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _cell(record: dict[str, Any]) -> Cell:
    return record["searcher"], record["task"], record["seed"]


def _said(record: dict[str, Any]) -> str:
    name = " ".join(str(part) for part in _cell(record))
    if "error" in record:
        return f"{name}: {record['error']}"
    return f"{name}: {record['seed_score']:.2f} -> {record['score']:.2f}, {record['calls']} calls"


if __name__ == "__main__":
    main()
