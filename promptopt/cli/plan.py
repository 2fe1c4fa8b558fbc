"""`promptopt plan`: how long a job takes on so many servers, and what it costs, before there is any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ._options import Config, Overrides, job_of

if TYPE_CHECKING:  # the help must not wait for it
    from ..capacity import Outlook


def plan(
    config: Config,
    replicas: Annotated[int, typer.Option(min=1, help="Servers of the model.")] = 1,
    tokens_per_s: Annotated[
        float | None,
        typer.Option(
            "--tokens-per-s", help="Tokens that one writes a second when it is busy.", show_default=False
        ),
    ] = None,
    prompt_tokens_per_s: Annotated[
        float | None,
        typer.Option(
            "--prompt-tokens-per-s", help="Tokens that it reads a second then. Default: as many.",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Calls that it serves at once.")] = 64,
    latency: Annotated[
        float, typer.Option(min=0.0, help="Seconds of a call that have nothing to do with its tokens.")
    ] = 0.0,
    usd_per_hour: Annotated[
        float, typer.Option("--usd-per-hour", min=0.0, help="US dollars that a server costs an hour.")
    ] = 0.0,
    reply_tokens: Annotated[
        float | None,
        typer.Option(
            "--reply-tokens", min=0.0, help="Tokens of a reply. Default: as many as the rows' answers have.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Plan `score --data FILE` instead of the job's search.", show_default=False),
    ] = None,
    part: Annotated[
        int | None, typer.Option(min=1, help="With --data: rows of a part, as for score.", show_default=False)
    ] = None,
    overrides: Overrides = None,
) -> None:  # fmt: skip
    """Say how long a job will take on so many servers of the target, and what it will cost; buy nothing."""
    from ..api_scale import plan_capacity
    from ..capacity import Replicas, on_fewer_and_more

    if tokens_per_s is None:
        raise ConfigError(
            "--tokens-per-s", "is missing", do="give the tokens that one server writes a second, as measured"
        )
    fleet = Replicas(replicas, tokens_per_s, prompt_tokens_per_s, slots, latency, usd_per_hour)
    outlook, waves = plan_capacity(
        job_of(config, overrides), fleet, data=data, reply_tokens=reply_tokens, part=part
    )
    print_outlook(outlook)
    print_table(on_fewer_and_more(outlook, waves))


def print_outlook(outlook: Outlook) -> None:
    """Print what a job takes."""
    from ..progress import clock_text, count, tokens_text

    usage = outlook.usage
    print(
        f"calls     {count(outlook.calls)} in {count(outlook.waves)} waves: "
        f"{tokens_text(usage.prompt_tokens)} tokens read, {tokens_text(usage.completion_tokens)} written"
    )
    print(
        f"time      {clock_text(outlook.seconds)}, the servers {outlook.busy:.0%} busy; "
        f"{clock_text(outlook.floor)} if they were always busy; promptopt itself {clock_text(outlook.own)}"
    )


def print_table(outlooks: list[Outlook]) -> None:
    """Print how the same job fares on fewer and more servers."""
    from ..progress import clock_text, usd_text
    from ._table import console, table

    shown = table("servers", {"time": 8, "busy": 5, "tokens": 8, "servers ": 8})
    for each in outlooks:
        shown.add_row(
            str(each.replicas.count),
            clock_text(each.seconds),
            f"{each.busy:.0%}",
            "-" if each.usd_tokens is None else usd_text(each.usd_tokens),
            usd_text(each.usd_replicas) if each.replicas.usd_per_hour else "-",
        )
    console().print(shown)
