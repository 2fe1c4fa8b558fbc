"""The texts a prompt is made of, each of which may be fixed or optimized: read one, write one.

`instruction` is what to do, in words. `system` is the system message. `header` stands above the
demonstrations. `trigger` is what a program appends to ask for reasoning ("Let's think step by step").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .errors import ConfigError, did_you_mean
from .programs import ChainOfThought, SelfConsistency
from .prompt import Prompt
from .template import slots

OPENING = re.compile(r"\{(?=[{%#])")


@dataclass(frozen=True, slots=True)
class Part:
    """One text of a prompt.

    Attributes:
        name: what jobs call it.
        about: what it is, in words that a prompt-writing model can use.
        get: returns its text; empty where a prompt has none.
        set: returns the prompt with another text in its place; lineage stays.
    """

    name: str
    about: str
    get: Callable[[Prompt], str]
    set: Callable[[Prompt, str], Prompt]

    def child(self, parent: Prompt, text: str, *, origin: str) -> Prompt:
        """Return a copy of `parent` with this part changed, whose parent it is."""
        return replace(self.set(parent, text), parents=(parent.id,), origin=origin)


def _set_instruction(prompt: Prompt, text: str) -> Prompt:
    return replace(prompt, instruction=text)


def _set_system(prompt: Prompt, text: str) -> Prompt:
    # The system message is a layout: what a model wrote there must not become a slot.
    literal = OPENING.sub("{ ", text)
    return replace(prompt, template=replace(prompt.template, system=literal))


def _set_header(prompt: Prompt, text: str) -> Prompt:
    return replace(prompt, template=replace(prompt.template, header=text))


def _get_trigger(prompt: Prompt) -> str:
    program = prompt.program
    return program.trigger if isinstance(program, ChainOfThought | SelfConsistency) else ""


def _set_trigger(prompt: Prompt, text: str) -> Prompt:
    program = prompt.program
    if not isinstance(program, ChainOfThought | SelfConsistency):
        raise ConfigError("part trigger", "the prompt's program has none", got=program.name, do=TRIGGER_CURE)
    return replace(prompt, program=replace(program, trigger=text))


TRIGGER_CURE = "use program: chain_of_thought or self_consistency"

PARTS = {
    part.name: part
    for part in (
        Part("instruction", "instruction", lambda prompt: prompt.instruction, _set_instruction),
        Part("system", "system message", lambda prompt: prompt.template.system, _set_system),
        Part("header", "text above the examples", lambda prompt: prompt.template.header, _set_header),
        Part("trigger", "request to reason before answering", _get_trigger, _set_trigger),
    )
}


def open_parts(names: Iterable[str], prompt: Prompt) -> tuple[Part, ...]:
    """Return the parts of these names, in the order of `PARTS`.

    Raises:
        ConfigError: there is no such part, or this prompt has no place for it.
    """
    wanted = list(names)
    if not wanted:
        raise ConfigError("optimize", "names no part", do=f"choose from {', '.join(PARTS)}")
    for name in wanted:
        if name not in PARTS:
            raise ConfigError("optimize", f"unknown part {name!r}", do=did_you_mean(name, PARTS))
    template = prompt.template
    layout = (*slots(template.user), *slots(template.system))
    if "system" in wanted and OPENING.search(template.system):
        raise ConfigError(
            "optimize", "the system message has slots, so it cannot be rewritten", got=template.system,
            do="move them to the user message",
        )  # fmt: skip
    shows = "demonstrations" in layout and (prompt.demonstrations or prompt.retriever)
    if "header" in wanted and not shows:
        raise ConfigError(
            "optimize", "the prompt shows no demonstrations for the header to stand above",
            do="give it demonstrations, or leave header out",
        )  # fmt: skip
    if "trigger" in wanted and not isinstance(prompt.program, ChainOfThought | SelfConsistency):
        raise ConfigError("optimize", "the program has no trigger", got=prompt.program.name, do=TRIGGER_CURE)
    return tuple(part for name, part in PARTS.items() if name in wanted)
