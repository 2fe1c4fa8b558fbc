"""`promptopt init`: write a job file to start from, or the demo with its rows."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

CONFIG = "promptopt.yaml"
SCHEMA = "promptopt.schema.json"
BLANK = {CONFIG: "start.yaml"}
DEMO = {CONFIG: "demo.yaml", "rows.jsonl": "rows.jsonl", "NOTICE.md": "README.md"}


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to write.", show_default=False)
    ] = Path(),
    demo: Annotated[
        bool, typer.Option("--demo", help="A job that runs offline at once, with its rows.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write a job file to start from."""
    import json

    from ..config import json_schema
    from ..errors import ConfigError

    source = files("promptopt.demo")
    texts = {
        name: source.joinpath(original).read_text(encoding="utf-8")
        for name, original in (DEMO if demo else BLANK).items()
    }
    texts[SCHEMA] = json.dumps(json_schema(), indent=2) + "\n"
    there = [name for name in texts if (folder / name).exists()]
    if there and not force:
        raise ConfigError(str(folder / there[0]), "is there already", do="use --force to overwrite it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(folder), f"cannot be written: {error.strerror}") from error
    print(f"wrote {', '.join(str(folder / name) for name in texts)}")
    if demo:
        print(f"next: promptopt run {folder / CONFIG}")
    else:
        print(f"next: fill in {folder / CONFIG}, then promptopt run {folder / CONFIG} --dry-run")
