"""How sure the model was of its answers, where the journal has likelihoods, and whether it was right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..contracts.model import Completion, Likelihood
from ..errors import PromptOptError
from ..prompt import Prompt
from ..proof.calibration import reliability
from ..records import Example
from .archive import Exchange
from .replay import Replay
from .summary import Answer, Calibration

FEWEST = 10
"""Answers that make a diagram."""


def calibration(
    replay: Replay,
    prompt: Prompt,
    rows: Mapping[str, Example],
    answers: Mapping[str, Answer],
    reward: Mapping[str, Any],
) -> Calibration | None:
    """Return how a prompt's confidences fit its answers; None without likelihoods or 0/1 truths.

    Confidence is the chance of the chosen option among the row's options, with log-probabilities divided as
    the reward does (`normalize`); or of a reply, the exponential of its tokens' mean log-probability.
    """
    known = {
        name: answer.value == 1
        for name, answer in answers.items()
        if name in rows and answer.value in (0, 1) and answer.samples == 1
    }
    if len(known) < FEWEST:
        return None
    examples = [rows[name] for name in known]
    try:
        for of, sure in (
            ("the chosen option", _options(replay, prompt, examples, str(reward.get("normalize", "none")))),
            ("the whole reply, a token on average", _replies(replay, prompt, examples)),
        ):
            pairs = [(c, right) for c, right in zip(sure, known.values(), strict=True) if c is not None]
            if len(pairs) >= FEWEST:
                found = reliability([c for c, _ in pairs], [right for _, right in pairs])
                return Calibration(prompt.id, of, found)
    except PromptOptError:  # a prompt whose trained weights are elsewhere cannot be asked for again
        return None
    return None


def _options(replay: Replay, prompt: Prompt, rows: Sequence[Example], normalize: str) -> list[float | None]:
    if len(rows[0].options) < 2:
        return [None] * len(rows)
    return [_chance(row, replay.likelihoods(prompt, row), normalize) for row in rows]


def _chance(row: Example, found: Sequence[Exchange | None], normalize: str) -> float | None:
    outcomes = [exchange.outcome for exchange in found if exchange is not None]
    scored = [outcome for outcome in outcomes if isinstance(outcome, Likelihood)]
    if len(scored) < 2 or len(scored) < len(row.options):
        return None
    parts = {"token": [one.tokens for one in scored], "char": [len(option) for option in row.options]}
    lengths = parts.get(normalize, [1] * len(scored))
    scores = [one.logprob / max(1, length) for one, length in zip(scored, lengths, strict=True)]
    top = max(scores)
    return 1 / math.fsum(math.exp(score - top) for score in scores)


def _replies(replay: Replay, prompt: Prompt, rows: Sequence[Example]) -> list[float | None]:
    return [
        math.exp(min(0.0, exchange.outcome.logprob))
        if exchange is not None
        and isinstance(exchange.outcome, Completion)
        and exchange.outcome.logprob is not None
        else None
        for exchange in replay.replies(prompt, rows)
    ]
