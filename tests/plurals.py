"""A task that the embedded model knows, and a seed prompt that does not say it: plural forms of words."""

from __future__ import annotations

from typing import Any

from toys import make_setup

from promptopt.prompt import Prompt
from promptopt.run import execute
from promptopt.search.soft import Soft
from promptopt.splits import Sizes

PAIRS = {
    "child": "children", "box": "boxes", "city": "cities", "wolf": "wolves", "man": "men", "mouse": "mice",
    "dog": "dogs", "cat": "cats", "house": "houses", "tree": "trees", "lady": "ladies", "knife": "knives",
    "bus": "buses", "tooth": "teeth", "foot": "feet", "goose": "geese", "baby": "babies", "leaf": "leaves",
    "table": "tables", "chair": "chairs", "glass": "glasses", "fox": "foxes", "boy": "boys", "girl": "girls",
}  # fmt: skip
ROWS = [{"id": word, "input": word, "output": plural} for word, plural in PAIRS.items()]
SIZES = Sizes(search=12, select=5, test=7)
QUICK = Soft(steps=12, batch=4, every=6, vectors=4)
SEED = Prompt("Say something of the word.")


def run(searcher: Any, model: Any, folder: Any = None, **changes: Any) -> Any:
    """Run a search with this model as its target, on the words unless told otherwise."""
    changes = {"rows": ROWS, "sizes": SIZES, "prompt": SEED, **changes}
    return execute(make_setup(searcher=searcher, models={"target": model}, **changes), folder)
