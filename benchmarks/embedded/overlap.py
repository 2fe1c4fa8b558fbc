"""Check that what the models are tested on is not in what they are trained on.

    python -m benchmarks.embedded.overlap [--documents 60000]

Draws training documents as the training does, and looks for held-out wordings (whole, without case and
punctuation), for test inputs of open families, and for word n-grams that training texts share with the
public test rows of sentiment and topic. The exit code is 1 if anything is found.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from random import Random

from .batches import LIGHT
from .contracts import Tree
from .corpus import GRAM, grams
from .documents import tree
from .families import FAMILIES, real_rows, rows
from .layout import INPUTS
from .wordings import forbidden, normal

FIELD = re.compile(f"({'|'.join(('Input', 'Instruction', *INPUTS))}): ")
ANSWERS = re.compile("(Output|Expected|Score):")
LEAST_INPUT = 12
"""Characters of an input that is looked for; a shorter one, such as a number, occurs anywhere."""


def texts(document: Tree) -> list[str]:
    """Return what a document has the model read, line by line, without the names of fields."""
    parts = (document.trunk, *document.branches)
    read = ["".join(text for text, weight in part if weight < LIGHT) for part in parts]
    joined = re.sub("<[|][a-z]+[|]>", "\n", "\n".join([read[0] + "".join(read[1:2]), *read[2:]]))
    lines = [line.strip() for line in joined.splitlines()]
    return [FIELD.sub("", line) for line in lines if line and not ANSWERS.match(line)]


def find(documents: Iterable[Tree]) -> dict[str, list[str]]:
    """Return what training documents share with what is kept for testing, by kind; empty lists if nothing."""
    inputs = {
        text
        for name, family in FAMILIES.items()
        if not family.closed
        for text, _ in rows(name, "test", 200, 0)
        if len(text) >= LEAST_INPUT
    }
    kept = {
        gram for name in ("sentiment", "topic") for text, _ in real_rows(name, "test") for gram in grams(text)
    }
    found: dict[str, list[str]] = {"wordings": [], "inputs": [], f"{GRAM}-grams": []}
    for line in (line for document in documents for line in texts(document)):
        if normal(line) in forbidden():
            found["wordings"].append(line)
        if line in inputs:
            found["inputs"].append(line)
        if grams(line) & kept:
            found[f"{GRAM}-grams"].append(line)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded.overlap", description=__doc__)
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = Random(options.seed)
    found = find(tree(rng) for _ in range(options.documents))
    for kind, items in found.items():
        print(f"{kind} shared by {options.documents} documents: {len(items)} {sorted(set(items))[:5]}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
