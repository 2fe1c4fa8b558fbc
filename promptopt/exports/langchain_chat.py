"""LangChain: a ChatPromptTemplate as `langchain_core.load.dumps` writes it and `loads` reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..contracts.exporter import Export, Source
from ._layout import MessageLayout, Slot, identifiers, lay_out, renamed

CLASSES = {"system": "SystemMessagePromptTemplate", "user": "HumanMessagePromptTemplate"}


@dataclass(frozen=True)
class LangChainChat:
    """`chat_prompt.json`, a ChatPromptTemplate of f-string templates (langchain-core 1)."""

    def export(self, source: Source) -> Export:
        """Return `chat_prompt.json`."""
        layout = lay_out(source.prompt, "langchain")
        names = identifiers(layout.fields)
        messages = [
            _constructor("chat", CLASSES[message.role], prompt=_template(message, names))
            for message in layout.messages
        ]
        inputs = sorted(names.values())
        prompt = _constructor("chat", "ChatPromptTemplate", input_variables=inputs, messages=messages)
        text = json.dumps(prompt, indent=2) + "\n"
        return Export({"chat_prompt.json": text.encode()}, (*layout.notes, *renamed(names)))


def _template(message: MessageLayout, names: dict[str, str]) -> dict[str, Any]:
    used = {names[piece.name] for piece in message.pieces if isinstance(piece, Slot)}
    text = message.write(
        lambda text, _: text.replace("{", "{{").replace("}", "}}"), lambda name: f"{{{names[name]}}}"
    )
    return _constructor(
        "prompt", "PromptTemplate", input_variables=sorted(used), template=text, template_format="f-string"
    )


def _constructor(module: str, kind: str, **arguments: Any) -> dict[str, Any]:
    name = ["langchain", "prompts", module, kind]
    return {"lc": 1, "type": "constructor", "id": name, "kwargs": arguments}
