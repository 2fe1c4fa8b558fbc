"""Rows that go on together, so that one recording of a forward serves all their steps (a CUDA graph).

A forward of one token a row is hundreds of short kernels; asking for each takes longer than running it. The
recording reads where the rows are from memory of its own. So rows that finish stay in it, and compute what
nobody reads, until half of them have.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from ._cascade import Branch, RowLayout
from ._network import sent
from ._tree import Ints

if TYPE_CHECKING:  # it imports what imports this module
    from ._packed import PackedEngine

SETTLED = 2
"""Steps after which a forward is recorded: recording costs as much as a step or two."""


class Place(Protocol):
    """Where a row is."""

    slot: int
    length: int

    @property
    def depth(self) -> int:
        """Position of the token that comes next."""
        ...

    @property
    def token(self) -> int:
        """The token to read."""
        ...


@dataclass(slots=True, eq=False)
class Frame:
    """Rows in the slots 0, 1, .. of the states, and their forward.

    Attributes:
        rows: those that were there at the beginning.
        keys: a tensor `[slots, heads, room, width]` a layer.
        values: the same.
        shared: ranges of rows, and the branch that all of them continue.
    """

    rows: Sequence[Place]
    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]
    shared: Sequence[tuple[int, int, Branch]]
    _steps: int = 0
    _layout: RowLayout | None = None
    _graph: torch.cuda.CUDAGraph | None = None
    _board: torch.Tensor = field(init=False)
    _logits: torch.Tensor = field(init=False)

    def step(self, engine: PackedEngine, live: Sequence[int]) -> torch.Tensor:
        """Run the forward; return the logits `[rows, vocab]` of the rows of these numbers."""
        room = self.keys[0].shape[2]
        # Rows that have finished write their token somewhere, too.
        columns = [(row.token, row.slot, min(row.length, room - 1), row.depth) for row in self.rows]
        board = np.array(columns, np.int64).T
        device = self.keys[0].device
        if self._steps == 0:
            self._board = sent(board, device)
        else:
            self._board.copy_(sent(board, device))
        if self._graph is None and self._steps >= SETTLED and self._recordable(device):
            self._record(engine, board)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._logits = self._forward(engine, board)
        self._steps += 1
        return self._logits if len(live) == len(self.rows) else self._logits[sent(live, device)]

    def _forward(self, engine: PackedEngine, board: Ints) -> torch.Tensor:
        before = self._layout
        self._layout = RowLayout(
            self.keys,
            self.values,
            (board[1:], self._board[1:]),
            [(0, len(self.rows), 0)],
            self.shared,
            before.prepared if before is not None else None,
        )
        return engine.forward(self._board[0], self._board[3], self._layout)

    def _recordable(self, device: torch.device) -> bool:
        return device.type == "cuda" and self._layout is not None and self._layout.steady

    def _record(self, engine: PackedEngine, board: Ints) -> None:
        # `torch.cuda.graph` would collect garbage and give cached memory back first, each time.
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin()
            try:
                self._logits = self._forward(engine, board)
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = graph
