"""`promptopt view`: runs in a browser, those under way live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder runs are kept in, or one run.")
    ] = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of 127.0.0.1.", show_default="a free one")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show runs in a browser, those under way live; on this machine only, until Ctrl-C."""
    from ..view.serve import place_of, serve

    def ready(address: str) -> None:
        print(f"{address}\nopen it in a browser on this machine; Ctrl-C ends", flush=True)
        if open_it:
            import webbrowser

            webbrowser.open(address)

    serve(place_of(folder), port=port, ready=ready)
