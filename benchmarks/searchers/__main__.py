"""Every searcher on the same tasks, at the same budgets, from the same weak prompts.

    python -m benchmarks.searchers --out searchers.jsonl             # what is missing, then the tables
    python -m benchmarks.searchers --out searchers.jsonl --table     # the tables of what is there
    python -m benchmarks.searchers --out searchers.jsonl --searchers ape,opro --tasks sort --seeds 1

A run is an ordinary one, of the embedded model as target and proposer. The search may make so many model
calls (--calls), the target's and the proposer's together, and every run gets the same number of calls more to
choose among its finalists. Then the winner is scored on rows that the run has not seen.

Each run is one line of --out, written when it ends; what is there already, of the same version of the model,
is not run again. Runs on one task and seed share the model's answers, since most ask it the same things, but
each is charged for all that it asks.

The floors are `paraphrases` (best of n, sees no row) and `random_demos` (random demonstrations). Differences
to them are paired by task and seed; intervals resample tasks with all their seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from promptopt.errors import ConfigError, PromptOptError, did_you_mean
from promptopt.models.embedded import EmbeddedModel

from .cells import Cell, Record, cell_of, read, run, write
from .contenders import NAMES
from .remembering import Remembering
from .table import print_tables
from .tasks import TASKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then print the tables."""
    options = parser().parse_args(arguments)
    try:
        wanted = _wanted(options)
    except PromptOptError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not options.table:
        _run(wanted, options)
    records = {cell_of(record): record for record in read(options.out)}
    print_tables([records[cell] for cell in wanted if cell in records])
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.searchers")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line")
    parser.add_argument("--size", default="small", help="of the embedded model")
    parser.add_argument("--searchers", default=",".join(NAMES))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", default="200,600", help="budgets of the search")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="run nothing")
    return parser


def _wanted(options: argparse.Namespace) -> list[Cell]:
    """Return the cells that the options ask for, task by task.

    Raises:
        ConfigError: no such searcher or task.
        PluginError: no such size of the model.
    """
    model = _version(EmbeddedModel(options.size))
    return [
        Cell(searcher, task, seed, calls, model)
        for seed in range(options.seeds)
        for task in _known("--tasks", options.tasks.split(","), TASKS)
        for calls in sorted(map(int, options.calls.split(",")))
        for searcher in _known("--searchers", options.searchers.split(","), NAMES)
    ]


def _known(where: str, given: list[str], names: Collection[str]) -> list[str]:
    for name in given:
        if name not in names:
            raise ConfigError(where, "no such name", got=name, do=did_you_mean(name, list(names)))
    return given


def _version(model: EmbeddedModel) -> str:
    return f"embedded/{model.name} {model.identity.revision[:12]}"


def _run(wanted: list[Cell], options: argparse.Namespace) -> None:
    done = {cell_of(record) for record in read(options.out)}
    missing = [cell for cell in wanted if cell not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {options.out} already", flush=True)
    places: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in missing:
        places[cell.task, cell.seed].append(cell)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    began, number, cpu = time.monotonic(), 0, 0.0
    with ProcessPoolExecutor(options.processes) as pool:
        running = [pool.submit(run_place, cells, options.size, options.out) for cells in places.values()]
        for finished in as_completed(running):
            records = finished.result()
            number += len(records)
            cpu += sum(record.get("cpu_seconds", 0.0) for record in records) / 60
            took = f"{(time.monotonic() - began) / 60:.1f} minutes ({cpu:.1f} of CPU)"
            print(f"{number}/{len(missing)} runs, {took}: {_said(records)}", flush=True)


def run_place(cells: list[Cell], size: str, out: Path) -> list[Record]:
    """Run all cells of a task and seed on one memory of answers."""
    model = Remembering(EmbeddedModel(size))
    records = []
    for cell in cells:
        records.append(run(cell, model))
        write(out, records[-1])
    return records


def _said(records: list[Record]) -> str:
    scores = [f"{record['searcher']} {record.get('score', 'failed')}" for record in records]
    first = records[0]
    return f"{first['task']} {first['seed']} ({first['start']}): {', '.join(scores)}"


if __name__ == "__main__":
    sys.exit(main())
