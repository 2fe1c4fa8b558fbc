"""How prompts are laid out in training: as promptopt lays them out, at times with other field names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from promptopt.records import Example, FrozenMap
from promptopt.search._text import show_rows

from .contracts import Row

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
READ = 0.05
"""Weight of tokens that are read: a little, so that the model learns the language of prompts."""
WRITE = 1.0
INPUTS = ("Text", "Word", "Sentence", "Question", "Q", "Review", "Input text", "Item", "X")
OUTPUTS = ("Answer", "Label", "Result", "A", "Output", "Y")


@dataclass(frozen=True)
class Layout:
    """The fixed parts of a prompt around instruction, input and answer.

    No token may span two segments of a tree: "Input: " is one token, space and all, but the space behind
    another name belongs to the word that follows it.
    """

    prefix: str
    name: str
    after: str

    @property
    def before(self) -> str:
        """What stands before an input, as far as it can end a segment."""
        return "Input: " if self.name == "Input" else f"{self.name}:"

    def given(self, text: str) -> str:
        """Return an input and what stands behind it, as they follow `before`."""
        return f"{'' if self.name == 'Input' else ' '}{text}{self.after}"

    @classmethod
    def draw(cls, rng: Random) -> Layout:
        """Draw a layout."""
        choice = rng.random()
        if choice < 0.72:
            return cls("", "Input", "\nOutput:")
        if choice < 0.84:
            return cls("Instruction: ", "Input", "\nOutput:")
        return cls("", rng.choice(INPUTS), f"\n{rng.choice(OUTPUTS)}:")

    def shown(self, text: str) -> str:
        """Return the input of a demonstration, as it follows `before`; "Output: " is one token, too."""
        return f"{self.given(text)} " if self.after.endswith("Output:") else self.given(text)

    @property
    def joint(self) -> str:
        """What stands before the answer of a demonstration."""
        return "" if self.after.endswith("Output:") else " "

    def head(self, instruction: str) -> str:
        """Return what stands above the first input."""
        return f"{self.prefix}{instruction}\n\n" if instruction else ""


def demonstrations(rows: Iterable[Row]) -> str:
    """Lay rows out as promptopt's searchers show them to a proposer."""
    shown = [
        Example(str(place), FrozenMap(input=text), (answer,)) for place, (text, answer) in enumerate(rows)
    ]
    return show_rows(shown, ["input"])
