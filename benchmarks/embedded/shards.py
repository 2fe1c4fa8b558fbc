"""The training data in shards, each of which depends on nothing but the seed and its number.

    python -m benchmarks.embedded.shards --tokenizer DIR --out DIR --part 16384 --tokens 2e8 --workers 12

A training draws its shards itself where processors are few. Beside a GPU, other processes write them ahead
of the training into a folder, from which all sizes read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from .batches import WIDTHS, Document, Part, encode, lay_out, pack
from .contracts import Tree

PARTS = 32
"""Parts of a shard."""
PATIENCE = 120.0
"""Seconds to wait for a shard that others write."""
KINDS = {"ids": np.uint16, "sources": np.int32, "targets": np.uint16, "weights": np.float32}
"""Number types in a file; int16 for all else."""
GROUPS = {"rows": ("ids", "positions", "branches", "owners"), "targets": ("sources", "targets", "weights")}


@dataclass(frozen=True)
class Recipe:
    """What the shards are drawn from.

    Attributes:
        tree: draws a training tree.
        tokenizer: encodes it.
        seed: of the data.
        part: tokens of a part, padding included; a multiple of the widest row.
    """

    tree: Callable[[Random], Tree]
    tokenizer: PreTrainedTokenizerFast
    seed: int
    part: int

    def shard(self, number: int) -> list[Part]:
        """Draw a shard: PARTS parts, whose rows all have one of the WIDTHS.

        Documents too long for the first width wait until they fill a part of wide rows, or for the last
        part. Document `n` of a shard is drawn by a generator seeded with (seed, number, n); those that wait
        at its end are dropped.

        Raises:
            ValueError: if a document is longer than the widest row.
        """
        short, wide = WIDTHS
        waiting: dict[int, Document] = {}
        parts: list[Part] = []
        drawn = size = 0
        while len(parts) < PARTS:
            # Three times what goes out: the more there is to choose from, the less padding.
            while size < 3 * self.part:
                waiting[drawn] = self._draw(number, drawn)
                size += len(waiting[drawn].ids)
                drawn += 1
            long = [name for name, document in waiting.items() if len(document.ids) > short]
            enough = sum(len(waiting[name].ids) for name in long) >= self.part
            width = wide if enough or (long and len(parts) == PARTS - 1) else short
            # Long documents before short ones: what room they leave, the short ones fill.
            rest = [name for name, document in waiting.items() if len(document.ids) <= short]
            order = [*long, *rest] if width == wide else rest
            rows = pack([waiting[name] for name in order], self.part // width, width)
            taken = [[waiting.pop(order[place]) for place in row] for row in rows]
            size -= sum(len(document.ids) for row in taken for document in row)
            parts.append(lay_out(taken, width))
        return parts

    def _draw(self, number: int, name: int) -> Document:
        rng = Random(f"{self.seed} {number} {name}")
        document = encode(self.tree(rng), self.tokenizer, rng)
        if len(document.ids) > WIDTHS[-1]:
            text = self.tokenizer.decode(document.ids[:40])
            raise ValueError(
                f"a document has {len(document.ids)} tokens, at most {WIDTHS[-1]} fit: {text}..."
            )
        return document


def write(parts: list[Part], path: Path) -> None:
    """Write a shard to a file, which is there whole or not at all."""
    arrays: dict[str, np.ndarray] = {"widths": np.array([part.ids.shape[1] for part in parts], np.int16)}
    arrays["sizes"] = np.array([len(part.targets) for part in parts], np.int32)
    for field in fields(Part):
        joined = torch.cat([getattr(part, field.name).flatten() for part in parts]).numpy()
        arrays[field.name] = joined.astype(KINDS.get(field.name, np.int16))
    with path.with_suffix(f".{os.getpid()}").open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(f".{os.getpid()}").replace(path)


def read(path: Path, device: str = "cpu") -> list[Part]:
    """Read a shard that `write` wrote, to a device at once."""
    with np.load(path, allow_pickle=False) as arrays:
        widths, sizes = arrays["widths"].tolist(), arrays["sizes"].tolist()
        whole = {
            field.name: torch.from_numpy(
                arrays[field.name].astype(np.float32 if field.name == "weights" else np.int64)
            ).to(device)
            for field in fields(Part)
        }
    cut = {name: whole[name].chunk(len(widths)) for name in GROUPS["rows"]}
    cut |= {name: whole[name].split(sizes) for name in GROUPS["targets"]}
    return [
        Part(
            *(cut[name][place].view(-1, width) for name in GROUPS["rows"]),
            *(cut[name][place] for name in GROUPS["targets"]),
        )
        for place, width in enumerate(widths)
    ]


def path_of(folder: Path, number: int) -> Path:
    """Return where a shard stands."""
    return folder / f"{number:06d}.npz"


def parts(
    recipe: Recipe, first: int, stride: int, skip: int, folder: Path | None, device: str
) -> Iterator[Part]:
    """Yield parts without end: those of the shards `first`, `first + stride`, ...

    Args:
        recipe: draws shards, unless they are read.
        first: number of the first shard.
        stride: from a shard to the next.
        skip: parts not to be yielded, from the first one on.
        folder: where others write the shards; None: draw them here.
        device: where the tensors go.

    Raises:
        TimeoutError: if nobody wrote a shard for PATIENCE seconds.
    """
    number = first + skip // PARTS * stride
    skip %= PARTS
    while True:
        if folder is None:
            shard = [part.to(device) for part in recipe.shard(number)]
        else:
            shard = read(_awaited(path_of(folder, number)), device)
        yield from shard[skip:]
        skip, number = 0, number + stride


def _awaited(path: Path) -> Path:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not come within {PATIENCE:.0f} s: is its writer running?")
        time.sleep(0.02)
    return path


def produce(recipe: Recipe, folder: Path, numbers: Iterator[int] | range) -> None:
    """Write the shards that are not there yet."""
    for number in numbers:
        if not (path := path_of(folder, number)).exists():
            write(recipe.shard(number), path)


def _work(rank: int, options: argparse.Namespace) -> None:
    from .documents import tree
    from .tokenizer import load

    torch.set_num_threads(1)
    recipe = Recipe(tree, load(options.tokenizer), options.seed, options.part)
    shards = -(-int(options.tokens) // (options.part * PARTS))
    produce(recipe, options.out, range(rank, shards, options.workers))


def start(options: argparse.Namespace) -> list[multiprocessing.process.BaseProcess]:
    """Start the processes that write the shards."""
    options.out.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_work, args=(rank, options), daemon=True) for rank in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    return list(workers)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--tokens", type=float, required=True, help="in all, padding included")
    parser.add_argument("--part", type=int, default=16384, help="tokens of a part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    for worker in start(parse()):
        worker.join()
