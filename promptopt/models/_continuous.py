"""Completing many prompts at once: rows share what their prompts share, leave when done, and others enter.

On a GPU, too: transformers' own continuous batching took 3.8 times as long there (an H200, bfloat16, a random
model of 0.5 billion parameters, 256 jobs; `python -m benchmarks.engine --part completion --continuous`).

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..contracts.model import Completion, Failure
from ._batch import Job
from ._cascade import Branch, PackLayout, RowLayout
from ._network import release, sent, too_large
from ._packs import PackRunner
from ._rows import Row, advance
from ._tree import Ints, Key, Plan, as_bytes, common

AHEAD = 64
"""Tokens that a reply is expected to have at most, where its limit is higher."""
RUNS = 16
"""Rows lie side by side again when they have come apart into more ranges than this."""
ROOM = 32
"""Tokens by which the rows' own states grow."""

States = list[torch.Tensor]
"""A tensor `[rows, heads, tokens, width]` a layer."""


@dataclass(slots=True, eq=False)
class _Live:
    """A row that is being completed, and what of its context is shared."""

    row: Row
    chain: tuple[tuple[Key, Branch], ...]
    cost: int
    slot: int = 0
    length: int = 0

    @property
    def depth(self) -> int:
        """Position of the token that comes next."""
        return len(self.row.job.prompt) + len(self.row.tokens) - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """The keys and values of a pack, layer by layer; the rows that end in it, and where their tokens are."""

    states: Sequence[tuple[torch.Tensor, torch.Tensor]]
    rows: Sequence[tuple[_Live, Ints]]


class Generation:
    """One call's jobs, in the order of the tree."""

    def __init__(self, engine: PackRunner, jobs: Sequence[Job], admit: Callable[[Job], bool]) -> None:
        """Prepare; nothing is computed."""
        self._engine, self._admit = engine, admit
        self._limit = engine.limit
        self._most = engine.network.scored
        self._texts = {prompt: as_bytes(prompt) for prompt in {job.prompt for job in jobs}}
        self._queue = deque(sorted(jobs, key=lambda job: self._texts[job.prompt]))
        self._again: deque[Job] = deque()
        self._live: list[_Live] = []
        self._keys: States = []
        self._values: States = []

    def run(self) -> Generator[tuple[Job, Completion | Failure]]:
        """Yield the completions as they finish."""
        try:
            while self._queue or self._again or self._live:
                yield from self._advance()
        finally:
            self._engine.branches.clear()

    def _advance(self) -> list[tuple[Job, Completion | Failure]]:
        """Let rows in when there is room for a quarter of them, else go one token further."""
        entering: list[tuple[Job, int]] = []
        if self._cost() <= self._limit * 3 // 4 and (self._queue or self._again):
            entering = self._next_jobs()
        try:
            if entering:
                return self._enter(entering)
            return self._step() if self._live else []
        except torch.OutOfMemoryError as error:
            jobs = [live.row.job for live in self._live] + [job for job, _ in entering]
            if len(jobs) == 1:
                self._drop([])
                return [(jobs[0], too_large(error))]
        # Outside the handler: the traceback holds on to the tensors that were too many.
        self._drop(jobs)
        return []

    def _drop(self, jobs: Sequence[Job]) -> None:
        """Begin these jobs again, fewer at once."""
        self._live, self._keys, self._values = [], [], []
        self._engine.branches.clear()
        self._again = deque([*jobs, *self._again])
        self._limit, self._most = max(1, self._limit // 2), max(1, len(jobs) // 2)
        release()

    def _cost(self) -> int:
        return sum(live.cost for live in self._live)

    def _next_jobs(self) -> list[tuple[Job, int]]:
        """Take jobs from the queue as far as there is room, each with what it costs (tokens)."""
        taken: list[tuple[Job, int]] = []
        cost = self._cost()
        before = self._texts[self._live[-1].row.job.prompt] if self._live else b""
        while self._again or self._queue:
            job = (self._again or self._queue)[0]
            text = self._texts[job.prompt]
            own = len(job.prompt) - common(before, text) + min(job.decoding.max_tokens, AHEAD)
            rows = len(self._live) + len(taken)
            if rows and (cost + own > self._limit or rows >= self._most):
                break
            if self._again:
                self._again.popleft()
            else:
                self._queue.popleft()
                if not self._admit(job):
                    continue
            taken.append((job, own))
            cost, before = cost + own, text
        return taken

    @torch.inference_mode()
    def _enter(self, jobs: Sequence[tuple[Job, int]]) -> list[tuple[Job, Completion | Failure]]:
        """Read the prompts of new rows, and choose their first tokens."""
        engine = self._engine
        outline = engine.plan(
            [self._texts[job.prompt] for job, _ in jobs],
            [1] * len(jobs),
            [min(job.decoding.max_tokens, AHEAD) for job, _ in jobs],
        )
        new = []
        for k, (job, cost) in enumerate(jobs):
            chain = tuple((key, engine.branches[key]) for key in outline.leaves[k].chain)
            new.append(_Live(Row(job), chain, cost))
        logits, read = self._read(outline, new)
        engine.branches = dict(new[-1].chain)
        advance([live.row for live in new], logits, engine.network.text)
        self._lay([live for live in new if live.row.reply is None], read)
        return [(live.row.job, live.row.reply) for live in new if live.row.reply is not None]

    def _read(self, outline: Plan, new: Sequence[_Live]) -> tuple[torch.Tensor, list[_Read]]:
        """Run the packs; return logits `[rows, vocab]`, and where the rows' own states are."""
        device = self._engine.network.device
        ends = [outline.place(k, len(live.row.job.prompt) - 1) for k, live in enumerate(new)]
        logits: list[torch.Tensor] = []
        order: list[int] = []
        read: list[_Read] = []
        for number, pack in enumerate(outline.packs):
            here = [k for k, (where, _) in enumerate(ends) if where == number]
            layout = PackLayout(pack, self._engine.branches, device)
            layout.states = []
            keep, slots = np.unique(np.array([ends[k][1] for k in here], np.int64), return_inverse=True)
            out = self._engine.run(pack, layout, keep)
            logits.append(out[sent(slots, device)])
            order += here
            tails = [outline.tail(k) for k in here]
            read.append(_Read(layout.states, [(new[k], tail) for k, tail in zip(here, tails, strict=True)]))
            for live, tail in read[-1].rows:
                live.length = len(tail)
        return torch.cat(logits)[sent(np.argsort(order), device)], read

    def _lay(self, new: Sequence[_Live], read: Sequence[_Read]) -> None:
        """Put the states of new rows behind those of the others."""
        if not new:
            return
        self._pack(extra=len(new), most=max(live.length for live in new))
        for slot, live in enumerate(new, start=len(self._live)):
            live.slot = slot
        for part in read:
            rows = [(live, tail) for live, tail in part.rows if live.row.reply is None]
            if not rows:
                continue
            columns = [(tail, np.full(len(tail), live.slot), np.arange(len(tail))) for live, tail in rows]
            stacked = np.stack([np.concatenate(column) for column in zip(*columns, strict=True)])
            source, slots, places = sent(stacked, part.states[0][0].device)
            for layer, states in enumerate(part.states):
                for mine, fresh in zip((self._keys, self._values), states, strict=True):
                    if len(mine) <= layer:
                        mine.append(self._empty(len(new), fresh))
                    mine[layer][slots, :, places] = fresh[0].transpose(0, 1)[source]
        self._live += new

    def _empty(self, slots: int, like: torch.Tensor) -> torch.Tensor:
        """Return zeros `[slots, heads, room, width]`, on a GPU with the heads of a token side by side."""
        _, heads, _, width = like.shape
        # Zeros: what is masked has weight 0, but 0 times an uninitialised infinity is no number.
        if like.device.type == "cuda":
            return like.new_zeros(slots, self._room, heads, width).transpose(1, 2)
        return like.new_zeros(slots, heads, self._room, width)

    def _pack(self, extra: int = 0, most: int = 0) -> None:
        """Move the rows side by side, with room for `extra` more of up to `most` tokens."""
        size = max((live.length for live in self._live), default=0)
        self._room = (max(size, most) // ROOM + 2) * ROOM
        slots = np.array([live.slot for live in self._live], np.int64)
        index = sent(slots, self._engine.network.device)
        for states in (self._keys, self._values):
            for layer, old in enumerate(states):
                fresh = self._empty(len(self._live) + extra, old)
                fresh[: len(self._live), :, :size] = old[index, :, :size]
                states[layer] = fresh
        for slot, live in enumerate(self._live):
            live.slot = slot

    @torch.inference_mode()
    def _step(self) -> list[tuple[Job, Completion | Failure]]:
        """Give every row one token more; rows that finish leave."""
        live = self._live
        most = max(row.length for row in live)
        if most >= self._room or len(_runs(live)) > RUNS:
            self._pack()
        logits = self._forward(live)
        for row in live:
            row.length += 1
        advance([row.row for row in live], logits, self._engine.network.text)
        self._live = [row for row in live if row.row.reply is None]
        return [(row.row.job, row.row.reply) for row in live if row.row.reply is not None]

    def _forward(self, live: Sequence[_Live]) -> torch.Tensor:
        columns = [(row.row.tokens[-1], row.slot, row.length, row.depth) for row in live]
        board = np.array(columns, np.int64).T
        there = sent(board, self._engine.network.device)
        layout = RowLayout(self._keys, self._values, (board[1:], there[1:]), _runs(live), _shared(live))
        return self._engine.forward(there[0], there[3], layout)


def _runs(live: Sequence[_Live]) -> list[tuple[int, int, int]]:
    """Return ranges of rows whose slots follow each other, and their first slots."""
    runs: list[tuple[int, int, int]] = []
    for k, row in enumerate(live):
        if runs and runs[-1][2] + k - runs[-1][0] == row.slot:
            runs[-1] = (runs[-1][0], k + 1, runs[-1][2])
        else:
            runs.append((k, k + 1, row.slot))
    return runs


def _shared(live: Sequence[_Live]) -> list[tuple[int, int, Branch]]:
    """Return which ranges of rows continue which branch."""
    ranges: list[tuple[int, int, Branch]] = []
    open_: dict[int, int] = {}
    for k, row in enumerate(live):
        for _, branch in row.chain:
            at = open_.get(id(branch))
            if at is not None and ranges[at][1] == k:
                ranges[at] = (ranges[at][0], k + 1, branch)
            else:
                open_[id(branch)] = len(ranges)
                ranges.append((k, k + 1, branch))
    return ranges
