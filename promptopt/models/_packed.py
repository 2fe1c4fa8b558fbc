"""Scoring and completing with every distinct token computed once, in packs without padding.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..contracts.model import Completion, Failure, Likelihood
from ._batch import MAX_LOGITS, Job, Pair
from ._cascade import Branch, Layout, PackLayout, cascading
from ._network import Network, halving, likelihood
from ._tree import Key, Pack, Plan, as_bytes, common, plan


@dataclass
class PackedEngine:
    """Completes and scores along the tree of what prompts share.

    Attributes:
        network: the model; `supported` says whether it can be run like this.
        limit: most distinct tokens in a batch, replies included.
        budget: most tokens of one forward.
    """

    network: Network
    limit: int
    budget: int
    branches: dict[Key, Branch] = field(default_factory=dict, init=False, repr=False)

    def complete(
        self, jobs: Sequence[Job], admit: Callable[[Job], bool]
    ) -> Generator[tuple[Job, Completion | Failure]]:
        """Yield the completions as they finish; rows that finish make room for others."""
        from ._continuous import Generation

        return Generation(self, jobs, admit).run()

    def score(
        self, pairs: Sequence[Pair], admit: Callable[[Pair], bool]
    ) -> Generator[tuple[Pair, Likelihood | Failure]]:
        """Yield the log-probabilities, batch by batch, in the order of the tree."""
        try:
            for batch in in_tree_order(pairs, self.limit):
                admitted = [pair for pair in batch if admit(pair)]
                yield from zip(admitted, halving(self.score_batch, admitted), strict=True)
        finally:
            self.branches.clear()

    @torch.inference_mode()
    def score_batch(self, pairs: Sequence[Pair]) -> list[Likelihood | Failure]:
        """Sum the log-probabilities (nats) of each continuation given its prompt; pairs in tree order."""
        sums = np.zeros(len(pairs))
        scored = [index for index, pair in enumerate(pairs) if pair.continuation]
        if scored:
            # The last token of a continuation is looked up, not read.
            outline = self.plan(
                [pairs[k].prompt + pairs[k].continuation[:-1] for k in scored],
                [len(pairs[k].continuation) for k in scored],
            )
            wanted: list[list[tuple[int, int, int]]] = [[] for _ in outline.packs]
            for sequence, k in enumerate(scored):
                for depth, token in enumerate(pairs[k].continuation, start=len(pairs[k].prompt) - 1):
                    number, index = outline.place(sequence, depth)
                    wanted[number].append((index, token, k))
            for pack, asked in zip(outline.packs, wanted, strict=True):
                self._look_up(pack, asked, sums)
            # The next batch may go on from where this one ends.
            self.branches = {key: self.branches[key] for key in outline.leaves[-1].chain}
        return [likelihood(pair, float(value)) for pair, value in zip(pairs, sums, strict=True)]

    def _look_up(self, pack: Pack, asked: Sequence[tuple[int, int, int]], sums: np.ndarray) -> None:
        """Run a pack and add the log-probabilities of (index in the pack, token, number of the sum)."""
        columns = np.array(asked, dtype=np.int64).reshape(-1, 3)
        keep, slots = np.unique(columns[:, 0], return_inverse=True)
        logits = self.run(pack, PackLayout(pack, self.branches, self.network.device), keep)
        if asked:
            total = logits.float().logsumexp(-1)
            rows, tokens = (torch.from_numpy(x).to(logits.device) for x in (slots, columns[:, 1]))
            values = logits[rows, tokens].float() - total[rows]
            np.add.at(sums, columns[:, 2], values.double().cpu().numpy())

    def plan(
        self, sequences: Sequence[tuple[int, ...]], scored: Sequence[int], ahead: Sequence[int] | None = None
    ) -> Plan:
        """Plan the packs, going on from the branches that are there, and make place for new ones."""
        outline = plan(
            sequences,
            budget=self.budget,
            scored=scored,
            logits=max(1, MAX_LOGITS // self.network.vocabulary),
            ahead=ahead,
            have=list(self.branches),
        )
        there = self.branches
        branches = {key: there[key] if key == old else there[old].part(key) for key, old in outline.views}
        for pack in outline.packs:
            branches.update((key, Branch(key[1])) for _, _, key in pack.kept)
        self.branches = branches
        return outline

    def run(self, pack: Pack, layout: PackLayout, keep: np.ndarray) -> torch.Tensor:
        """Run a pack; return the logits `[kept positions, vocab]`."""
        tokens = torch.from_numpy(pack.tokens).to(self.network.device)
        return self.forward(tokens, layout.depths, layout, torch.from_numpy(keep).to(tokens.device))

    def forward(
        self, tokens: torch.Tensor, depths: torch.Tensor, layout: Layout, keep: torch.Tensor | int = 0
    ) -> torch.Tensor:
        """Run tokens `[T]` that stand at `depths` and see what `layout` says; `keep` 0 is all positions."""
        with cascading(self.network.model):
            out = self.network.model(
                input_ids=tokens[None],
                position_ids=depths[None],
                # Four dimensions are taken as they are: no model makes a mask of its own.
                attention_mask=tokens.new_empty(1, 1, 1, 1),
                use_cache=False,
                logits_to_keep=keep,
                layout=layout,
            )
        return out.logits[0]  # type: ignore[no-any-return]


def in_tree_order(pairs: Sequence[Pair], limit: int) -> Iterator[list[Pair]]:
    """Yield batches of pairs with common beginnings side by side, at most `limit` distinct tokens in each."""
    heads = {prompt: as_bytes(prompt) for prompt in {pair.prompt for pair in pairs}}
    texts = [(heads[pair.prompt] + as_bytes(pair.continuation), index) for index, pair in enumerate(pairs)]
    batch: list[Pair] = []
    before, size = b"", 0
    for text, index in sorted(texts):
        fresh = len(text) // 4 - common(before, text)
        if batch and size + fresh > limit:
            yield batch
            batch, size, fresh = [], 0, len(text) // 4
        batch.append(pairs[index])
        before, size = text, size + fresh
    if batch:
        yield batch
