"""Rows as a model trains on them: tokens of prompts and replies, and the loss over what was said.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from promptopt.contracts.model import Failure, GradientModel, LikelihoodRequest
from promptopt.errors import DataError
from promptopt.prompt import Prompt
from promptopt.records import Example


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """The sequences of one row.

    Attributes:
        prompt: its tokens.
        replies: tokens of the reply to learn; or of every option, `right` saying which of them are right.
        right: places of the right options; empty where there is one reply to learn.
    """

    prompt: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]
    right: tuple[int, ...] = ()

    @property
    def weight(self) -> int:
        """What the row counts in a mean: the tokens of its reply, or 1 for a choice."""
        return 1 if self.right else len(self.replies[0])

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        return sum(len(self.prompt) + len(reply) for reply in self.replies)


def answer_rows(
    model: GradientModel, prompt: Prompt, examples: Sequence[Example], *, whole: bool
) -> list[TrainingRow]:
    """Return rows whose main answers are to be learned.

    Args:
        model: tokenises.
        prompt: renders the rows; its trained weights are not looked at.
        examples: rows with an answer.
        whole: the reply is to end behind the answer, as a generated one must.
    """
    found = []
    requests = [LikelihoodRequest(prompt.render(example), example.answer) for example in examples]
    for example, tokens in zip(examples, model.tokenise(requests), strict=True):
        if isinstance(tokens, Failure):
            raise DataError(f"row {example.id}", f"cannot be trained on: {tokens.message}")
        end = (tokens.end,) if whole and tokens.end is not None else ()
        found.append(TrainingRow(tokens.prompt, (tokens.reply + end,)))
    return found


def option_rows(model: GradientModel, prompt: Prompt, examples: Sequence[Example]) -> list[TrainingRow]:
    """Return rows whose right options are to become likelier than the others."""
    found = []
    for example in examples:
        right = tuple(place for place, option in enumerate(example.options) if option in example.answers)
        if not right:
            raise DataError(
                f"row {example.id}", "no option is an answer", got=list(example.options), do="mend the row"
            )
        messages = prompt.render(example)
        replies = []
        for tokens in model.tokenise([LikelihoodRequest(messages, option) for option in example.options]):
            if isinstance(tokens, Failure):
                raise DataError(f"row {example.id}", f"cannot be trained on: {tokens.message}")
            replies.append(tokens)
        found.append(TrainingRow(replies[0].prompt, tuple(tokens.reply for tokens in replies), right))
    return found


Forward = Callable[[torch.Tensor, int], torch.Tensor]
"""From ids `[sequences, tokens]` and a number `keep` to the logits of the last `keep` positions
`[sequences, keep, vocab]`, those of virtual tokens left out."""


def total_loss(rows: Sequence[TrainingRow], forward: Forward, device: torch.device) -> torch.Tensor:
    """Return the rows' losses (nats), summed.

    Of a reply it is the negative log-probability of its tokens; of a choice, that of the right options
    among all, each as likely as all its tokens together.
    """
    sequences = [row.prompt + reply for row in rows for reply in row.replies]
    starts = [len(row.prompt) for row in rows for _ in row.replies]
    width, least = max(map(len, sequences)), min(starts)
    # Padding stands behind: under a causal mask nothing sees it, and no mask is needed.
    ids = torch.tensor([[*s, *[0] * (width - len(s))] for s in sequences], device=device)
    logits = forward(ids, width - least + 1)[:, :-1].float()
    targets = ids[:, least:]
    at = torch.arange(least, width, device=device)
    ends = torch.tensor([len(s) for s in sequences], device=device)
    said = (at[None] >= torch.tensor(starts, device=device)[:, None]) & (at[None] < ends[:, None])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    by_sequence = (losses * said).sum(1)
    total = by_sequence.new_zeros(())
    place = 0
    for row in rows:
        mine = by_sequence[place : place + len(row.replies)]
        place += len(row.replies)
        total = total + (_choice_loss(mine, row.right) if row.right else mine[0])
    return total


def _choice_loss(losses: torch.Tensor, right: Sequence[int]) -> torch.Tensor:
    return torch.logsumexp(-losses, 0) - torch.logsumexp(-losses[list(right)], 0)
