"""Make the embedded models anew: tokenizer, training, evaluation on the development split, release.

    python -m benchmarks.embedded --work DIR      # all sizes: hours on a CPU, minutes on a GPU
    python -m benchmarks.embedded --work DIR --sizes small --tokens 2e6 --no-release

What is in DIR already is not made again, and a training that was interrupted goes on. On a CPU the sizes are
trained one after the other; on a GPU all at once, on data that the other processors write meanwhile. A model
is released into the package only if it passes the gate on the development split, which shares neither rows
nor wordings with the test split; `evaluate` and `table` then measure it on that one. The largest size is not
released: it would not fit into the package.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from promptopt.errors import ModelError

from . import evaluate, shards, train
from .corpus import HERE
from .model import SIZES
from .results import Record, read_records
from .summary import read_models
from .tokenizer import load

PACKAGE = HERE.parents[1] / "promptopt" / "models" / "embedded"
IN_PACKAGE = ("tiny", "small", "medium")
TOKENS = {"tiny": 40_000_000, "small": 120_000_000, "medium": 90_000_000, "large": 210_000_000}
"""Budget of a size on a GPU. The default model gets more than its share."""
RATES = {"tiny": 0.02, "small": 0.02, "medium": 0.012, "large": 0.008}
"""Learning rate of Muon: at 0.02, `medium` learns less than `small` and `large` does not settle."""
CPU_TOKENS = 20_000_000
"""Budget of a size on a CPU: two cores need hours for a tenth of what a GPU does in minutes."""
GATE = {"tiny": (0.40, 0.35), "small": (0.85, 0.75), "medium": (0.85, 0.75), "large": (0.85, 0.75)}
"""Least mean accuracy of training wordings and of held-out ones. Below it, something went wrong."""
MOST_WITHOUT = 0.25
"""Highest mean accuracy without an instruction: above it, instructions would not matter."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = _options(arguments)
    work: Path = options.work
    load(work / "tokenizer")
    sizes = options.sizes.split(",")
    train_all(sizes, options)
    passed = True
    for size in sizes if options.judge else ():
        # Called by its size in the results.
        released = shutil.copytree(work / size / "model", work / "release" / size, dirs_exist_ok=True)
        problems = judge(size, released, work / "development.jsonl")
        for problem in problems:
            print(f"{size} is not released: {problem}")
        if not problems and options.release and size in IN_PACKAGE:
            shutil.copytree(released, PACKAGE / size, dirs_exist_ok=True)
            print(f"released {size} to {PACKAGE / size}")
        passed &= not problems
    return 0 if passed else 1


def train_all(sizes: Sequence[str], options: argparse.Namespace) -> None:
    """Train the models that are not there yet, or go on with them."""
    work: Path = options.work
    missing = [size for size in sizes if not (work / size / "model" / "config.json").is_file()]
    trainings = [train.parse(_training(size, options)) for size in missing]
    if not trainings or trainings[0].device == "cpu":
        for training in trainings:
            train.launch(training)
        return
    most = max(training.tokens for training in trainings)
    arguments = ["--tokenizer", str(work / "tokenizer"), "--out", str(work / "shards"), "--tokens", str(most)]
    writers = shards.start(shards.parse([*arguments, "--part", str(trainings[0].part)]))
    try:
        with ThreadPoolExecutor(len(trainings)) as pool:
            list(pool.map(train.launch, trainings))
    finally:
        for writer in writers:
            writer.terminate()


def _training(size: str, options: argparse.Namespace) -> list[str]:
    """Return the command line of a size's training."""
    work: Path = options.work
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments = ["--size", size, "--tokenizer", str(work / "tokenizer"), "--out", str(work / size)]
    budget = options.tokens or (TOKENS[size] if device == "cuda" else CPU_TOKENS)
    arguments += ["--device", device, "--tokens", str(budget), "--rate", str(RATES[size])]
    arguments += ["--adam-rate", str(0.15 * RATES[size])]
    arguments += ["--processes", str(options.processes)] if options.processes else []
    arguments += ["--shards", str(work / "shards")] if device == "cuda" else []
    return arguments + (["--resume"] if (work / size / "checkpoint.pt").is_file() else [])


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
    parser.add_argument(
        "--tokens", type=float, help=f"budget of each; on a GPU: {TOKENS}, on a CPU: {CPU_TOKENS}"
    )
    parser.add_argument("--processes", type=int, help="default: 2 on a CPU, 1 on a GPU")
    parser.add_argument("--judge", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--release", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    options.tokens = int(options.tokens) if options.tokens else None
    return options


if __name__ == "__main__":
    sys.exit(main())
