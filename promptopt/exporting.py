"""The public call `export`: a run's winner or a saved prompt, in a format that another tool reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from . import plugins
from .contracts.exporter import Export, Exporter, Source
from .contracts.model import Decoding
from .errors import ConfigError, ContractError, DataError
from .programs import first_asks
from .prompt import Prompt
from .promptfile import exists, read_prompt
from .records import Message
from .runfolder import RunFolder
from .strict_yaml import load as load_yaml

UNPROVEN = "the run found no reliable improvement over your prompt"
Given = str | Path | Prompt
"""A prompt, or the name of what holds one: a run's folder, a saved prompt.json, a text file."""


def export(
    given: Given, format: str, out: str | Path | None = None, *, force: bool = False, **options: Any
) -> Export:
    """Write a prompt in a format of another tool.

    Args:
        given: a run's folder (its winner), a saved prompt, a text file, or a Prompt.
        format: `promptopt plugins` lists them.
        out: where to write: the file, if it is one, or the folder; None writes nothing.
        force: overwrite what is there.
        options: of the format.

    Returns:
        The files, by relative path, and what there is to know of them.

    Raises:
        ConfigError: the format cannot hold the prompt, or `out` cannot be written.
        DataError: there is no such prompt.
        PluginError: there is no such format.

    Example:
        >>> export("runs/latest", "langchain", "chat_prompt.json")
    """
    exporter: Exporter = plugins.build("exports", format, options)
    source = source_of(given)
    made = exporter.export(source)
    if not isinstance(made, Export) or not made.files:
        raise ContractError(f"export {format}", "returned no files", got=type(made).__name__)
    made = replace(made, notes=(*source.notes, *made.notes))
    if out is not None:
        for path, content in places(made.files, out).items():
            _write(path, content, force=force)
    return made


def source_of(given: Given) -> Source:
    """Return the prompt that a folder, a file or an argument holds, and what is known of its target.

    Raises:
        DataError: there is none.
    """
    if isinstance(given, Prompt):
        return Source(given, "prompt")
    path = Path(given)
    if path.is_dir():
        return _of_run(str(given), path)
    if not exists(path):
        raise DataError(
            str(given), "no such run or prompt", do="name a run's folder, a saved prompt or a text file"
        )
    return Source(read_prompt(path, str(given)), _name(path.stem))


def _of_run(given: str, path: Path) -> Source:
    folder = RunFolder.existing(path)
    result = folder.result()
    if result is None:
        raise DataError(given, "this run is not done, so it has no winner", do=f"promptopt resume {given}")
    prompt = Prompt.from_dict(result["best"], folder.path / "best")
    lock: Any = load_yaml(folder.lock_file).value
    target = lock.get("target") if isinstance(lock, Mapping) else None
    model = target.get("model") if isinstance(target, Mapping) else target
    decoding = target.get("decoding") if isinstance(target, Mapping) else None
    told = {key: value for key, value in (decoding or {}).items() if key in Decoding.__dataclass_fields__}
    if "stop" in told:
        told["stop"] = tuple(told["stop"])
    name = model if isinstance(model, str) and "/" in model else ""
    notes = () if result["verdict"]["reliable"] else (UNPROVEN,)
    (ask, *_) = first_asks(prompt.program, (Message("user", ""),))
    answered = ask.decoding(Decoding(**told)) if told else None
    return Source(prompt, _name(folder.path.name), name, answered, notes)


def places(files: Mapping[str, bytes], out: str | Path) -> dict[Path, bytes]:
    """Return where each file goes: one alone to `out` itself, unless that is a folder; several below it.

    Raises:
        ConfigError: `out` is a file, and there are several.
        ContractError: a format wants to write elsewhere.
    """
    target = Path(out)
    if len(files) == 1 and not target.is_dir() and not str(out).endswith("/"):
        return {target: next(iter(files.values()))}
    if target.is_file():
        raise ConfigError(str(out), f"is a file, and the format writes {len(files)}", do="name a folder")
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ContractError("export", "a format may write below its folder only", got=name)
    return {target / name: content for name, content in files.items()}


def _write(path: Path, content: bytes, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(str(path), "is there already", do="use --force to overwrite it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be written: {error.strerror}") from error


def _name(text: str) -> str:
    """Return a name that every tool takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "prompt"
