"""Trained weights as candidates: train a while, write them, score them on rows kept apart, stop in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from promptopt.adapter import Adapter
from promptopt.contracts.model import GradientModel, LanguageModel
from promptopt.contracts.searcher import Session
from promptopt.errors import ConfigError, UnsupportedError
from promptopt.programs import Single
from promptopt.prompt import Prompt
from promptopt.records import Example, digest

from ._fitness import fitness
from ._training import Schedule, Training, Tuned
from ._training_rows import TrainingRow, answer_rows, option_rows

ANYWHERE = ("ape", "opro", "evolution", "protegi", "reflect", "demos", "edit", "template")
"""Searchers that need no gradients, for whom ours refuses."""
SECONDS = 30.0
"""A checkpoint is also written when the last one is older."""


def check_gradients(where: str, target: LanguageModel) -> None:
    """Raise unless gradients can be taken through the target.

    Raises:
        UnsupportedError: it does not run in this process.
    """
    if not isinstance(target, GradientModel):
        raise UnsupportedError(
            where, "needs gradients, and the target does not run in this process",
            got=f"{target.identity.endpoint} {target.identity.model}",
            do=f"use a target of embedded/… or hf/…, or a searcher for any target: {', '.join(ANYWHERE)}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rows:
    """Search rows, parted: weights are not judged on what they were trained on.

    Attributes:
        validation: how many of the first ones are scored on to stop in time.
        training: the others that can be learned from.
    """

    validation: int
    training: tuple[Example, ...]


def part(session: Session, share: float, where: str, most: int | None = None) -> Rows:
    """Keep the first `share` of the search rows for validation, and train on at most `most` of the others.

    Raises:
        ConfigError: none is left to train on.
    """
    rows = session.task.rows
    validation = max(1, round(share * len(rows)))
    usable = tuple(row for row in rows[validation:] if row.answer)[:most]
    if not usable:
        raise ConfigError(
            where, f"{len(rows)} search rows leave none with an answer to train on", do="give more rows"
        )
    return Rows(validation, usable)


def training_rows(
    session: Session, model: GradientModel, base: Prompt, examples: Sequence[Example], where: str
) -> list[TrainingRow]:
    """Return rows to train on: options where the reward compares them, else answers.

    Raises:
        ConfigError: the prompt's program makes more than one call.
        DataError: a row cannot be trained on.
    """
    if not isinstance(base.program, Single):
        raise ConfigError(
            where, "trains on the reply of one call", got=base.program.name, do="use program: single"
        )
    if session.task.needs == "options":
        return option_rows(model, base, examples)
    return answer_rows(model, base, examples, whole=session.task.needs == "text")


def affordable(
    session: Session,
    wanted: Schedule,
    rows: Sequence[TrainingRow],
    every: int,
    validation: int,
    end: int,
) -> int:
    """Return how many of the wanted steps the budget has room for.

    Validation on `validation` rows after every `every` steps is counted, and two scores on `end` rows at the
    end. Where tokens are capped, a quarter of them is left for scores.
    """
    left, size = session.remaining, min(wanted.batch, len(rows))
    room = [wanted.steps]
    if left.calls is not None:
        choices = max(len(row.replies) for row in rows)
        each = choices * (size + validation / every)
        room.append(int((left.calls - choices * (2 * end + 2 * validation)) // each))
    if left.tokens is not None:
        mean = sum(row.tokens for row in rows) / len(rows)
        room.append(int(left.tokens * 0.75 // (mean * size)))
    return max(0, min(room))


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, and how it is watched.

    Attributes:
        where: the searcher, in messages.
        name: of the method.
        base: the prompt whose child the result is.
        tuned: the weights.
        rows: to train on.
        schedule: how.
        every: steps from one validation to the next.
        patience: validations without a better one that end the training; 0: none does.
        validation: of the first search rows, how many are scored on.
        seed: of the order of the rows.
        vectors: virtual tokens.
        options: what is needed to apply the weights.
    """

    where: str
    name: str
    base: Prompt
    tuned: Tuned
    rows: Sequence[TrainingRow]
    schedule: Schedule
    every: int
    patience: int
    validation: int
    seed: int
    vectors: int = 0
    options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training came to.

    Attributes:
        prompt: the best on the validation rows.
        score: its mean there.
        curve: (step, mean) of every validation.
        losses: of every step, in nats a token (or a choice).
        tokens: that went forward and backward.
    """

    prompt: Prompt
    score: float
    curve: tuple[tuple[int, float], ...]
    losses: tuple[float, ...]
    tokens: int

    @property
    def data(self) -> dict[str, Any]:
        """Plain data for the report."""
        return {"curve": self.curve, "losses": self.losses, "training tokens": self.tokens}


def fit(session: Session, job: Job) -> Fitted:
    """Train and score in turns, the untrained weights first, and return the best.

    Everything is a function of the seed and of the scores; what a checkpoint holds is not computed again.
    """
    model = session.gradients()
    folder = _folder(session.workdir, job, model)
    file = folder / "checkpoint.safetensors"
    training = Training(job.tuned, job.rows, job.schedule, seed=job.seed, file=file)
    found: list[tuple[float, int, Prompt, float]] = []
    tokens = 0
    for stage in range(-(-job.schedule.steps // job.every) + 1):
        end = min(stage * job.every, job.schedule.steps)
        tokens += _train(session, job, model, training, range(max(0, end - job.every) if stage else 0, end))
        if len(training.kept) == stage:
            training.keep(_write(folder, job, model))
        prompt = job.base.child(origin=f"{job.where}/{job.name}", adapter=training.kept[stage])
        (evaluation,) = session.score([prompt], job.validation)
        found.append((fitness(evaluation), -stage, prompt, evaluation.mean))
        best = max(found, key=lambda one: one[:2])
        loss = f"loss {training.losses[end - 1]:.3f}, " if end else ""
        session.note(
            f"{job.where} {job.name}: step {end} of {job.schedule.steps}, {loss}"
            f"{job.validation} search rows {evaluation.mean:.3f} (best {best[3]:.3f})"
        )
        if job.patience and stage + best[1] >= job.patience:
            break
    curve = tuple((min(-one[1] * job.every, job.schedule.steps), one[3]) for one in found)
    return Fitted(best[2], best[3], curve, tuple(training.losses[:end]), tokens)


def _train(session: Session, job: Job, model: GradientModel, training: Training, steps: range) -> int:
    """Pay for steps, and take those that no checkpoint holds; return their tokens."""
    tokens, saved = 0, time.monotonic()
    for step in steps:
        rows = training.batch(step)
        used = sum(row.tokens + job.vectors * len(row.replies) for row in rows)
        session.spend(sum(len(row.replies) for row in rows), used)
        tokens += used
        if training.step == step:
            with model.computing():
                training.advance()
            if time.monotonic() - saved > SECONDS:
                training.save()
                saved = time.monotonic()
    return tokens


def _write(folder: Path, job: Job, model: GradientModel) -> Adapter:
    with model.computing():
        tensors = job.tuned.tensors()
    return Adapter.write(
        folder,
        tensors,
        method=job.name,
        model=model.identity.revision,
        vectors=job.vectors,
        nearest=nearest(model, tensors["prompt_embeddings"]) if job.vectors else (),
        options=job.options,
    )


def _folder(workdir: Path, job: Job, model: GradientModel) -> Path:
    """Return where a training is kept: another one of the same run must not go on from its checkpoint."""
    schedule = [getattr(job.schedule, name) for name in job.schedule.__slots__]
    said = [(row.prompt, row.replies, row.right) for row in job.rows]
    start = [[name, list(weight.shape)] for name, weight in job.tuned.weights.items()]
    what = [job.name, job.base.id, model.identity.revision, schedule, job.every, job.seed, start, said]
    return workdir / "trained" / digest(what)


@torch.no_grad()
def nearest_tokens(
    model: GradientModel, vectors: torch.Tensor, allowed: torch.Tensor | None = None
) -> list[int]:
    """Return the id of the token nearest to each vector `[tokens, hidden]` by cosine.

    `allowed` says of every token whether it may be one `[vocab]`; None: all but special ones.
    """
    embeddings = model.loaded().module.get_input_embeddings().weight.float()
    if vectors.shape[1] != embeddings.shape[1]:  # keys and values are near to no token
        return []
    near = (
        torch.nn.functional.normalize(vectors.to(embeddings.device), dim=1)
        @ torch.nn.functional.normalize(embeddings, dim=1).T
    )
    if allowed is None:
        near[:, list(special_tokens(model))] = -2.0
    else:
        near[:, ~allowed] = -2.0
    found: list[int] = near.argmax(1).tolist()
    return found


def special_tokens(model: GradientModel) -> set[int]:
    """Return the ids that no text should hold: special tokens, and rows of the vocabulary without a token."""
    tokenizer = model.loaded().tokenizer
    size = len(model.loaded().module.get_input_embeddings().weight)
    return {*tokenizer.all_special_ids, *range(len(tokenizer), size)}


def nearest(model: GradientModel, vectors: torch.Tensor) -> tuple[str, ...]:
    """Return the words nearest to vectors, for people."""
    return tuple(model.loaded().tokenizer.decode([token]).strip() for token in nearest_tokens(model, vectors))
