"""How other tools load what is exported for them: from files to a function from a row to messages."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

Rows = list[dict[str, str]]
Messages = list[dict[str, str]]
Render = Callable[[dict[str, str]], Messages]

LANGCHAIN_ROLES = {"system": "system", "human": "user"}


def text(files: Mapping[str, bytes], folder: Path) -> Render:
    """A text file: what stands before its last line end, slots replaced in one pass."""
    (content,) = files.values()
    whole = content.decode()
    assert whole.endswith("\n")
    return lambda row: [
        {"role": "user", "content": _replaced(whole[:-1], {f"{{{{{k}}}}}": v for k, v in row.items()})}
    ]


def messages(files: Mapping[str, bytes], folder: Path) -> Render:
    """JSON: placeholders replaced in one pass."""
    data = json.loads(files["messages.json"])
    return lambda row: [
        {**one, "content": _replaced(one["content"], {p: row[name] for name, p in data["inputs"].items()})}
        for one in data["messages"]
    ]


def _replaced(whole: str, values: Mapping[str, str]) -> str:
    if not values:
        return whole
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], whole)


def jinja(files: Mapping[str, bytes], folder: Path) -> Render:
    """Jinja with its defaults."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined)
    roles = {"prompt.jinja": "user", "system.jinja": "system", "user.jinja": "user"}
    templates = {roles[name]: environment.from_string(content.decode()) for name, content in files.items()}
    return lambda row: [{"role": role, "content": one.render(row)} for role, one in templates.items()]


def python(files: Mapping[str, bytes], folder: Path) -> Render:
    """The module's own function."""
    return _module(files["prompt.py"], folder / "prompt.py").messages


def dspy(files: Mapping[str, bytes], folder: Path) -> Render:
    """A DSPy program: what its language model is asked."""
    dspy = pytest.importorskip("dspy")
    (folder / "program.json").write_bytes(files["program.json"])
    module = _module(files["program.py"], folder / "program.py")
    asked: list[Messages] = []

    class Asked(dspy.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
            asked.append(messages)
            return _completion("said")

    program = module.load()

    def render(row: dict[str, str]) -> Messages:
        with dspy.context(lm=Asked(model="test/asked", cache=False), disable_history=True):
            assert program(**{module.NAMES[key]: value for key, value in row.items()}).output == "said"
        return asked.pop()

    return render


def _completion(content: str) -> Any:
    from types import SimpleNamespace as Plain

    choice = Plain(message=Plain(content=content, tool_calls=None), finish_reason="stop", logprobs=None)
    return Plain(choices=[choice], usage={}, model="test/asked", _hidden_params={})


def langchain(files: Mapping[str, bytes], folder: Path) -> Render:
    """LangChain's loader of its own serialisation."""
    load = pytest.importorskip("langchain_core.load")
    prompt = load.loads(files["chat_prompt.json"].decode(), allowed_objects="core")
    return lambda row: [
        {"role": LANGCHAIN_ROLES[one.type], "content": one.content}
        for one in prompt.invoke(row).to_messages()
    ]


def mlflow(files: Mapping[str, bytes], folder: Path) -> Render:
    """A prompt of MLflow's registry, as it comes back."""
    versions = pytest.importorskip("mlflow.entities.model_registry.prompt_version")
    given = json.loads(files["prompt.json"])
    prompt = versions.PromptVersion(name=given["name"], version=1, template=given["template"])
    return lambda row: prompt.format(**row)


NUNJUCKS = """\
const {raws, rows} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const env = require('nunjucks').configure({autoescape: false});
const within = (value, row) => typeof value === 'string' ? env.renderString(value, row)
  : Array.isArray(value) ? value.map((one) => within(one, row))
  : Object.fromEntries(Object.entries(value).map(([key, one]) => [key, within(one, row)]));
console.log(JSON.stringify(raws.map((raw, at) => within(JSON.parse(raw), rows[at]))));
"""
"""What promptfoo 0.121 does with a prompt that is JSON (`renderPrompt`, `renderVarsInObject`)."""


def nunjucks(raws: list[str], rows: Rows, modules: str) -> list[Messages]:
    """Render prompts of promptfoo by the library that it uses, under Node."""
    done = subprocess.run(
        ["node", "-e", NUNJUCKS], input=json.dumps({"raws": raws, "rows": rows}), text=True, check=True,
        capture_output=True, timeout=60, env={"NODE_PATH": modules, "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )  # fmt: skip
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def promptfoo_raw(files: Mapping[str, bytes]) -> str:
    """The prompt of a promptfoo configuration."""
    (prompt,) = yaml.safe_load(files["promptfooconfig.yaml"])["prompts"]
    assert prompt.keys() == {"id", "label", "raw"}
    assert "\n" in prompt["raw"]  # or promptfoo may take it for the name of a file
    return str(prompt["raw"])


def promptfoo(files: Mapping[str, bytes], folder: Path) -> Render:
    """promptfoo's JSON prompts; variables and constants are alike in Nunjucks and Jinja, line ends apart."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    parsed = json.loads(promptfoo_raw(files))
    return lambda row: [
        {**one, "content": environment.from_string(one["content"]).render(row)} for one in parsed
    ]


def _module(code: bytes, path: Path) -> Any:
    path.write_bytes(code)
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


READERS: dict[str, Callable[[Mapping[str, bytes], Path], Render]] = {
    "text": text, "messages": messages, "jinja": jinja, "python": python, "dspy": dspy,
    "langchain": langchain, "mlflow": mlflow, "promptfoo": promptfoo,
}  # fmt: skip
logging.getLogger("dspy").setLevel(logging.ERROR)
