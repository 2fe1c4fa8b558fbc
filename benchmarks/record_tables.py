"""Record score tables, prompts x rows, of the embedded model with the project's engine.

    python -m benchmarks.record_tables                 # five tasks, 64 prompts, 300 rows, minutes a task
    python -m benchmarks.record_tables --tasks negation --rows 100 --out somewhere
    python -m benchmarks.record_tables --tasks negation --rows 500 --precise 3    # few near the best

Writes benchmarks/tables/TASK.csv.gz (with `--precise` TASK_spread.csv.gz): a header `prompt,ROW,ROW,...`,
then a prompt a line, its scores in [0, 1], empty where a cell failed. The prompts are the graded wordings of
benchmarks/embedded/wordings.py, none of which the model was trained on. A quarter of them are precise, and
the model answers all of these about equally well; `--precise` takes fewer, so that few prompts are near the
best. `python -m benchmarks.selection` draws its pools from these tables. Every answer is journaled in the
output folder, so an interrupted recording goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from promptopt import plugins
from promptopt.calls import Caller
from promptopt.contracts.model import Decoding, LanguageModel
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.prompt import Prompt
from promptopt.records import Evaluation, Example, FrozenMap
from promptopt.scoring import Scorer

from .embedded.evaluate import open_model
from .embedded.families import rows as family_rows
from .embedded.wordings import landscape
from .selection.pools import TABLES

TASKS = ("first_word_letter", "last_letters", "letters_list", "negation", "taxonomy_animal")
MAX_TOKENS = 48


def main() -> None:
    """Record the tables asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record_tables")
    parser.add_argument("--model", default="embedded/small", help="a folder or embedded/NAME")
    parser.add_argument("--tasks", default=",".join(TASKS), help="families, comma-separated")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--precise", type=int, default=None, help="prompts that are precise wordings")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--out", type=Path, default=TABLES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = open_model(options.model, options.device)
    for task in options.tasks.split(","):
        name = task if options.precise is None else f"{task}_spread"
        journal = options.out / f"{name}.journal.sqlite"
        prompts = prompts_of(task, options.prompts, options.precise)
        evaluations = record(model, prompts, rows_of(task, options.rows), journal)
        path = options.out / f"{name}.csv.gz"
        path.write_bytes(packed(evaluations))
        journal.unlink()
        means = sorted(evaluation.mean for evaluation in evaluations)
        size = f"{len(evaluations)} prompts x {evaluations[0].met} rows, {path.stat().st_size / 1024:.0f} KiB"
        print(f"{path}: {size}, means {means[0]:.2f} to {means[-1]:.2f}", flush=True)


def prompts_of(task: str, count: int, precise: int | None = None) -> list[Prompt]:
    """Return so many different wordings of a task, of all levels; of these so many precise ones, if given."""
    found: dict[str, str] = {}
    for seed in range(count):
        found |= {w.text: w.level for w in landscape(task, seed) if w.text not in found}
        if precise is None and len(found) >= count:
            return [Prompt(text) for text in _thinned(list(found), count)]
        sure = [text for text, level in found.items() if level == "precise"]
        rest = [text for text, level in found.items() if level != "precise"]
        if precise is not None and len(sure) >= precise and len(rest) >= count - precise:
            texts = [*_thinned(sure, precise), *_thinned(rest, count - precise)]
            return [Prompt(text) for text in texts]
    raise ValueError(f"{count} landscapes of {task} hold too few wordings")


def _thinned(texts: Sequence[str], count: int) -> list[str]:
    """Thin out evenly: the first landscape holds all levels, the next one is not cut off at the vague end."""
    return [texts[place * len(texts) // count] for place in range(count)]


def rows_of(task: str, count: int) -> list[Example]:
    """Return test rows of a task."""
    return [
        Example(str(number), FrozenMap(input=text), answers)
        for number, (text, answers) in enumerate(family_rows(task, "test", count, 0))
    ]


def record(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    rows: Sequence[Example],
    path: Path | str,
    max_tokens: int = MAX_TOKENS,
) -> list[Evaluation]:
    """Score all prompts on all rows, greedily."""
    journal = Journal(path)
    try:
        caller = Caller({"target": model}, journal, Ledger())
        reward = plugins.build("rewards", "exact_match", {"ignore_case": False})
        scorer = Scorer(caller, journal, {"exact_match": reward}, decoding=Decoding(max_tokens))
        return scorer.evaluate(prompts, rows, "exact_match", "search")
    finally:
        journal.close()


def packed(evaluations: Sequence[Evaluation]) -> bytes:
    """Return the table as gzipped CSV, the same bytes for the same scores."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prompt", *dict.fromkeys(cell.example for cell in evaluations[0].cells)])
    for evaluation in evaluations:
        values = ["" if value != value else f"{value:g}" for value in evaluation.row_values]
        writer.writerow([evaluation.prompt, *values])
    return gzip.compress(text.getvalue().encode("utf-8"), mtime=0)


if __name__ == "__main__":
    main()
