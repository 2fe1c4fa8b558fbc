"""Which of several prompts go on, by the run's selector."""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.contracts.searcher import Session
from promptopt.prompt import Prompt


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
