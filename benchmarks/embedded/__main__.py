"""Make the embedded models anew: tokenizer, training, evaluation on the development split, release.

    python -m benchmarks.embedded --work DIR      # all sizes: hours on a CPU, minutes on a GPU
    python -m benchmarks.embedded --work DIR --sizes small --tokens 2e6 --no-release

What is in DIR already is not made again, and a training that was interrupted goes on. A model is released
into the package only if it passes the gate on the development split, which shares neither rows nor
wordings with the test split; `evaluate` and `table` then measure it on that one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from promptopt.errors import ModelError

from . import evaluate, train
from .corpus import HERE
from .model import SIZES
from .results import Record, read_records
from .summary import read_models
from .tokenizer import load

PACKAGE = HERE.parents[1] / "promptopt" / "models" / "embedded"
TOKENS = {"tiny": 12_000_000, "small": 24_000_000, "medium": 24_000_000}
GATE = {"tiny": (0.40, 0.35), "small": (0.85, 0.75), "medium": (0.85, 0.75)}
"""Least mean accuracy of training wordings and of held-out ones. Below it, something went wrong."""
MOST_WITHOUT = 0.25
"""Highest mean accuracy without an instruction: above it, instructions would not matter."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _options(arguments)
    work: Path = options.work
    load(work / "tokenizer")
    passed = True
    for size in options.sizes.split(","):
        tokens = options.tokens or TOKENS[size]
        folder = make(size, work, tokens, options.processes)
        # Called by its size in the results.
        released = shutil.copytree(folder, work / "release" / size, dirs_exist_ok=True)
        problems = judge(size, released, work / "development.jsonl")
        for problem in problems:
            print(f"{size} is not released: {problem}")
        if not problems and options.release:
            shutil.copytree(released, PACKAGE / size, dirs_exist_ok=True)
            print(f"released {size} to {PACKAGE / size}")
        passed &= not problems
    return 0 if passed else 1


def make(size: str, work: Path, tokens: int, processes: int | None) -> Path:
    """Train a model, or go on, or do nothing if it is there; return its folder."""
    out = work / size
    if not (out / "model" / "config.json").is_file():
        arguments = ["--size", size, "--tokenizer", str(work / "tokenizer"), "--out", str(out)]
        arguments += ["--tokens", str(tokens)]
        arguments += ["--processes", str(processes)] if processes else []
        arguments += ["--resume"] if (out / "checkpoint.pt").is_file() else []
        train.launch(train.parse(arguments))
    return out / "model"


def judge(size: str, folder: Path, out: Path) -> list[str]:
    """Evaluate a model on the development split; return what keeps it from being released.

    Raises:
        ModelError: the evaluation failed.
    """
    if code := evaluate.main(["--model", str(folder), "--split", "dev", "--quick", "--out", str(out)]):
        raise ModelError(f"evaluation of {folder}", f"ended with exit code {code}")
    version = evaluate.open_model(str(folder), "cpu").identity.revision[:16]
    return gate(size, [record for record in read_records([out]) if record.of.version == version])


def gate(size: str, records: Sequence[Record]) -> list[str]:
    """Return what keeps a model of a size from being released, given its records of the development split."""
    families = [summary for model in read_models(records, "dev") for summary in model.summaries()]

    def mean(values: Iterable[float | None]) -> float:
        found = [value for value in values if value is not None]
        return sum(found) / max(1, len(found))

    training, held_out = GATE[size]
    least = {
        "training wordings": (mean(family.training for family in families), training),
        "held-out wordings": (mean(family.held_out for family in families), held_out),
    }
    problems = [
        f"{name}: {found:.2f}, at least {limit:.2f} is needed"
        for name, (found, limit) in least.items()
        if found < limit
    ]
    without = mean(family.none for family in families)
    if without > MOST_WITHOUT:
        problems.append(f"no instruction: {without:.2f}, at most {MOST_WITHOUT:.2f} is wanted")
    return problems


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedded",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated; all by default")
    parser.add_argument("--tokens", type=float, help=f"budget of each; default: {TOKENS}")
    parser.add_argument("--processes", type=int, help="default: 2 on a CPU, 1 on a GPU")
    parser.add_argument("--release", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    options.tokens = int(options.tokens) if options.tokens else None
    return options


if __name__ == "__main__":
    sys.exit(main())
