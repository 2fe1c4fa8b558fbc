"""The local engine beside others on the same cells: `python -m benchmarks.engine [--part NAME]`.

Times are CPU seconds of runs that take turns in one process (seconds on a GPU). Slow contenders run a
sample of the cells, and their time is scaled to all. Every share and difference is measured, here and now.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from promptopt.models._batch import Pair

from .contenders import Harness, continuous, generate, loop, our_tokens, ours, padded
from .floor import Floor
from .measure import in_turns, peak, seconds, table
from .models import build
from .workloads import COMPLETIONS, LIKELIHOODS, distinct


def likelihood_table(model: Any, options: argparse.Namespace) -> str:
    """Return seconds of the loop over seconds of each, the shares of the floor, the largest difference."""
    harness = Harness(model) if Harness.installed() else None
    rows = []
    for workload in LIKELIHOODS:
        if options.workload not in (None, workload.name):
            continue
        pairs = list(dict.fromkeys(workload.pairs(options.prompts, options.inputs, model.config.vocab_size)))
        sample = sampled(pairs, options.sample)
        scale = len(pairs) / len(sample)
        floor = Floor()
        with floor.seeing(model):
            found = dict(zip(pairs, ours(model, pairs), strict=True))
        difference = max(abs(found[p] - v) for p, v in zip(sample, loop(model, sample), strict=True))
        runs: dict[str, Callable[[], object]] = {
            "ours": lambda pairs=pairs: ours(model, pairs),
            "floor": floor.run,
            "linear": lambda floor=floor: floor.run(attention=False),
            "loop": lambda sample=sample: loop(model, sample),
            "padded": lambda sample=sample: padded(model, sample),
        }
        if harness is not None:
            runs["lm-eval"] = lambda sample=sample: harness(sample)
        times = in_turns(runs, options.rounds)
        for name in ("loop", "padded", "lm-eval"):
            if name in times:
                times[name] *= scale
        rows.append([
            workload.name, len(pairs), distinct([p.prompt + p.continuation[:-1] for p in pairs]),
            f"{times['ours']:.2f}", f"{times['loop'] / times['ours']:.1f}",
            f"{times['padded'] / times['ours']:.1f}",
            f"{times['lm-eval'] / times['ours']:.1f}" if harness else "not installed",
            f"{times['floor'] / times['ours']:.2f}", f"{times['linear'] / times['ours']:.2f}",
            f"{difference:.1e}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    header = ["likelihood", "cells", "distinct tokens", "ours, s", "x loop", "x padded 16", "x lm-eval",
              "share of floor", "of linear layers alone", "max difference to the loop"]  # fmt: skip
    return table(header, rows)


def sampled(pairs: Sequence[Pair], part: float) -> list[Pair]:
    """Return whole contexts, with all their options, drawn at random."""
    contexts = list(dict.fromkeys(pair.prompt for pair in pairs))
    chosen = set(random.Random(1).sample(contexts, max(1, round(part * len(contexts)))))
    return [pair for pair in pairs if pair.prompt in chosen]


def completion_table(model: Any, options: argparse.Namespace) -> str:
    """Return seconds of the others over ours, and how many replies are the same."""
    rows = []
    for workload in COMPLETIONS:
        if options.workload not in (None, workload.name):
            continue
        jobs = workload.jobs(options.inputs * 2, model.config.vocab_size)
        floor = Floor()
        with floor.seeing(model):
            found = our_tokens(model, jobs)
        same = sum(a == b for a, b in zip(found, generate(model, jobs), strict=True))
        runs: dict[str, Callable[[], object]] = {
            "ours": lambda jobs=jobs: our_tokens(model, jobs),
            "floor": floor.run,
            "generate": lambda jobs=jobs: generate(model, jobs),
        }
        if options.continuous:
            runs["continuous"] = lambda jobs=jobs: continuous(model, jobs)
        times = in_turns(runs, options.rounds)
        tokens = sum(job.decoding.max_tokens for job in jobs)
        beside = f"{times['continuous'] / times['ours']:.1f}" if options.continuous else "not asked for"
        rows.append([
            workload.name, len(jobs), f"{times['ours']:.2f}", f"{tokens / times['ours']:.0f}",
            f"{times['generate'] / times['ours']:.1f}", beside,
            f"{times['floor'] / times['ours']:.2f}", f"{same}/{len(jobs)}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    header = ["greedy tokens", "jobs", "ours, s", "tokens/s", "x generate 16", "x continuous batching",
              "share of floor", "same replies"]  # fmt: skip
    return table(header, rows)


def growth_table(model: Any, options: argparse.Namespace) -> str:
    """Return how the cost of a cell moves with the number of inputs, of prompts, and with their length."""
    rows = []
    base = LIKELIHOODS[1]
    for what, prompts, inputs, size in (
        ("inputs", 1, 8, 200), ("inputs", 1, 32, 200), ("inputs", 1, 128, 200), ("inputs", 1, 512, 200),
        ("prompts", 2, 16, 200), ("prompts", 8, 16, 200), ("prompts", 32, 16, 200),
        ("length", 2, 64, 25), ("length", 2, 64, 100), ("length", 2, 64, 400), ("length", 2, 64, 1600),
    ):  # fmt: skip
        shape = type(base)(what, (size, size), base.input, base.options, base.option)
        pairs = list(dict.fromkeys(shape.pairs(prompts, inputs, model.config.vocab_size)))
        tokens = distinct([p.prompt + p.continuation[:-1] for p in pairs])
        time = min(seconds(lambda pairs=pairs: ours(model, pairs)) for _ in range(options.rounds))
        rows.append([
            what, prompts, inputs, size, len(pairs), f"{1000 * time / len(pairs):.2f}",
            f"{1e6 * time / tokens:.1f}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    header = ["grows", "prompts", "inputs", "prompt tokens", "cells", "ms a cell", "us a distinct token"]
    return table(header, rows)


PARTS = {"likelihood": likelihood_table, "completion": completion_table, "growth": growth_table}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    gpu = torch.cuda.is_available()
    parser.add_argument("--part", choices=PARTS, action="append", help="what to measure (default: all)")
    parser.add_argument("--workload", help="only the workload of this name")
    parser.add_argument("--model", default="1B" if gpu else "15M", help="15M, 100M, 1B, 8B or embedded/small")
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--prompts", type=int, default=4, help="prompts of a likelihood workload")
    parser.add_argument("--inputs", type=int, default=32, help="inputs (completions: twice as many)")
    parser.add_argument("--sample", type=float, default=0.1, help="part of the cells for slow contenders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--continuous", action="store_true", help="transformers' continuous batching, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = build(options.model, options.dtype, options.device)
    print(f"{options.model} {options.dtype} on {options.device}, {options.threads} threads", flush=True)
    for name in options.part or PARTS:
        print(f"\n{PARTS[name](model, options)}\n\npeak memory so far: {peak()}", flush=True)


if __name__ == "__main__":
    main()
