"""`promptopt init`: write a job file to start from, for rows of your own, or the demo with its rows."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

CONFIG = "promptopt.yaml"
SCHEMA = "promptopt.schema.json"
PROMPT = "prompt: |\n  Answer the question in one word.\n\n  Question: {{input}}\n  Answer:\n"
ASKED = "Answer in a few words."
BLANK = {CONFIG: "start.yaml"}
DEMO = {CONFIG: "demo.yaml", "rows.jsonl": "rows.jsonl", "NOTICE.md": "README.md"}
FEWEST_TOKENS, MOST_TOKENS = 16, 256
"""Between which the length of replies is set by that of the answers; a token has a character at least."""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to write.", show_default=False)
    ] = Path(),
    data: Annotated[
        Path | None,
        typer.Option(help="Your rows (.csv, .jsonl, …): the job is filled in for them.", show_default=False),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            help="With --data: column of the answer. Default: output, answer, label or target.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With --data: the prompt you use today.", show_default=False)
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A job that runs offline at once, with its rows.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write a job file to start from; nothing is asked."""
    import json

    from ..config import json_schema
    from ..errors import ConfigError

    if data is None and (answer is not None or prompt is not None):
        raise ConfigError("init", "--answer and --prompt are about rows of yours", do="name them with --data")
    if data is not None and demo:
        raise ConfigError("init", "--demo brings its own rows", do="leave out --demo or --data")
    source = files("promptopt.demo")
    texts = {
        name: source.joinpath(original).read_text(encoding="utf-8")
        for name, original in (DEMO if demo else BLANK).items()
    }
    if data is not None:
        texts[CONFIG] = _filled_in(texts[CONFIG], data, folder, answer, prompt)
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
    if demo or data is not None:
        print(f"next: promptopt run {folder / CONFIG}")
    else:
        print(f"next: fill in {folder / CONFIG}, then promptopt run {folder / CONFIG} --dry-run")


def _filled_in(text: str, data: Path, folder: Path, answer: str | None, prompt: str | None) -> str:
    """Write a file of rows, its columns and a prompt into the job to start from."""
    from ..data import Columns, read
    from ..errors import DataError
    from ..strict_yaml import dump
    from ..template import Template

    try:
        rows = read(str(data), Columns() if answer is None else Columns(answer=answer))
    except DataError as error:
        do = "name it with --answer" if "answer" in error.do else error.do
        raise DataError(error.where, error.problem, got=error.got, do=do) from error
    layout = Template.for_fields(rows.fields).user.partition("{{demonstrations}}\n\n")[2]
    written = (prompt or f"{ASKED}\n\n{layout}").rstrip("\n")
    longest = max((len(one) for row in rows.examples for one in row.answers), default=0)
    tokens = max(FEWEST_TOKENS, min(MOST_TOKENS, longest))
    place = os.path.relpath(data.resolve(), folder.resolve())
    filled = {
        "  path: rows.jsonl\n": f"  {dump({'path': place}).rstrip()}   # inputs: {', '.join(rows.fields)}\n",
        "  answer: output ": f"  {dump({'answer': answer}).rstrip()} " if answer else "  # answer: output ",
        "decoding: {max_tokens: 64,": f"decoding: {{max_tokens: {tokens},",
        PROMPT: dump({"prompt": f"{written}\n"}),
    }
    for old, new in filled.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
