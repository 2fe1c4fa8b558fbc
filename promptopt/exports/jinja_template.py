"""Jinja: a template a message."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.exporter import Export, Source
from ..errors import ConfigError
from ..prompt import Prompt
from ..records import Message
from ._layout import for_jinja, identifiers, lay_out, renamed


@dataclass(frozen=True)
class JinjaTemplate:
    """`prompt.jinja`, or `system.jinja` and `user.jinja`: right in any environment without autoescape."""

    def export(self, source: Source) -> Export:
        """Return a template for each message."""
        prompt = source.prompt
        if prompt.template.engine == "jinja":
            return _own(prompt)
        layout = lay_out(prompt, "jinja")
        names = identifiers(layout.fields)
        texts = [
            Message(one.role, one.write(for_jinja, lambda name: f"{{{{ {names[name]} }}}}"))
            for one in layout.messages
        ]
        return Export(_files(texts), (*layout.notes, *renamed(names)))


def _own(prompt: Prompt) -> Export:
    """Return a layout that is Jinja already, its own slots set at the top."""
    if prompt.retriever is not None or prompt.adapter is not None or prompt.program.name != "single":
        raise ConfigError("export jinja", "a Jinja layout is exported with a fixed text and one call only")
    if prompt.demonstrations:
        raise ConfigError(
            "export jinja", "its demonstrations are laid out by a template of their own", do="write them out"
        )
    own = {"instruction": prompt.instruction, "demonstrations": ""}
    head = "".join(
        f'{{% set {name} = "{_quoted(value)}" %}}' for name, value in own.items()
        if name in prompt.template.user + prompt.template.system
    )  # fmt: skip
    layouts = [("system", prompt.template.system), ("user", prompt.template.user)]
    texts = [Message(role, head + text) for role, text in layouts if text]
    return Export(_files(texts), ("render with keep_trailing_newline=True",))


def _quoted(text: str) -> str:
    plain = text.encode("unicode_escape").decode("ascii")
    return plain.replace('"', r"\"")


def _files(texts: list[Message]) -> dict[str, bytes]:
    if len(texts) == 1:
        return {"prompt.jinja": _encoded(texts[0].content)}
    return {f"{message.role}.jinja": _encoded(message.content) for message in texts}


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "export jinja", "the prompt holds half characters (surrogates)", do="use the format messages"
        ) from error
