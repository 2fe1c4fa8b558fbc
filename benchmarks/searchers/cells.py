"""One cell of the bench: a searcher on a task at a budget; and the file that holds what cells came to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import promptopt
from promptopt.calls import Caller
from promptopt.contracts.model import Decoding, LanguageModel
from promptopt.errors import PromptOptError
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Evaluation, Example
from promptopt.scoring import Scorer
from promptopt.splits import Sizes

from ..embedded.asking import LONG, SHORT
from .contenders import contender
from .tasks import SEARCH, SELECT, Place

FINALISTS = 3
CHOOSING = (FINALISTS + 1) * SELECT
"""Calls for choosing among finalists and seed prompt, which every run gets besides those of the search."""

REWARD = {"name": "exact_match", "ignore_case": False}

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What makes one run of the bench.

    Attributes:
        searcher: its name in the table.
        task: name of the family.
        seed: of rows, seed prompt and run.
        calls: model calls that the search may make, the target's and the proposer's together.
        model: the model, and which version of it.
    """

    searcher: str
    task: str
    seed: int
    calls: int
    model: str


def run(cell: Cell, model: LanguageModel) -> Record:
    """Search, choose, and score the winner and the seed prompt on rows that the run has not seen."""
    place = Place(cell.task, cell.seed)
    seen, unseen = place.rows()
    decoding = Decoding(max_tokens=_limit([*seen, *unseen]))
    record = asdict(cell) | {"start": place.start, "seed_prompt": place.prompt}
    began = time.process_time()
    try:
        study = promptopt.optimize(
            prompt=place.prompt,
            train=seen,
            target=model,
            search=contender(cell.searcher, cell.calls),
            reward=REWARD,
            budget={"calls": cell.calls + CHOOSING},
            sizes=Sizes(search=SEARCH, select=SELECT, test=0),
            finalists=FINALISTS,
            decoding=decoding,
            seed=cell.seed,
            folder=None,
        )
    except PromptOptError as error:
        return record | {"error": str(error)}
    seed_prompt = Prompt.parse(place.prompt, ("input",))
    baseline, proof = prove(model, [seed_prompt, study.best], unseen, decoding)
    return record | {
        "baseline": baseline.mean,
        "score": proof.mean,
        "candidates": len(study.candidates),
        "calls": cell.calls,
        "spent": study.total.calls,
        "tokens": study.total.tokens,
        "stopped": study.stopped,
        "prompt": study.best.instruction,
        "demonstrations": len(study.best.demonstrations),
        "cpu_seconds": round(time.process_time() - began, 2),
    }


def prove(
    model: LanguageModel, prompts: list[Prompt], rows: list[Example], decoding: Decoding
) -> list[Evaluation]:
    """Score prompts on rows, outside of any budget."""
    journal = Journal()
    name = str(REWARD["name"])
    reward = build("rewards", name, {key: value for key, value in REWARD.items() if key != "name"})
    scorer = Scorer(Caller({"target": model}, journal, Ledger()), journal, {name: reward}, decoding=decoding)
    by_id = dict(
        zip(
            dict.fromkeys(one.id for one in prompts),
            scorer.evaluate(list(dict.fromkeys(prompts)), rows, name, "test"),
            strict=True,
        )
    )
    journal.close()
    return [by_id[one.id] for one in prompts]


def _limit(rows: list[Example]) -> int:
    """Return the most tokens that a right reply can need, and two more: what goes on is wrong anyway."""
    most = max(len(answer.encode()) for row in rows for answer in row.answers)
    return min(most + 2, SHORT if most <= SHORT else LONG)


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file, without a line that a kill cut short."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def write(path: Path, record: Record) -> None:
    """Append a record; several processes may do so at once."""
    cut = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # a kill cut the last line short
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(record) + "\n")


def cell_of(record: Record) -> Cell:
    """Return which cell a record is of."""
    return Cell(*(record[name] for name in ("searcher", "task", "seed", "calls", "model")))
