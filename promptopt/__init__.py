"""promptopt: find the prompt that makes a language model do a task best, and prove it."""

from .errors import PromptOptError
from .prompt import Demonstration, Prompt
from .records import Budget, Cell, Evaluation, Example, FrozenMap, Message, Price, Score, Usage
from .template import Template

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Cell",
    "Demonstration",
    "Evaluation",
    "Example",
    "FrozenMap",
    "Message",
    "Price",
    "Prompt",
    "PromptOptError",
    "Score",
    "Template",
    "Usage",
]
