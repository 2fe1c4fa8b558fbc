"""The cells of a run: a prompt's answers on a split, and the very calls behind one of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import plugins
from ..contracts.model import Completion, Failure, Likelihood
from ..contracts.reward import AsksJudge
from ..errors import PromptOptError
from ..prompt import Prompt
from ..records import Example, Message
from ..report.archive import Archive, CellRow, Exchange
from ..report.replay import Replay
from ..runfolder import RunFolder
from ..strict_yaml import load

PAGE = 100
"""Cells on a page."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call for people: what was sent, what came back.

    Attributes:
        role: who was asked.
        messages: as sent.
        asked: what else was sent, in words: decoding, continuation, suffix.
        reply: the text, or the log-probability in words, or the failure.
        failed: whether it is one.
        facts: tokens, attempts, time.
        raw: request and outcome as JSON, all but ASCII escaped.
    """

    role: str
    messages: tuple[Message, ...]
    asked: str
    reply: str
    failed: bool
    facts: str
    raw: str


@dataclass(frozen=True, slots=True)
class CellPage:
    """One cell: the row, what came of it, and its calls; `missing` says why there are none."""

    prompt: Prompt
    cell: CellRow
    row: Example | None
    calls: tuple[Call, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class CellList:
    """A page of a prompt's cells on one split.

    Attributes:
        prompt: which.
        split: where the rows are from.
        splits: those it met, with the number of cells.
        cells: of this page.
        page: its number, from 1.
        pages: how many there are.
        rows: by id.
    """

    prompt: Prompt
    split: str
    splits: Mapping[str, int]
    cells: tuple[CellRow, ...]
    page: int
    pages: int
    rows: Mapping[str, tuple[str, Example]]


def cell_list(folder: RunFolder, prompt_id: str, split: str | None, page: int) -> CellList | None:
    """Return a page of a prompt's cells; None when the run has no such prompt."""
    with Archive(folder.journal) as archive:
        prompt, reward = _prompt(archive, prompt_id), _reward(archive)
        if prompt is None:
            return None
        met = {
            name: len(cells)
            for name in ("test", "select", "search")
            if (cells := archive.cells(prompt.id, name, reward))
        }
        chosen = split if split in met else next(iter(met), "search")
        cells = archive.cells(prompt.id, chosen, reward)
    pages = max(1, math.ceil(len(cells) / PAGE))
    page = min(max(page, 1), pages)
    shown = tuple(cells[(page - 1) * PAGE : page * PAGE])
    return CellList(prompt, chosen, met, shown, page, pages, folder.rows())


def cell_page(folder: RunFolder, prompt_id: str, row: str, sample: int) -> CellPage | None:
    """Return one cell with its calls; None when there is no such cell."""
    with Archive(folder.journal) as archive:
        prompt, reward = _prompt(archive, prompt_id), _reward(archive)
        if prompt is None:
            return None
        cells = (
            cell for split in ("test", "select", "search") for cell in archive.cells(prompt.id, split, reward)
        )
        cell = next((cell for cell in cells if (cell.example, cell.sample) == (row, sample)), None)
        if cell is None:
            return None
        known = folder.rows().get(row)
        example = None if known is None else known[1]
        replay = Replay(archive)
        found = () if example is None else replay.calls(prompt, example, sample)
        if example is not None and found and (judging := _judging(folder, archive)) is not None:
            found = (*found, *replay.opinions(judging, example, cell.output))
    missing = ""
    if not found:
        missing = "the journal holds no call under this cell's keys"
        if example is None:
            missing = "this row's text is not in the run's folder (test rows are sealed until the verdict)"
        elif not replay.able:
            missing = "this journal is of an earlier version, which does not say what its keys are made of"
    return CellPage(prompt, cell, example, tuple(map(call, found)), missing)


def _prompt(archive: Archive, identifier: str) -> Prompt | None:
    found = map(Prompt.from_dict, archive.prompts())
    return next((prompt for prompt in found if prompt.id == identifier), None)


def _reward(archive: Archive) -> str:
    return str((archive.meta("task") or {}).get("reward", ""))


def _judging(folder: RunFolder, archive: Archive) -> AsksJudge | None:
    """Return the run's reward if it asks a judge and can be built from what the run wrote down."""
    if "judge" not in (archive.meta("models") or {}):
        return None
    lock = load(folder.lock_file).value
    given = lock.get("reward") if isinstance(lock, dict) else None
    options = dict(given) if isinstance(given, Mapping) else {"name": str(given)}
    name = str(options.pop("name", ""))
    if name == "python":  # a function of somebody's asks nobody, and looking at a run is to run no code of it
        return None
    try:
        reward = plugins.build("rewards", name, options)
    except PromptOptError:  # a class in a program, or a plug-in that is not installed here
        return None
    return reward if isinstance(reward, AsksJudge) else None


def call(exchange: Exchange) -> Call:
    """Put an exchange into words."""
    request: Mapping[str, Any] = exchange.request
    outcome = exchange.outcome
    match outcome:
        case Completion():
            reply = outcome.text
        case Likelihood():
            reply = f"log-probability {outcome.logprob:.4g} nats over {outcome.tokens} tokens"
        case Failure():
            reply = f"{outcome.reason}: {outcome.message}"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(exchange.at))
    tried = f"{exchange.attempts} attempts" if exchange.attempts != 1 else "1 attempt"
    usage = exchange.usage
    return Call(
        exchange.role,
        tuple(Message(*message) for message in request["messages"]),
        _asked(request),
        reply,
        isinstance(outcome, Failure),
        f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written, {tried}, {when}",
        json.dumps({"request": request, "outcome": repr(outcome)}, indent=1),
    )


def _asked(request: Mapping[str, Any]) -> str:
    if request["kind"] == "likelihood":
        return f"how probable is this reply: {request['continuation']}"
    decoding = ", ".join(
        f"{name} {value}" for name, value in request["decoding"].items() if value not in ([], None)
    )
    suffix = f", before the text {request['suffix']!r}" if request.get("suffix") else ""
    return f"sample {request['sample']}, {decoding}{suffix}"
