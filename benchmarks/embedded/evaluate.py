"""Evaluate language models on the families, and append every result to a file at once.

    python -m benchmarks.embedded.evaluate --model embedded/small --out results.jsonl
    python -m benchmarks.embedded.evaluate --model runs/small/latest --split dev --quick --out dev.jsonl
    python -m benchmarks.embedded.table results.jsonl

Each process uses one thread. What the file already holds (same weights, family, measure, seed, split and
number of rows) is not measured again, so an interrupted evaluation goes on where it stopped. Results
depend on the families and wordings, too: after changing those, begin a new file.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from promptopt.errors import ConfigError, PromptOptError, did_you_mean
from promptopt.models.embedded import EmbeddedModel
from promptopt.models.local import LocalModel

from .asking import Engine
from .case import Case
from .material import Material, load_material
from .measures import MEASURES
from .results import Measured, Record, read_records

EMBEDDED = "embedded/"
SAFETENSORS_HEADER = 8
"""A safetensors file begins with the length of its JSON header in so many bytes."""


@dataclass(frozen=True)
class Work:
    """A model, and what to measure of it."""

    spec: str
    device: str
    of: Measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _options(arguments)
    try:
        work = plan(options)
        finished = {record.of for record in read_records([options.out] if options.out.exists() else [])}
        todo = [item for item in work if item.of not in finished]
        print(f"{len(work) - len(todo)} of {len(work)} are in {options.out} already", file=sys.stderr)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a", encoding="utf-8") as stream:
            for record in _shown(measured(todo, options.processes), len(todo)):
                stream.write(record.line() + "\n")
                stream.flush()
    except PromptOptError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def plan(options: argparse.Namespace) -> list[Work]:
    """List what the options ask for, model by model, seed by seed.

    Raises:
        ConfigError: an unknown family, measure or model, or two models of one name.
    """
    material = load_material()
    families = _chosen("family", options.families, material.families)
    measures = _chosen("measure", options.measures, MEASURES)
    work: list[Work] = []
    labels: dict[str, str] = {}
    for spec in options.model:
        model = open_model(spec, options.device)
        label = Path(model.name).expanduser().resolve().name
        if labels.setdefault(label, spec) != spec:
            raise ConfigError("--model", "two models have one name", got=[labels[label], spec])
        version, parameters = model.identity.revision[:16], count_parameters(model._folder)
        work += [
            Work(
                spec,
                options.device,
                Measured(label, version, parameters, family, measure, seed, options.split, options.n),
            )
            for seed in range(options.seeds)
            for family in families
            for measure in measures
        ]
    return work


def measured(work: Sequence[Work], processes: int) -> Iterator[Record]:
    """Do the work, and yield records as they are finished."""
    # One thread each, also in the tokenizer: more would wait for each other, and CPU seconds would mislead.
    os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    if processes == 1:
        yield from map(measure, work)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        futures = [pool.submit(measure, item) for item in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measure(work: Work) -> Record:
    """Measure one thing of one family."""
    of, engine = work.of, Engine(open_model(work.spec, work.device))
    case = Case(engine, material(), of.family, of.seed, of.split, of.n)
    began = time.perf_counter()
    result = MEASURES[of.measure](case)
    seconds = round(time.perf_counter() - began, 2)
    return Record(of, result, len(case.rows), engine.unanswered, seconds)


@lru_cache(maxsize=1)
def material() -> Material:
    """Return the families and wordings, loaded once in each process."""
    return load_material()


@lru_cache(maxsize=1)
def open_model(spec: str, device: str) -> LocalModel:
    """Return the model that a folder or `embedded/NAME` stands for; its weights are read when it is asked."""
    if spec.startswith(EMBEDDED):
        return EmbeddedModel(spec.removeprefix(EMBEDDED), device=device, threads=1)
    return LocalModel(spec, device=device, threads=1)


def count_parameters(folder: Path) -> int:
    """Count the weights in a model folder from the headers of its safetensors files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(SAFETENSORS_HEADER), "little")
            header = json.loads(stream.read(length))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


def _shown(records: Iterator[Record], total: int) -> Iterator[Record]:
    """Pass records on, with a progress bar on standard error."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=total)
        for record in records:
            of = record.of
            progress.update(bar, advance=1, description=f"{of.model} {of.family} {of.measure} {of.seed}")
            yield record


def _chosen(what: str, given: str, known: Iterable[str]) -> list[str]:
    """Return the names in a comma-separated list, all known ones for an empty list."""
    known = list(known)
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"--{what}", f"no such {what}: {name!r}", do=did_you_mean(name, known))
    return names or known


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedded.evaluate", description="Evaluate models on the families."
    )
    parser.add_argument("--model", action="append", required=True, help="a folder or embedded/NAME")
    parser.add_argument("--split", choices=("test", "dev"), default="test")
    parser.add_argument("--n", type=int, help="rows of a cell (100)")
    parser.add_argument("--seeds", type=int, help="evaluation seeds (3)")
    parser.add_argument("--families", default="", help="comma-separated; all by default")
    parser.add_argument(
        "--measures", default="", help=f"comma-separated; all by default: {', '.join(MEASURES)}"
    )
    parser.add_argument("--out", type=Path, default=Path("evaluation.jsonl"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument(
        "--quick", action="store_true", help="40 rows, one seed, zero_shot only, if not given"
    )
    options = parser.parse_args(arguments)
    options.n = options.n or (40 if options.quick else 100)
    options.seeds = options.seeds or (1 if options.quick else 3)
    if options.quick:
        options.measures = options.measures or "zero_shot"
    return options


if __name__ == "__main__":
    sys.exit(main())
