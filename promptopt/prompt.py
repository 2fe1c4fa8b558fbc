"""The candidate that searchers change: instruction, demonstrations, layout, program, trained weights."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .adapter import Adapter
from .demonstrations import Demonstration, Retriever
from .errors import BadInput, DataError, did_you_mean
from .programs import Program, Single, program_from_dict
from .records import Example, Message, digest
from .template import ENGINES, Template, parse_prompt

__all__ = ["Adapter", "Demonstration", "Prompt", "Retriever"]

SAVED = (
    "instruction", "demonstrations", "retriever", "template", "program", "adapter", "parents", "origin",
    "id",
)  # fmt: skip
"""What a saved prompt may hold; its id, which results add, follows from the rest."""


@dataclass(frozen=True)
class Prompt:
    """An immutable candidate.

    Equality, hash and `id` hold what a model would see and how it is called; lineage (`parents`,
    `origin`) is left out, so the same text found twice is the same prompt.

    Attributes:
        instruction: what to do, in words.
        demonstrations: worked examples, in order.
        retriever: chooses further ones for each row, shown after them.
        template: how the parts are laid out.
        program: how one answer is produced from model calls.
        adapter: trained weights that every call of it is made with: a soft prompt, or a changed model.
        parents: ids of the prompts it was made from.
        origin: what made it, in a word or two (`ape/forward`).
    """

    instruction: str = ""
    demonstrations: tuple[Demonstration, ...] = ()
    template: Template = Template()
    program: Program = Single()
    retriever: Retriever | None = field(default=None, kw_only=True)
    adapter: Adapter | None = field(default=None, kw_only=True)
    parents: tuple[str, ...] = field(default=(), compare=False)
    origin: str = field(default="user", compare=False)

    @classmethod
    def parse(cls, text: str, fields: list[str] | tuple[str, ...]) -> Prompt:
        """Read a prompt written as one text; see `template.parse_prompt` for how it is split."""
        instruction, template = parse_prompt(text, fields)
        prompt = cls(instruction, template=template)
        prompt.template.check(fields)
        return prompt

    @cached_property
    def id(self) -> str:
        """Content hash: 16 hexadecimal digits."""
        content = self.to_dict()
        del content["parents"], content["origin"]
        if self.adapter is not None:
            content["adapter"] = self.adapter.digest
        return digest(content)

    def shown(self, example: Example) -> tuple[Demonstration, ...]:
        """Return the demonstrations that go with one row."""
        retrieved = self.retriever.nearest(example.inputs) if self.retriever else ()
        return (*self.demonstrations, *retrieved)

    def render(self, example: Example) -> tuple[Message, ...]:
        """Return the messages for one row."""
        template = self.template
        demonstrations = [
            template.render(template.demonstration, {**demo.inputs, "output": demo.output})
            for demo in self.shown(example)
        ]
        header = [template.header] if template.header and demonstrations else []
        shown = template.separator.join([*header, *demonstrations])
        values = {**example.inputs, "instruction": self.instruction, "demonstrations": shown}
        user = Message("user", template.render(template.user, values))
        system = template.render(template.system, values)
        return (Message("system", system), user) if system else (user,)

    def child(self, *, origin: str, **changes: Any) -> Prompt:
        """Return a changed copy whose parent is this prompt."""
        return replace(self, parents=(self.id,), origin=origin, **changes)

    @property
    def length(self) -> int:
        """Characters of its texts and demonstrations, its user layout aside: a shorter one has fewer."""
        program = [text for key, text in self.program.to_dict().items() if key != "name"]
        texts = [self.instruction, self.template.system, self.template.header, *program]
        retrieved = self.retriever.length if self.retriever else 0
        shown = sum(demo.length for demo in self.demonstrations) + retrieved
        trained = self.adapter.length if self.adapter else 0
        return sum(len(text) for text in texts if isinstance(text, str)) + shown + trained

    @property
    def label(self) -> str:
        """The prompt in a line or a few, for people: its instruction, or its layout where it has none."""
        text = self.instruction or self.template.user
        return text if self.adapter is None else f"{self.adapter.label} {text}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` reads it back."""
        return {
            "instruction": self.instruction,
            "demonstrations": [demo.to_dict() for demo in self.demonstrations],
            # Retriever, header and adapter are left out where there is none: older prompts keep their ids.
            **({"retriever": self.retriever.to_dict()} if self.retriever else {}),
            "template": {k: v for k, v in asdict(self.template).items() if v or k != "header"},
            "program": self.program.to_dict(),
            **({"adapter": self.adapter.to_dict()} if self.adapter else {}),
            "parents": list(self.parents),
            "origin": self.origin,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], folder: Path | None = None) -> Prompt:
        """Read what `to_dict` wrote; `folder` holds the file of trained weights, if there is any.

        Raises:
            BadInput: it is not that, or a part of it is unknown here and would be lost.
        """
        for key in data if isinstance(data, dict) else ():
            if key not in SAVED:
                raise DataError("prompt", f"a saved prompt has no {key!r}", do=did_you_mean(str(key), SAVED))
        try:
            retriever, adapter = data.get("retriever"), data.get("adapter")
            prompt = cls(
                instruction=data["instruction"],
                demonstrations=tuple(map(Demonstration.from_dict, data.get("demonstrations", ()))),
                retriever=None if retriever is None else Retriever.from_dict(retriever),
                template=Template(**data.get("template", {})),
                program=program_from_dict(data.get("program", {"name": "single"})),
                adapter=None if adapter is None else Adapter.from_dict(adapter, folder),
                parents=tuple(data.get("parents", ())),
                origin=data.get("origin", "user"),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise DataError("prompt", f"not a saved prompt: {error!r}", got=data) from error
        texts = [prompt.instruction, prompt.origin, *prompt.parents, *astuple(prompt.template)]
        if not all(isinstance(text, str) for text in texts) or prompt.template.engine not in ENGINES:
            raise DataError("prompt", "not a saved prompt: a text is missing or wrong", got=data)
        return prompt

    def save(self, path: str | Path) -> Path:
        """Write the prompt as JSON, the file of its trained weights beside it, and return the path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.adapter is not None:
            self.adapter.copy_to(target.parent)
        target.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | Path) -> Prompt:
        """Read a prompt that `save` wrote.

        Raises:
            DataError: the file is not that.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(str(path), f"cannot be read as a prompt: {error}") from error
        try:
            return cls.from_dict(data, Path(path).parent)
        except BadInput as error:
            raise DataError(f"{path}: {error.where}", error.problem, got=error.got, do=error.do) from error
