"""promptopt: find the prompt that makes a language model do a task best, and prove it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answering import answer
    from .api import optimize, resume, run_job, score
    from .api_async import aoptimize
    from .api_compare import compare
    from .data import Columns
    from .errors import PromptOptError
    from .exporting import export
    from .prompt import Demonstration, Prompt
    from .proof.comparison import Comparison
    from .proof.verdict import Verdict
    from .records import Budget, Cell, Evaluation, Example, FrozenMap, Message, Price, Score, Usage
    from .runfolder import RunFolder
    from .splits import Sizes
    from .study import Study
    from .template import Template

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Cell",
    "Columns",
    "Comparison",
    "Demonstration",
    "Evaluation",
    "Example",
    "FrozenMap",
    "Message",
    "Price",
    "Prompt",
    "PromptOptError",
    "RunFolder",
    "Score",
    "Sizes",
    "Study",
    "Template",
    "Usage",
    "Verdict",
    "answer",
    "aoptimize",
    "compare",
    "export",
    "optimize",
    "resume",
    "run_job",
    "score",
]

# Names are loaded when first used: `promptopt --help` must not wait for numpy and the plug-ins' contracts.
_HOMES = {
    "data": ("Columns",),
    "errors": ("PromptOptError",),
    "exporting": ("export",),
    "answering": ("answer",),
    "api_async": ("aoptimize",),
    "api": ("optimize", "resume", "run_job", "score"),
    "api_compare": ("compare",),
    "proof.comparison": ("Comparison",),
    "prompt": ("Demonstration", "Prompt"),
    "records": (
        "Budget", "Cell", "Evaluation", "Example", "FrozenMap", "Message", "Price", "Score", "Usage",
    ),
    "runfolder": ("RunFolder",),
    "splits": ("Sizes",),
    "study": ("Study",),
    "template": ("Template",),
    "proof.verdict": ("Verdict",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'promptopt' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
