"""promptfoo: a configuration with the prompt as chat messages, rendered by Nunjucks there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..contracts.exporter import Export, Source
from ..contracts.model import Decoding
from ..strict_yaml import dump
from ._layout import for_jinja, identifiers, lay_out, renamed

HEAD = """\
# Add your rows under `tests`, then: npx promptfoo@latest eval
# promptfoo drops a line feed at the end of a value, and fills in {{column}} inside values.
"""


@dataclass(frozen=True)
class PromptfooConfig:
    """`promptfooconfig.yaml`: the prompt, its provider if that is OpenAI's, and an empty test to fill in."""

    def export(self, source: Source) -> Export:
        """Return `promptfooconfig.yaml`."""
        layout = lay_out(source.prompt, "promptfoo")
        names = identifiers(layout.fields, ("env",))
        messages = [
            {"role": one.role, "content": one.write(for_jinja, lambda name: f"{{{{ {names[name]} }}}}")}
            for one in layout.messages
        ]
        config = {
            "description": f"promptopt {source.name}",
            # Over several lines: promptfoo takes some texts of one line for the name of a file.
            "prompts": [
                {"id": source.prompt.id, "label": source.name, "raw": json.dumps(messages, indent=2)}
            ],
            "providers": [_provider(source.model, source.decoding)],
            "tests": [{"vars": dict.fromkeys(names.values(), "")}],
        }
        return Export(
            {"promptfooconfig.yaml": (HEAD + dump(config)).encode()}, (*layout.notes, *renamed(names))
        )


def _provider(model: str, decoding: Decoding | None) -> Any:
    provider, _, name = model.partition("/")
    if provider != "openai":
        return "echo"
    if decoding is None:
        return f"openai:chat:{name}"
    config = {"temperature": decoding.temperature, "max_tokens": decoding.max_tokens}
    config |= {"top_p": decoding.top_p} if decoding.top_p < 1 else {}
    return {"id": f"openai:chat:{name}", "config": config}
