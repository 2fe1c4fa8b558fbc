"""Trigger tokens in the instruction of a prompt: where they stand, and what the loss says of others there.

Imports torch, so it is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from promptopt.contracts.model import GradientModel
from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.records import Example

from ._fitness import fitness
from ._fitting import special_tokens, training_rows
from ._soft_methods import last_logits
from ._training_rows import TrainingRow, total_loss

Ids = tuple[int, ...]
SIGNAL = "log_likelihood"


@dataclass(frozen=True)
class Trigger:
    """The place of a trigger in a prompt, and the session it is searched in.

    Attributes:
        session: of the run.
        base: the prompt the trigger is put into.
        keep: it stands behind the instruction; otherwise it replaces it.
        where: the searcher, in messages.
        fluency: how much a nat of the trigger's own mean log-probability counts, next to one of the answers.
    """

    session: Session
    base: Prompt
    keep: bool
    where: str
    fluency: float = 0.0

    @cached_property
    def model(self) -> GradientModel:
        """The target."""
        return self.session.gradients()

    @cached_property
    def allowed(self) -> torch.Tensor:
        """Which tokens may be in a trigger `[vocab]`: whole characters on one line, and no slot's braces."""
        network, tokenizer = self.model.loaded()
        size = len(network.get_input_embeddings().weight)
        special = special_tokens(self.model)
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        good = [
            token not in special and text.strip() != "" and text.strip().isprintable() and "�" not in text
            and not set("{}") & set(text) and "\n" not in text
            for token, text in enumerate(texts)
        ]  # fmt: skip
        return torch.tensor(good + [False] * (size - len(good)), device=network.device)

    def first(self, text: str, count: int) -> Ids:
        """Return the trigger of `count` tokens to start from: those of a text, cut or repeated."""
        words = " ".join([text.strip()] * count)
        before = " " if self.keep and self.base.instruction else ""
        ids = self.model.loaded().tokenizer(f"{before}{words}", add_special_tokens=False)["input_ids"]
        start = tuple(ids[:count])
        if self.places([start], self.session.task.rows)[0] is None:
            raise ConfigError(
                f"{self.where}.init", "does not stand as its own tokens in the prompt", got=text,
                do="use another text, or put the instruction in front of the row's fields",
            )  # fmt: skip
        return start

    def prompt(self, ids: Ids) -> Prompt:
        """Return the prompt with a trigger in it."""
        text = self.model.loaded().tokenizer.decode(ids)
        before = self.base.instruction if self.keep else ""
        space = "" if not before or text[:1].isspace() else " "
        instruction = f"{before}{space}{text}" if before else text.strip()
        return self.base.child(instruction=instruction, origin=self.where.removeprefix("searcher "))

    def rows(self, prompt: Prompt, examples: Sequence[Example]) -> list[TrainingRow]:
        """Return rows under a prompt, as the model reads them."""
        return training_rows(self.session, self.model, prompt, examples, self.where)

    def places(self, triggers: Sequence[Ids], examples: Sequence[Example]) -> list[int | None]:
        """Return where each trigger stands in the prompt, the same for all rows; None where it does not.

        Text that is cut into other tokens than those it was made of is no candidate (the filter of GCG's
        code): its loss would be that of another trigger.
        """
        return [self._place(ids, self.rows(self.prompt(ids), examples)) for ids in triggers]

    def _place(self, ids: Ids, rows: Sequence[TrainingRow]) -> int | None:
        first = rows[0].prompt
        starts = range(len(first) - len(ids) + 1)
        place = next((at for at in starts if first[at : at + len(ids)] == ids), None)
        if place is None or any(row.prompt[place : place + len(ids)] != ids for row in rows):
            return None
        return place

    def gradient(
        self, rows: Sequence[TrainingRow], place: int, count: int, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the gradient of the mean loss by the embeddings of the trigger `[count, hidden]`.

        `at` are embeddings to take it at, instead of those of the trigger's tokens.
        """
        self.session.spend(sum(len(row.replies) for row in rows), sum(row.tokens for row in rows))
        network = self.model.loaded().module
        embed = network.get_input_embeddings()
        moved = torch.zeros(count, embed.embedding_dim, device=network.device, requires_grad=True)

        def forward(ids: torch.Tensor, keep: int) -> torch.Tensor:
            known = embed(ids)
            middle = (known[:, place : place + count] if at is None else at.to(known.dtype)) + moved.to(
                known.dtype
            )
            parts = [known[:, :place], middle.expand(len(ids), -1, -1), known[:, place + count :]]
            return last_logits(network, keep, inputs_embeds=torch.cat(parts, 1), use_cache=False)

        with self.model.computing():
            loss = total_loss(rows, forward, network.device) / sum(row.weight for row in rows)
            found: torch.Tensor = torch.autograd.grad(loss, moved)[0]
        return found

    @torch.no_grad()
    def best_flips(self, gradient: torch.Tensor, k: int) -> torch.Tensor:
        """Return for each place the `k` tokens that promise the lowest loss `[count, k]`, to the first order.

        Source: Ebrahimi et al. 2018, "HotFlip", section 3, as in AutoPrompt's equation 2.
        """
        embeddings = self.model.loaded().module.get_input_embeddings().weight
        promise = -(gradient.to(embeddings.dtype) @ embeddings.T).float()
        promise[:, ~self.allowed] = -torch.inf
        best: torch.Tensor = promise.topk(min(k, int(self.allowed.sum())), dim=1).indices
        return best

    def scores(self, triggers: Sequence[Ids], examples: Sequence[Example]) -> list[float]:
        """Return how good triggers are on rows: the answers' mean log-probability a token, and fluency."""
        prompts = [self.prompt(ids) for ids in triggers]
        scores = [fitness(found) for found in self.session.score(prompts, examples, SIGNAL)]
        if self.fluency:
            told = self._fluencies(triggers, examples[:1])
            scores = [score + self.fluency * one for score, one in zip(scores, told, strict=True)]
        return scores

    @torch.no_grad()
    def _fluencies(self, triggers: Sequence[Ids], examples: Sequence[Example]) -> list[float]:
        """Return the mean log-probability (nats) of each trigger's tokens, where they stand."""
        found = []
        network = self.model.loaded().module
        for ids, place in zip(triggers, self.places(triggers, examples), strict=True):
            assert place is not None
            (row,) = self.rows(self.prompt(ids), examples)
            self.session.spend(1, place + len(ids))
            with self.model.computing():
                tokens = torch.tensor([row.prompt[: place + len(ids)]], device=network.device)
                logits = last_logits(network, len(ids) + 1, input_ids=tokens, use_cache=False)[0, :-1]
                wanted = torch.tensor(ids, device=network.device)[:, None]
                found.append(float(logits.float().log_softmax(-1).gather(-1, wanted).mean()))
        return found


def with_token(ids: Ids, place: int, token: int) -> Ids:
    """Return a trigger with another token in one place."""
    return (*ids[:place], token, *ids[place + 1 :])


def plain(prompt: Prompt) -> Prompt:
    """Return the prompt without trained weights: words alone are searched for."""
    return replace(prompt, adapter=None)
