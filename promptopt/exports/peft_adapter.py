"""PEFT: trained weights as an adapter folder, with the messages they were trained for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from ..contracts.exporter import Export, Source
from ..errors import ConfigError
from ..peft_format import peft_files
from ._layout import lay_out
from .chat_messages import messages_json


@dataclass(frozen=True)
class PeftAdapter:
    """`adapter_config.json` and `adapter_model.safetensors` for `peft.PeftModel`, and `messages.json`.

    Attributes:
        base: name or folder of the model, as PEFT's users load it; default: that of the run.
    """

    base: str = ""

    def export(self, source: Source) -> Export:
        """Return the adapter's folder."""
        adapter = source.prompt.adapter
        if adapter is None:
            raise ConfigError(
                "export peft", "the prompt has no trained weights", do="use the format messages, or text"
            )
        layout = lay_out(source.prompt, "peft", weights=True)
        base = self.base or _base(source.model)
        if not base:
            raise ConfigError(
                "export peft", "the model is not known", do="name it: --set base=FOLDER-OR-HUB-ID"
            )
        return Export(
            {**peft_files(adapter, base=base), "messages.json": messages_json(layout)},
            (*layout.notes, "PEFT is right for a row at a time; left-padded batches need the padding moved"),
        )


def _base(model: str) -> str:
    """Return where the weights of a local model are."""
    provider, _, name = model.partition("/")
    if provider == "embedded":
        return str(files("promptopt.models.embedded").joinpath(name))
    return name if provider == "hf" else ""
