"""The parts of a prompt that a searcher may rewrite one at a time: how each is read and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptopt.errors import ConfigError, did_you_mean
from promptopt.prompt import Prompt
from promptopt.template import slots


@dataclass(frozen=True, slots=True)
class Part:
    """A text inside a prompt.

    Attributes:
        name: what users call it.
        get: reads the text.
        changes: from a prompt and a new text to the fields of the prompt that change.
        is_template: its text is filled in for each row, so that new text must not bring slots along.
    """

    name: str
    get: Callable[[Prompt], str]
    changes: Callable[[Prompt, str], dict[str, Any]]
    is_template: bool = False

    def allows(self, prompt: Prompt, text: str) -> bool:
        """Whether the part may be set to a text that a model wrote."""
        if not self.is_template:
            return True
        return not slots(text) and not (prompt.template.engine == "jinja" and "{" in text)


INSTRUCTION = Part("instruction", lambda prompt: prompt.instruction, lambda _, text: {"instruction": text})
SYSTEM = Part(
    "system",
    lambda prompt: prompt.template.system,
    lambda prompt, text: {"template": replace(prompt.template, system=text)},
    is_template=True,
)
PARTS: Mapping[str, Part] = {part.name: part for part in (INSTRUCTION, SYSTEM)}


def parts_of(prompt: Prompt, names: Sequence[str], where: str) -> list[Part]:
    """Return the parts of these names, in this order.

    Raises:
        ConfigError: there is no such part, or the prompt's is empty or has slots (an instruction may).
    """
    if not names:
        raise ConfigError(where, "no part to change", do=f"choose from {', '.join(PARTS)}")
    for name in names:
        if name not in PARTS:
            raise ConfigError(where, f"a prompt has no part {name!r}", do=did_you_mean(name, PARTS))
        text = PARTS[name].get(prompt)
        if PARTS[name].is_template and (not text or not PARTS[name].allows(prompt, text)):
            raise ConfigError(
                where,
                f"the part {name!r} of the prompt is {'not plain text' if text else 'empty'}",
                got=text,
                do="write one without slots, or leave it out",
            )
    return [PARTS[name] for name in dict.fromkeys(names)]
