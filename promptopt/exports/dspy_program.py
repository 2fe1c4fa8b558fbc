"""DSPy: a module with the prompt's layout as its adapter, and the program state that it loads.

DSPy's own adapters write messages of their own around an instruction. To get those that were scored, the
module brings an adapter that lays them out as the prompt does; instruction and demonstrations are in the
state, so DSPy's optimizers can go on from there.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ..contracts.exporter import Export, Source
from ..programs import SelfConsistency
from ..prompt import Prompt
from ._layout import identifiers, lay_out, renamed

PRIVILEGED = ("signature", "demos", "config", "lm", "new_signature", "prediction", "output", "instructions")
"""What an input of a DSPy module must not be called."""


@dataclass(frozen=True)
class DSPyProgram:
    """`program.py` with the module `Program`, and `program.json`, the state it loads (DSPy 3)."""

    def export(self, source: Source) -> Export:
        """Return module and state."""
        prompt = source.prompt
        layout = lay_out(prompt, "dspy")
        demonstrations = [name for demo in prompt.demonstrations for name in demo.inputs]
        names = identifiers(dict.fromkeys([*layout.fields, *demonstrations]), PRIVILEGED)
        inputs = {field: names[field] for field in layout.fields}
        kept = _keeps(prompt.instruction)
        template, program = prompt.template, prompt.program
        constants = {
            "INSTRUCTION": None if kept else prompt.instruction,
            "NAMES": names,
            "INPUTS": list(inputs.values()),
            "USER": template.user,
            "SYSTEM": template.system,
            "DEMONSTRATION": template.demonstration,
            "SEPARATOR": template.separator,
            "HEADER": template.header,
            "TRIGGER": program.trigger if isinstance(program, SelfConsistency) else "",
        }
        code = files("promptopt.exports").joinpath("dspy_program.py.txt").read_text(encoding="utf-8")
        lines = "".join(f"{name} = {value!a}\n" for name, value in constants.items())
        module = code.replace("# constants\n", lines)
        state = json.dumps(_state(prompt, names, list(inputs.values()), kept), indent=2) + "\n"
        return Export(
            {"program.py": module.encode(), "program.json": state.encode()},
            (*layout.notes, *renamed(names)),
        )


def _keeps(instruction: str) -> bool:
    """Return whether a signature keeps an instruction: DSPy cleans indents, and replaces an empty one."""
    return bool(instruction) and inspect.cleandoc(instruction) == instruction


def _state(prompt: Prompt, names: dict[str, str], inputs: list[str], kept: bool) -> dict[str, Any]:
    fields = [
        {"prefix": f"{name.replace('_', ' ').capitalize()}:", "description": f"${{{name}}}"}
        for name in (*inputs, "output")
    ]
    demos = [
        {names[field]: value for field, value in demo.inputs.items()} | {"output": demo.output}
        for demo in prompt.demonstrations
    ]
    instructions = prompt.instruction if kept else "The instruction is part of the layout."
    answer = {
        "traces": [],
        "train": [],
        "demos": demos,
        "signature": {"instructions": instructions, "fields": fields},
        "lm": None,
    }
    return {"answer": answer, "metadata": {"dependency_versions": {}}}
