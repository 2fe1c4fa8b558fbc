"""Prompts in files: saved ones (.json), texts, and those of a promptfoo configuration (.yaml)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import strict_yaml
from .errors import ConfigError, DataError, did_you_mean
from .prompt import Prompt
from .template import SLOT, braces, slots

NUNJUCKS = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
RAW = re.compile(r"\{%\s*raw\s*%\}(.*?)\{%\s*endraw\s*%\}", re.DOTALL)
VARIABLE = re.compile(r"\{\{-?\s*([A-Za-z_$][\w$]*)\s*-?\}\}")
CONSTANT = re.compile(r"""\{\{\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\}\}""", re.DOTALL)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
FILE = "file://"


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt as a person writes it.

    Attributes:
        text: instruction and layout in one, with `{{column}}` slots.
        system: layout of the system message.
    """

    text: str
    system: str = ""

    def parse(self, fields: Iterable[str] | None = None) -> Prompt:
        """Return the prompt for rows with these columns; None: those that it names."""
        named = [*slots(self.system), *slots(self.text)]
        prompt = Prompt.parse(self.text, tuple(dict.fromkeys(named) if fields is None else fields))
        return (
            replace(prompt, template=replace(prompt.template, system=self.system)) if self.system else prompt
        )


def read_prompt(path: str | Path, where: str, fields: Iterable[str] | None = None) -> Prompt:
    """Return the prompt that a file holds.

    Args:
        path: `.json`: a saved prompt; `.yaml`: a promptfoo configuration, `#LABEL` behind it where it has
            several prompts; anything else: a text.
        where: for messages.
        fields: columns that it may use; None: those it names.

    Raises:
        BadInput: it cannot be read, or holds what a prompt cannot.
    """
    if Path(path).suffix == ".json":
        return Prompt.load(path)
    return read_written(path, where).parse(fields)


def read_written(path: str | Path, where: str) -> Written:
    """Return a text or a promptfoo prompt; see `read_prompt`."""
    file, label = _split_label(Path(path))
    if file.suffix in (".yaml", ".yml"):
        written = _of_promptfoo(file, label, where)
    else:
        written = Written(_text(file, where).rstrip("\n"))
    if not written.text.strip():
        raise DataError(where, "is empty", do="write the instruction you use today")
    return written


def exists(path: str | Path) -> bool:
    """Return whether there is a file, whatever label stands behind its name."""
    return _split_label(Path(path))[0].is_file()


def _split_label(path: Path) -> tuple[Path, str]:
    if path.exists() or "#" not in path.name:
        return path, ""
    name, _, label = path.name.partition("#")
    return (path.with_name(name), label) if name else (path, "")


def _text(file: Path, where: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(where, f"cannot be read as a prompt: {error}", do="save it as UTF-8 text") from error


# --- promptfoo ----------------------------------------------------------------------------------------


def _of_promptfoo(file: Path, label: str, where: str) -> Written:
    """Read a prompt of a promptfoo configuration (https://www.promptfoo.dev/docs/configuration/prompts/)."""
    config = strict_yaml.load(file).value
    given = config.get("prompts") if isinstance(config, dict) else None
    if not given:
        raise DataError(where, "is no promptfoo configuration: it has no `prompts`")
    found: dict[str, str] = {}
    for number, one in enumerate(given if isinstance(given, list) else [given], 1):
        name, raw = _entry(one, number, where)
        for part, text in enumerate(_loaded(raw, file.parent, where)):
            found[f"{name}-{part + 1}" if part else name] = text
    if label:
        if label not in found:
            raise DataError(where, f"has no prompt {label!r}", do=did_you_mean(label, found))
        return _written(found[label], where)
    if len(found) > 1:
        raise DataError(
            where,
            f"has {len(found)} prompts",
            got=list(found),
            do=f"name one: {file.name}#{next(iter(found))}",
        )
    return _written(next(iter(found.values())), where)


def _entry(given: Any, number: int, where: str) -> tuple[str, str]:
    """Return the name and the raw text of one entry of `prompts`."""
    if isinstance(given, str):
        return str(number), given
    raw = given.get("raw") or given.get("id") if isinstance(given, dict) else None
    if not isinstance(raw, str):
        raise DataError(where, "a prompt must be a text, or have `raw` or `id`", got=given)
    return str(given.get("label") or number), raw


def _loaded(raw: str, folder: Path, where: str) -> list[str]:
    """Return the texts behind an entry: itself, or those of the file that it names."""
    if not raw.startswith(FILE):
        return [raw]
    file = folder / raw.removeprefix(FILE)
    if file.suffix not in (".txt", ".json", ".md", ".j2", ".yaml", ".yml"):
        raise DataError(
            where, "the prompt is made by a program, which is not run here", got=raw, do="write it out"
        )
    text = _text(file, where)
    if file.suffix in (".yaml", ".yml"):
        return [json.dumps(strict_yaml.load(file).value)]
    return (
        [part.strip() for part in re.split(r"^---\s*$", text, flags=re.MULTILINE)]
        if file.suffix == ".txt"
        else [text]
    )


def _written(raw: str, where: str) -> Written:
    """Read a text, or the JSON of chat messages."""
    try:
        messages = json.loads(raw)
    except ValueError:
        return Written(_slotted(raw, where).rstrip("\n"))
    if not isinstance(messages, list):
        return Written(_slotted(raw, where).rstrip("\n"))
    texts: dict[str, str] = {}
    for message in messages:
        role, content = (
            (message.get(key) for key in ("role", "content")) if isinstance(message, dict) else (0, 0)
        )
        role = "system" if role == "developer" else role
        if role not in ("system", "user") or role in texts or not isinstance(content, str):
            raise DataError(
                where, "must be one user message, and a system message if need be, of text", got=message,
                do="write turns of a conversation into the user message",
            )  # fmt: skip
        texts[str(role)] = _slotted(content, where)
    if "user" not in texts:
        raise DataError(where, "has no user message", got=raw)
    return Written(texts["user"], texts.get("system", ""))


def _slotted(text: str, where: str) -> str:
    """Turn a Nunjucks template of variables and constants into a text with slots."""
    pieces: list[str] = []
    for place, part in enumerate(RAW.split(text)):
        if place % 2:  # between raw and endraw
            pieces.append(_literal(part, where))
            continue
        for piece in NUNJUCKS.split(part):
            if variable := VARIABLE.fullmatch(piece):
                pieces.append(braces(variable[1]))
            elif constant := CONSTANT.fullmatch(piece):
                body = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), constant[1][1:-1], flags=re.DOTALL)
                pieces.append(body)
            elif piece.startswith(("{{", "{%", "{#")):
                raise DataError(
                    where,
                    "uses Nunjucks beyond {{variable}}",
                    got=piece,
                    do="write the prompt with slots alone",
                )
            else:
                pieces.append(piece)
    whole = "".join(pieces)
    if len(SLOT.findall(whole)) != sum(bool(SLOT.fullmatch(piece)) for piece in pieces):
        raise ConfigError(where, "holds words that look like a slot", got=whole, do="reword them")
    return whole


def _literal(text: str, where: str) -> str:
    if SLOT.search(text):
        raise ConfigError(where, "holds words that look like a slot", got=text, do="reword them")
    return text
