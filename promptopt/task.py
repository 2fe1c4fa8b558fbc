"""A task: rows in three splits, the prompt to beat, and how a reply is judged."""

from __future__ import annotations

from dataclasses import dataclass

from .contracts.reward import Reward
from .contracts.searcher import SearchTask
from .prompt import Prompt
from .splits import Splits


@dataclass(frozen=True, slots=True)
class Task:
    """What a run is to do.

    Attributes:
        splits: search rows for searchers, select rows for the final choice, sealed test rows.
        fields: names of the input columns.
        seed_prompt: the prompt to beat.
        reward: how a reply is judged.
        reward_name: its name in evaluations and reports.
        description: what the task is, in a sentence; may be empty.
        parts: names of the parts of the prompt that may be changed.
    """

    splits: Splits
    fields: tuple[str, ...]
    seed_prompt: Prompt
    reward: Reward
    reward_name: str
    description: str = ""
    parts: tuple[str, ...] = ("instruction",)

    def for_searcher(self) -> SearchTask:
        """Return the part of the task that a searcher may see."""
        return SearchTask(
            self.splits.search,
            self.seed_prompt,
            self.fields,
            self.description,
            parts=self.parts,
            needs=self.reward.needs,
        )
