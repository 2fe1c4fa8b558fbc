"""Which prompts a search starts from, and which go on, by the run's selector."""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.contracts.searcher import Session
from promptopt.prompt import Prompt
from promptopt.records import fold_inputs

from ._fitness import fitness
from ._text import unique


def starting(session: Session) -> list[Prompt]:
    """Return the seed prompt and the good prompts found elsewhere, in this order."""
    return unique([session.task.seed_prompt, *session.task.starts])


def best_start(session: Session) -> Prompt:
    """Return the best of those to start from, on the search rows that none of them shows.

    Where all search rows are shown, it is the first of those found elsewhere.
    """
    prompts = starting(session)
    if len(prompts) == 1:
        return prompts[0]
    shown = {fold_inputs(one.inputs) for prompt in prompts for one in prompt.demonstrations}
    rows = [row for row in session.task.rows if fold_inputs(row.inputs) not in shown]
    if not rows:
        return prompts[1]
    scores = [fitness(evaluation) for evaluation in session.score(prompts, rows)]
    return prompts[scores.index(max(scores))]


def choose(
    session: Session,
    prompts: Sequence[Prompt],
    k: int,
    reward: str | None = None,
    rows: int | None = None,
) -> list[Prompt]:
    """Return the `k` best prompts, or all if there are fewer, best first; `session.select` says which."""
    by_id = {prompt.id: prompt for prompt in prompts}
    best = session.select(list(by_id.values()), min(k, len(by_id)), reward, rows)
    return [by_id[evaluation.prompt] for evaluation in best]
