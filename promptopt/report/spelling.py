"""A prompt as one text for people: its instruction, then whatever else a model is shown or asked with."""

from __future__ import annotations

from collections.abc import Iterator

from ..demonstrations import Demonstration
from ..parts import PARTS
from ..prompt import Prompt


def spell(prompt: Prompt) -> str:
    """Return the texts of a prompt; what is not its instruction stands under a name."""
    return "\n\n".join(_paragraphs(prompt)) or "(empty)"


def _paragraphs(prompt: Prompt) -> Iterator[str]:
    if prompt.instruction:
        yield prompt.instruction
    for part in PARTS.values():
        text = part.get(prompt)
        if part.name != "instruction" and text:
            yield f"{part.name}: {text}"
    for number, shown in enumerate(prompt.demonstrations, 1):
        yield f"demonstration {number}: {_shown(shown)}"
    if prompt.retriever is not None:
        pool = len(prompt.retriever.pool)
        yield f"demonstrations for each row: the {prompt.retriever.k} most like it of {pool}"
    if prompt.program.name != "single":
        yield f"program: {prompt.program.name}"
    if prompt.adapter is not None:
        yield f"trained weights: {prompt.adapter.label}"


def _shown(shown: Demonstration) -> str:
    inputs = "; ".join(f"{name}: {value}" for name, value in shown.inputs.items())
    return f"{inputs} → {shown.output}"


def label(prompt: Prompt, limit: int = 160) -> str:
    """Return a prompt in a few words."""
    text = " ".join(prompt.label.split()) or "(empty)"
    return text if len(text) <= limit else text[: limit - 1] + "…"
