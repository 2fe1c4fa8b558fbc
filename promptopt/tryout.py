"""What replies of a model that is tried are worth, judged by the real reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from .contracts.model import Completion, Failure, Likelihood, LikelihoodRequest, Request
from .contracts.reward import AsksJudge, Needs, OptionScore, Output
from .errors import TemplateError
from .programs import Single, first_asks
from .prompt import Prompt
from .records import Example, Message
from .setup import Setup

Outcomes = Sequence[Completion | Likelihood | Failure]


def seed_scores(setup: Setup, outcomes: Outcomes) -> list[float]:
    """Return the seed prompt's scores on the first search rows, where one call of the target decides each."""
    task = setup.task
    if not isinstance(task.seed_prompt.program, Single) or isinstance(task.reward, AsksJudge):
        return []
    rows = [row for row in task.splits.search for _ in range(setup.samples)]
    return [score for score in scores(setup, rows, outcomes) if score is not None]


def requests_of(setup: Setup, prompt: Prompt, rows: Sequence[Example]) -> list[list[Request]]:
    """Return what a prompt asks of each row, if it makes one call an answer and can be rendered."""
    if not isinstance(prompt.program, Single):
        return []
    try:
        rendered = [prompt.render(row) for row in rows]
    except TemplateError:  # its cells fail in a run, too
        return []
    return [_requests(setup, prompt, *one) for one in zip(rows, rendered, strict=True)]


def _requests(setup: Setup, prompt: Prompt, row: Example, messages: tuple[Message, ...]) -> list[Request]:
    match setup.task.reward.needs:
        case "text":
            (ask,) = first_asks(prompt.program, messages)
            return [ask.request(setup.decoding, prompt.adapter)]
        case "options":
            return [LikelihoodRequest(messages, option, prompt.adapter) for option in row.options]
        case _:
            return [LikelihoodRequest(messages, row.answer, prompt.adapter)]


def scores(setup: Setup, rows: Sequence[Example], outcomes: Outcomes) -> list[float | None]:
    """Judge outcomes, those of each row one after the other, as far as they go; None where that fails."""
    task, left = setup.task, iter(outcomes)
    found: list[float | None] = []
    for row in rows:
        asked = len(row.options) if task.reward.needs == "options" else 1
        replies = list(islice(left, asked))
        if len(replies) < asked:
            break
        output = _output(row, task.reward.needs, replies)
        found.append(None if output is None else _score(setup, row, output))
    return found


def _score(setup: Setup, row: Example, output: Output) -> float | None:
    try:
        value = setup.task.reward(row, output).value
    except Exception:  # a reward is user code: a run says so, cell by cell
        return None
    return value if math.isfinite(value) else None


def _output(
    row: Example, needs: Needs, replies: Sequence[Completion | Likelihood | Failure]
) -> Output | None:
    """Return what was answered for a row; None where an answer is missing."""
    likelihoods = [reply for reply in replies if isinstance(reply, Likelihood)]
    match replies, needs:
        case [Completion(text=text)], "text":
            return Output(text=text)
        case [Likelihood() as one], "likelihood":
            return Output(logprob=one.logprob, tokens=one.tokens)
        case _, "options" if len(likelihoods) == len(replies):
            scored = zip(row.options, likelihoods, strict=True)
            return Output(
                options=tuple(OptionScore(name, each.logprob, each.tokens) for name, each in scored)
            )
    return None
