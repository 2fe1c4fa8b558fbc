"""What soft prompts are worth on the embedded model, and what training them costs.

    python -m benchmarks.soft --out soft.jsonl                       # all: an hour on a quiet core
    python -m benchmarks.soft --out soft.jsonl --parts text --tasks sum --seeds 1

    text      a soft prompt and the best prompt of words (APE's), from the same unclear prompt, on test rows
    vectors   the soft prompt's score against its number of vectors
    rows      the same against the number of rows it is trained on
    words     what is left of the score when the nearest tokens stand in for the vectors
    adapters  beside weights that change the model: score and stored bytes a task
    speed     tokens a second and memory of training, against a plain loop and PEFT

Every score is that of an ordinary run: chosen on select rows, proved on test rows. What --out holds already
is not run again.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import promptopt
from promptopt.errors import PromptOptError
from promptopt.splits import Sizes

from ..searchers.cells import read
from ..searchers.tasks import Place
from .speed import measure_speed

TASKS = (
    "sum_three", "diff", "topic", "uppercase/sentence",
    "sum/sentence", "word_length/sentence", "sentence_type/labels", "even_odd/labels",
)  # fmt: skip
"""Tasks of benchmarks/searchers: the model knows each skill, but is not asked for it as it was taught."""
SIZES = Sizes(search=60, select=40, test=100)
SOFT: dict[str, Any] = {"name": "soft", "steps": 60, "batch": 8}
"""A soft prompt that a small model learns from few rows."""
VECTORS = (1, 2, 5, 10, 20)
ROWS = (16, 64, 256)
ADAPTERS = ("bitfit", "ia3", "lora", "bottleneck", "full")

Variant = tuple[str, Mapping[str, Any], Sizes]
"""A name in the table, a searcher as a job names it, sizes of the splits."""


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soft")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line")
    parser.add_argument("--parts", default="text,vectors,rows,words,adapters,speed")
    parser.add_argument("--model", default="embedded/small")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    parts = options.parts.split(",")
    wanted = {variant[0]: variant for part in parts for variant in variants(part)}
    done = {(r["variant"], r["task"], r["seed"]) for r in read(options.out)}
    with options.out.open("a", encoding="utf-8") as out:
        for seed in range(options.seeds):
            for task in options.tasks.split(","):
                for variant in wanted.values():
                    if (variant[0], task, seed) not in done:
                        record = run(variant, task, seed, options.model)
                        out.write(json.dumps(record) + "\n")
                        out.flush()
                        print(_said(record), flush=True)
    records = [r for r in read(options.out) if r["variant"] in wanted]
    for part in parts:
        print_table(part, records)
    if "speed" in parts:
        measure_speed(options.model)


def variants(part: str) -> Iterator[Variant]:
    """Yield what a part of the benchmark runs."""
    if part in ("text", "words", "adapters"):
        yield "soft", SOFT, SIZES
    if part == "text":
        yield "ape", {"name": "ape"}, SIZES
    if part == "words":
        for count in (2, 5):
            yield f"soft, {count} vectors", SOFT | {"vectors": count}, SIZES
        for name in ("autoprompt", "gcg", "pez"):
            yield name, {"name": name}, SIZES
    if part == "vectors":
        for count in VECTORS:
            yield ("soft" if count == 10 else f"soft, {count} vectors"), SOFT | {"vectors": count}, SIZES
    if part == "rows":
        for count in ROWS:
            sizes = Sizes(search=20 + count, select=SIZES.select, test=SIZES.test)
            share = 20 / (20 + count)
            yield f"soft, {count} rows", SOFT | {"validation": share, "rows": count}, sizes
    if part == "adapters":
        for method in ADAPTERS:
            yield method, {"name": "specialist", "method": method, "steps": 60, "batch": 8}, SIZES


def run(variant: Variant, task: str, seed: int, model: str) -> dict[str, Any]:
    """Run one searcher on one task, and return what came of it."""
    name, searcher, sizes = variant
    place = Place(task, seed)
    wanted = sum(size for size in (sizes.search, sizes.select, sizes.test) if size)
    rows = place.examples(wanted)
    record: dict[str, Any] = {"variant": name, "task": task, "seed": seed}
    if len(rows) < wanted:
        return record | {"error": f"has {len(rows)} rows, {wanted} are needed"}
    try:
        study = promptopt.optimize(
            prompt=place.prompt,
            train=[{"input": row.inputs["input"], "output": row.answer} for row in rows],
            target=model,
            search=dict(searcher),
            reward={"name": "exact_match", "ignore_case": False},
            budget={"calls": 4000},
            sizes=sizes,
            seed=seed,
            folder=None,
        )
    except PromptOptError as error:
        return record | {"error": str(error)}
    verdict = study.verdict
    trained = [c for c in study.candidates if c.prompt.adapter is not None]
    words = next((n.data for n in study.search_notes if "words" in n.data), {})
    trainer = study.spent.get("trainer")
    return record | {
        "seed_score": verdict.baseline,
        "score": verdict.best,
        "gain": verdict.difference,
        "reliable": verdict.reliable,
        "calls": study.total.calls,
        "training_tokens": trainer.prompt_tokens if trainer else 0,
        "bytes": max((c.prompt.adapter.size for c in trained if c.prompt.adapter), default=0),
        "seconds": study.seconds,
        "prompt": study.best.label,
        **({"words": words["score"], "of": words["soft score"]} if words else {}),
    }


def print_table(part: str, records: list[dict[str, Any]]) -> None:
    """Print the scores on test rows by task and variant, means over the seeds; and means over the tasks."""
    names = [variant[0] for variant in variants(part)]
    if not names:
        return
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        if "error" not in record and record["variant"] in names:
            found[record["task"], record["variant"]].append(record["score"])
            if record["variant"] == names[0]:
                found[record["task"], "seed prompt"].append(record["seed_score"])
    columns, tasks = ["seed prompt", *names], list(dict.fromkeys(task for task, _ in found))
    print(f"\n{part}: mean score on {SIZES.test} test rows")
    print(f"{'':<22}" + "".join(f"{name:>18}" for name in columns))
    for task in tasks:
        print(f"{task:<22}" + "".join(_cell(found[task, name]) for name in columns))
    shared = [task for task in tasks if all(found[task, name] for name in columns)]
    means = [[fmean(found[task, name]) for task in shared] for name in columns]
    print(f"{'mean':<22}" + "".join(_cell(values) for values in means))
    mine = [r for r in records if r["variant"] in names and "error" not in r]
    if part == "words":
        for name in names:
            pairs = [(r["of"], r["words"]) for r in mine if r["variant"] == name and "words" in r]
            if pairs:
                soft, worded = (fmean(column) for column in zip(*pairs, strict=True))
                print(f"{name}: {soft:.3f} on the search rows, in words {worded:.3f}")
    if part == "adapters":
        for name in names:
            its = [r for r in mine if r["variant"] == name]
            if its:
                tokens = fmean(r["training_tokens"] for r in its)
                print(f"{name}: {its[0]['bytes']:,} bytes a task, {tokens:,.0f} tokens forward and backward")


def _cell(values: list[float]) -> str:
    return f"{fmean(values):>18.3f}" if values else f"{'-':>18}"


def _said(record: dict[str, Any]) -> str:
    name = f"{record['variant']} {record['task']} {record['seed']}"
    if "error" in record:
        return f"{name}: {record['error']}"
    return f"{name}: {record['seed_score']:.2f} -> {record['score']:.2f}, {record['seconds']:.0f} s"


if __name__ == "__main__":
    main()
