"""MLflow's prompt registry: the arguments of `mlflow.genai.register_prompt`, as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ..contracts.exporter import Export, Source
from ._layout import Layout, for_jinja, identifiers, lay_out, renamed

VARIABLE = re.compile(r"\{\{\s*[a-zA-Z_][\w.]*\s*\}\}")
"""What MLflow takes for a variable."""
AS_JINJA = "{% if false %}filled in by Jinja, in one pass{% endif %}"
"""MLflow fills a template with a block in it by Jinja, otherwise one variable after the other."""


@dataclass(frozen=True)
class MLflowPrompt:
    """`prompt.json`, for `mlflow.genai.register_prompt(**json.load(open("prompt.json")))`.

    Nothing is sent anywhere by the export itself. Where the plain syntax would not give the messages that
    were scored (several columns, words that look like variables), the template is one for Jinja.
    """

    def export(self, source: Source) -> Export:
        """Return `prompt.json`."""
        layout = lay_out(source.prompt, "mlflow")
        names = identifiers(layout.fields)
        arguments: dict[str, Any] = {
            "name": source.name,
            "template": _template(layout, names),
            "commit_message": f"found by promptopt ({source.prompt.origin})",
            "tags": {"promptopt.prompt": source.prompt.id},
        }
        if config := _config(source):
            arguments["model_config"] = config
        text = json.dumps(arguments, indent=2) + "\n"
        return Export({"prompt.json": text.encode()}, (*layout.notes, *renamed(names)))


def _template(layout: Layout, names: dict[str, str]) -> list[dict[str, str]]:
    def written(jinja: bool) -> list[str]:
        def text(piece: str, last: bool) -> str:
            return for_jinja(piece, last) if jinja else piece

        return [one.write(text, lambda name: f"{{{{{names[name]}}}}}") for one in layout.messages]

    contents = written(jinja=False)
    slots = sum(not isinstance(piece, str) for one in layout.messages for piece in one.pieces)
    variables = sum(len(VARIABLE.findall(content)) for content in contents)
    if len(names) > 1 or variables != slots or any("{%" in content for content in contents):
        contents = written(jinja=True)
        contents[-1] += AS_JINJA
    return [{"role": one.role, "content": text} for one, text in zip(layout.messages, contents, strict=True)]


def _config(source: Source) -> dict[str, Any]:
    config: dict[str, Any] = {"model_name": source.model} if source.model else {}
    if source.decoding is not None:
        config |= {"temperature": source.decoding.temperature, "max_tokens": source.decoding.max_tokens}
        config |= {"top_p": source.decoding.top_p} if source.decoding.top_p < 1 else {}
        config |= {"stop_sequences": list(source.decoding.stop)} if source.decoding.stop else {}
    return config
