"""`promptopt ls` and `promptopt plugins`: what there is, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # the help must not wait for it
    from ..runfolder import RunFolder


def ls(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="The folder runs are kept in.")] = Path("runs"),
) -> None:
    """List runs with their verdicts."""
    from rich.table import Table

    from ..errors import DataError
    from ..runfolder import RunFolder
    from ._table import console

    if not runs.is_dir():
        raise DataError(
            str(runs), "no such folder", do="`promptopt run` makes it; name another one if it is elsewhere"
        )
    found = sorted(path.parent for path in runs.glob("*/journal.sqlite") if not path.parent.is_symlink())
    if not found:
        print(f"no runs in {runs}")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "best", "verdict", "spent", "time"):
        table.add_column(
            name, no_wrap=name != "verdict", justify="right" if name in ("best", "time") else "left"
        )
    for path in found:
        table.add_row(*_row(RunFolder(path)))
    console().print(table, markup=False)


def _row(folder: RunFolder) -> list[Any]:
    from rich.text import Text

    from ..errors import DataError
    from ..ledger import Spent
    from ..progress import amounts, clock_text
    from ..proof.stats import format_number
    from ..visible import one_line

    try:
        result = folder.result()
    except DataError:
        return [Text(cell) for cell in (folder.path.name, "broken", "", "result.json cannot be read", "", "")]
    if result is None:
        return [Text(cell) for cell in (one_line(folder.path.name), folder.state, "", "", "", "")]
    verdict = result["verdict"]
    best = "" if verdict["best"] is None else format_number(verdict["best"])
    spent = sum((Spent(**part) for part in result["spent"].values()), Spent())
    cells = (
        one_line(folder.path.name),
        "done",
        best,
        _verdict(verdict),
        amounts(spent),
        clock_text(result["seconds"]),
    )
    return [Text(cell) for cell in cells]


def _verdict(verdict: dict[str, Any]) -> str:
    from ..proof.stats import format_number, format_p

    if not verdict["reliable"]:
        return "keep your prompt"
    return f"{format_number(verdict['difference'], sign=True)}, {format_p(verdict['p'])}"


def plugins() -> None:
    """List searchers, rewards, models and selectors."""
    import inspect

    from rich.table import Table
    from rich.text import Text

    from ..errors import BadInput
    from ..plugins import KINDS, installed, load
    from ._table import console

    table = Table(box=None, pad_edge=False)
    for name in ("kind", "name", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for kind in KINDS:
        for name in installed(kind):
            try:
                about = (inspect.getdoc(load(kind, name)) or "").partition("\n")[0]
            except BadInput as error:
                about = f"cannot be used: {error}"
            table.add_row(kind.removesuffix("s"), name, Text(about))
    console().print(table)
