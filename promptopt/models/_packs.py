"""Running packs of tokens without padding: what scoring and completing along the tree have in common.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from . import _llama
from ._cascade import Branch, Layout, PackLayout, cascading
from ._network import Network, sent
from ._tree import Key, Pack, Plan, plan
from ._virtual import FIRST


@dataclass
class PackRunner:
    """A network that runs packs, and the branches of the tree whose states are kept.

    Attributes:
        network: the model; `supported` says whether it can be run like this.
        limit: most distinct tokens in a batch, replies included.
        budget: most tokens of one forward.
        branches: what is kept, to go on from.
    """

    network: Network
    limit: int
    budget: int
    branches: dict[Key, Branch] = field(default_factory=dict, init=False, repr=False)

    def plan(self, texts: Sequence[bytes], scored: Sequence[int], ahead: Sequence[int] | None = None) -> Plan:
        """Plan the packs, going on from the branches that are there, and make place for new ones."""
        outline = plan(
            texts,
            budget=self.budget,
            scored=scored,
            logits=self.network.scored,
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
        tokens, kept = (sent(array, self.network.device) for array in (pack.tokens, keep))
        embeds = None
        if pack.tokens.max(initial=0) >= FIRST:
            layout.trained = self.network.virtual.overrides(pack.tokens)
            embeds = self.network.virtual.embed(tokens[None], self.network.model)
        return self.forward(tokens, layout.depths, layout, kept, embeds)

    def forward(
        self,
        tokens: torch.Tensor,
        depths: torch.Tensor,
        layout: Layout,
        keep: torch.Tensor | None = None,
        embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run tokens `[T]` that stand at `depths` and see what `layout` says; `keep` None is all positions.

        Where some of the tokens are virtual, `embeds` are the embeddings `[1, T, hidden]` of all.
        """
        if _llama.shaped(self.network.model):
            return _llama.logits(self.network.model, tokens, depths, layout, keep, embeds)
        given = {"input_ids": tokens[None]} if embeds is None else {"inputs_embeds": embeds}
        with cascading(self.network.model):
            out = self.network.model(
                **given,
                position_ids=depths[None],
                # Four dimensions are taken as they are: no model makes a mask of its own.
                attention_mask=tokens.new_empty(1, 1, 1, 1),
                use_cache=False,
                logits_to_keep=0 if keep is None else keep,
                layout=layout,
            )
        return out.logits[0]  # type: ignore[no-any-return]
