"""The public call `optimize` for programs that have an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from .api import Function, Named, Options, optimize
from .contracts.model import LanguageModel
from .contracts.reward import Reward
from .contracts.searcher import Searcher
from .data import Source
from .events import Event, ignore
from .prompt import Prompt
from .records import Budget
from .study import Study


class _Cancelled(BaseException):
    """Ends the run's thread the way Ctrl-C would; no `except Exception` on its way holds it up."""


async def aoptimize(
    *,
    prompt: str | Prompt,
    train: Source,
    target: Named | LanguageModel | Function,
    reward: Named | Reward | Function = "exact_match",
    search: Named | Searcher | Sequence[Named | Searcher] = "ape",
    budget: Budget | Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Study:
    """Do what `optimize` does, in a thread, so that the event loop goes on.

    When the task is cancelled, the run ends at its next answer, and what was bought is kept in its folder:
    the same call with `folder` set to it goes on from there. `listen`, and functions that stand for a model
    or a reward, are called in the run's thread.

    Args:
        prompt: as for `optimize`, and so are all others.
        train: rows.
        target: the model whose answers are to get better.
        reward: how a reply is judged.
        search: how prompts are found.
        budget: hard caps.
        options: see `Options`.

    Example:
        >>> study = await aoptimize(prompt="Answer: {{question}}", train=rows, target="embedded/small")
    """
    cancelled = threading.Event()
    listen = options.get("listen", ignore)

    def watch(event: Event) -> None:
        if cancelled.is_set():
            raise _Cancelled
        listen(event)

    options["listen"] = watch
    run = asyncio.ensure_future(
        asyncio.to_thread(
            optimize, prompt=prompt, train=train, target=target, reward=reward, search=search, budget=budget,
            **options,
        )
    )  # fmt: skip
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([run])
        run.exception()  # looked at, so that nobody complains of it
        raise
