"""The local engine beside others on the same cells: `python -m benchmarks.engine [--part NAME]`.

Times are CPU seconds of runs that take turns in one process (seconds on a GPU). Slow contenders run a
sample of the cells, and their time is scaled to all. Every share and difference is measured, here and now.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from promptopt.models import _kernels
from promptopt.models._batch import Job, Pair

from .contenders import Harness, continuous, generate, loop, our_tokens, ours, padded, ranked, unaided
from .floor import Floor, Rates
from .measure import Bench, peak, seconds, table
from .models import SHAPES, build
from .workloads import COMPLETIONS, LIKELIHOODS, Likelihoods, distinct

LEAST = {"loop": 1, "sorted 128": 128}
"""Fewest cells in a rival's sample, 16 if not here: part of a batch would tell what nobody runs."""
CHECKED = 48
"""Cells of a workload whose log-probabilities are compared."""
GROWTH = (
    ("inputs", 2, 4, 200), ("inputs", 2, 16, 200), ("inputs", 2, 64, 200),
    ("prompts", 1, 16, 200), ("prompts", 4, 16, 200), ("prompts", 16, 16, 200),
    ("length", 2, 32, 25), ("length", 2, 32, 100), ("length", 2, 32, 400), ("length", 2, 32, 1600),
)  # fmt: skip
"""What grows; prompts, inputs, tokens of a prompt."""


def likelihoods(model: Any, bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Score the workloads; return the records."""
    rivals: dict[str, Callable[[Sequence[Pair]], list[float]]] = {
        "loop": partial(loop, model),
        "padded 16": partial(padded, model),
        "sorted 16": partial(ranked, model, batch=16),
    }
    if bench.gpu:
        rivals["sorted 128"] = partial(ranked, model, batch=128)
    if options.alone:
        rivals = {}
    elif Harness.installed():
        harness = bench.attempt("lm-eval", lambda: Harness(model))
        if harness is not None:
            rivals["lm-eval"] = harness
    exact = copy.deepcopy(model).float() if model.dtype != torch.float32 else None
    rates = Rates.measured(model.dtype, bench.device)
    bench.write({"rates": {"TFLOP/s": rates.operations / 1e12, "GB/s": rates.bytes / 1e9}})
    return [
        _likelihood(model, exact, workload, rivals, rates, bench, options)
        for workload in LIKELIHOODS
        if options.workload in (None, workload.name)
    ]


def _likelihood(
    model: Any,
    exact: Any,
    workload: Likelihoods,
    rivals: Mapping[str, Callable[[Sequence[Pair]], list[float]]],
    rates: Rates,
    bench: Bench,
    options: argparse.Namespace,
) -> dict[str, Any]:
    pairs = list(dict.fromkeys(workload.pairs(options.prompts, options.inputs, model.config.vocab_size)))
    tokens = distinct([pair.prompt + pair.continuation[:-1] for pair in pairs])
    record: dict[str, Any] = {"likelihood": workload.name, "cells": len(pairs), "distinct tokens": tokens}
    floor, whole = Floor(), Floor()

    def seen() -> list[float]:
        with whole.seeing_whole(model):
            ours(model, pairs)
        with floor.seeing(model):
            return ours(model, pairs)

    found = bench.attempt("ours", seen)
    groups = shuffled(pairs)
    runs: dict[str, Callable[[], object]] = {}
    if found is not None:
        runs["ours"] = lambda: ours(model, pairs)
        if bench.attempt("floor", floor.run) is None and "floor" not in bench.failed:
            runs["floor"] = floor.run
            runs["linear"] = lambda: floor.run(attention=False)
            runs["whole floor"] = whole.run
        if not bench.gpu and _kernels.loaded() is not None:
            runs["without kernels"] = lambda: unaided(model, pairs)
    scale = {}
    for name, rival in rivals.items():
        sample = bench.cut(name, rival, chunks(groups, LEAST.get(name, 16)))
        if sample:
            scale[name] = extent(pairs, bench) / extent(sample, bench)
            runs[name] = lambda rival=rival, sample=sample: rival(sample)  # type: ignore[misc]
    times = bench.in_turns(runs)
    times = {name: value * scale.get(name, 1) for name, value in times.items()}
    mine = times.get("ours")
    if found is not None and mine is not None:
        record |= {
            "ours, s": mine,
            "tokens/s": tokens / mine,
            "share of the floor": times["floor"] / mine if "floor" in times else None,
            "share of all layers' floor": times["whole floor"] / mine if "whole floor" in times else None,
            "share of linear layers": times["linear"] / mine if "linear" in times else None,
            "share of the roofline": floor.roofline(rates) / mine,
            "MiB": bench.peak(runs["ours"]),
            "times ours": {
                name: times[name] / mine for name in (*rivals, "without kernels") if name in times
            },
        }
        checked = [pair for group in groups for pair in group][:CHECKED]
        table_ = dict(zip(pairs, found, strict=True))
        record |= bench.attempt("check", lambda: differences(model, exact, checked, table_)) or {}
    bench.write(record)
    return record


def differences(model: Any, exact: Any, pairs: Sequence[Pair], found: Mapping[Pair, float]) -> dict[str, Any]:
    """Return the largest differences in log-probability, and the mean ones to float32."""
    plain = loop(model, pairs)
    values = [found[pair] for pair in pairs]
    record: dict[str, Any] = {"max to the loop": _apart(values, plain)[0]}
    if exact is not None:
        reference = loop(exact, pairs)
        record["to float32"] = {
            name: value
            for who, those in (("ours", values), ("loop", plain))
            for name, value in zip((f"{who} max", f"{who} mean"), _apart(those, reference), strict=True)
        }
        record["float32: max to the loop"] = _apart(ours(exact, pairs), reference)[0]
    return record


def _apart(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    apart = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return max(apart), sum(apart) / len(apart)


def shuffled(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return the cells of each context (all its options), the contexts in random order."""
    groups: dict[tuple[int, ...], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.prompt, []).append(pair)
    order = list(groups.values())
    random.Random(1).shuffle(order)
    return order


def chunks(groups: Sequence[list[Pair]], least: int) -> list[list[Pair]]:
    """Join groups that follow each other until each holds so many cells; the last takes what is left."""
    joined: list[list[Pair]] = [[]]
    for group in groups:
        if len(joined[-1]) >= least:
            joined.append([])
        joined[-1] += group
    if len(joined) > 1 and len(joined[-1]) < least:
        joined[-2] += joined.pop()
    return joined


def extent(pairs: Sequence[Pair], bench: Bench) -> int:
    """Return what a rival's time grows with: tokens; cells on a GPU, where launching takes the time."""
    return len(pairs) if bench.gpu else sum(pair.width for pair in pairs)


def completions(model: Any, bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Complete the workloads: ours and `generate`, then transformers' continuous batching; return records."""
    rates = Rates.measured(model.dtype, bench.device)
    bench.write({"rates": {"TFLOP/s": rates.operations / 1e12, "GB/s": rates.bytes / 1e9}})
    chosen = {
        workload.name: workload.jobs(options.inputs * 2, model.config.vocab_size)
        for workload in COMPLETIONS
        if options.workload in (None, workload.name)
    }
    records = [_completion(model, name, jobs, rates, bench) for name, jobs in chosen.items()]
    if options.continuous:
        records += bench.attempt("continuous", lambda: _continuous(model, chosen, records, bench)) or []
    return records


def _completion(model: Any, name: str, jobs: Sequence[Job], rates: Rates, bench: Bench) -> dict[str, Any]:
    tokens = sum(job.decoding.max_tokens for job in jobs)
    record: dict[str, Any] = {"greedy tokens": name, "jobs": len(jobs), "tokens": tokens}
    floor = Floor()

    def seen() -> list[list[int]]:
        with floor.seeing(model):
            return our_tokens(model, jobs)

    found = bench.attempt("ours", seen)
    runs: dict[str, Callable[[], object]] = {}
    if found is not None:
        runs["ours"] = lambda: our_tokens(model, jobs)
        if bench.attempt("floor", floor.run) is None and "floor" not in bench.failed:
            runs["floor"] = floor.run
    scale = {}
    for batch in (16, 128) if bench.gpu else (16,):
        rival = partial(generate, model, batch=batch)
        label = f"generate {batch}"
        sample = bench.cut(label, rival, [jobs[at : at + batch] for at in range(0, len(jobs), batch)])
        if sample:
            scale[label] = tokens / sum(job.decoding.max_tokens for job in sample)
            runs[label] = lambda rival=rival, sample=sample: rival(sample)  # type: ignore[misc]
    times = bench.in_turns(runs)
    times = {label: value * scale.get(label, 1) for label, value in times.items()}
    mine = times.get("ours")
    if found is not None and mine is not None:
        some = jobs[:16]
        plain = bench.attempt("same", lambda: generate(model, some)) or []
        record |= {
            "ours, s": mine,
            "tokens/s": tokens / mine,
            "forwards": len(floor.forwards),
            "share of the floor": times["floor"] / mine if "floor" in times else None,
            "share of the roofline": floor.roofline(rates) / mine,
            "MiB": bench.peak(runs["ours"]),
            "times ours": {label: times[label] / mine for label in scale if label in times},
            "same replies": f"{sum(a == b for a, b in zip(found, plain, strict=False))}/{len(plain)}",
        }
    bench.write(record)
    return record


def _continuous(
    model: Any, chosen: Mapping[str, Sequence[Job]], before: Sequence[Mapping[str, Any]], bench: Bench
) -> list[dict[str, Any]]:
    every = [job for jobs in chosen.values() for job in jobs]
    attention = model.config._attn_implementation
    sizes = max(len(job.prompt) for job in every), max(job.decoding.max_tokens for job in every)
    records = []
    started = continuous(model, *sizes, max(map(len, chosen.values())))
    try:
        begun: list[Callable[[Sequence[Job]], list[list[int]]]] = []
        took = seconds(lambda: begun.append(started.__enter__()), bench.device)
        try:
            bench.write({"continuous batching: seconds to start": took})
            for (name, jobs), known in zip(chosen.items(), before, strict=True):
                begun[0](jobs[:16])
                time = bench.in_turns({"continuous": lambda jobs=jobs: begun[0](jobs)})  # type: ignore[misc]
                if "continuous" not in time:
                    break
                tokens = sum(job.decoding.max_tokens for job in jobs)
                record: dict[str, Any] = {
                    "greedy tokens": name,
                    "continuous batching, s": time["continuous"],
                    "tokens/s": tokens / time["continuous"],
                }
                if "ours, s" in known:
                    record["times ours"] = {"continuous": time["continuous"] / known["ours, s"]}
                records.append(record)
                bench.write(record)
        finally:
            started.__exit__(None, None, None)
    finally:
        model.set_attn_implementation(attention)
    return records


def growth(model: Any, bench: Bench, _: argparse.Namespace) -> list[dict[str, Any]]:
    """Return how the cost of a cell moves with the number of inputs, of prompts, and with their length."""
    base = LIKELIHOODS[1]
    records: dict[str, dict[str, Any]] = {}
    runs: dict[str, Callable[[], object]] = {}
    for what, prompts, inputs, size in GROWTH:
        shape = Likelihoods(what, (size, size), base.input, base.options, base.option)
        pairs = list(dict.fromkeys(shape.pairs(prompts, inputs, model.config.vocab_size)))
        name = f"{what} {prompts} x {inputs} x {size}"
        runs[name] = partial(ours, model, pairs)
        records[name] = {
            "grows": what, "prompts": prompts, "inputs": inputs, "prompt tokens": size, "cells": len(pairs),
            "distinct tokens": distinct([pair.prompt + pair.continuation[:-1] for pair in pairs]),
        }  # fmt: skip
    ours(model, pairs[:8])
    for name, time in bench.in_turns(runs).items():
        record = records[name]
        record["ms a cell"] = 1000 * time / record["cells"]
        record["us a distinct token"] = 1e6 * time / record["distinct tokens"]
        bench.write(record)
    return list(records.values())


PARTS = {"likelihood": likelihoods, "completion": completions, "growth": growth}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    gpu = torch.cuda.is_available()
    names = [workload.name for workload in (*LIKELIHOODS, *COMPLETIONS)]
    parser.add_argument("--part", choices=PARTS, action="append", help="what to measure (default: all)")
    parser.add_argument("--workload", choices=names, help="only this workload")
    parser.add_argument(
        "--model", action="append", help=f"{', '.join(SHAPES)} or embedded/small; may be repeated"
    )
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--prompts", type=int, help="prompts of a likelihood workload")
    parser.add_argument("--inputs", type=int, help="inputs (completions: twice as many)")
    parser.add_argument(
        "--seconds", type=float, default=2.0 if gpu else 20.0,
        help="of a contender on a workload; slower ones run a sample",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="likelihoods without rivals")
    parser.add_argument("--continuous", action="store_true", help="transformers' continuous batching, too")
    parser.add_argument("--out", type=Path, help="append records to this file, a line of JSON each")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.prompts = options.prompts or (8 if on_gpu else 4)
    options.inputs = options.inputs or (128 if on_gpu else 32)
    torch.set_num_threads(options.threads)
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, {options.threads} threads"
    for name in options.model or (["0.5B", "3B"] if on_gpu else ["15M"]):
        about = {
            "model": name, "dtype": options.dtype, "on": where,
            "torch": torch.__version__, "transformers": transformers.__version__,
        }  # fmt: skip
        print(about, flush=True)
        bench = Bench(options.device, options.rounds, options.seconds, about, options.out)
        model = bench.attempt("model", partial(build, name, options.dtype, options.device))
        if model is None:
            continue
        for part in options.part or PARTS:
            records = bench.attempt(part, partial(PARTS[part], model, bench, options))
            if records:
                print(f"\n{table(records)}\n\npeak memory so far: {peak()}\n", flush=True)


if __name__ == "__main__":
    main()
