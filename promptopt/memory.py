"""What a search has tried: prompts that say the same, and prompts that a selector has dropped.

Nothing here is kept on disk: a run that is taken up again goes the same way, so it remembers the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from .prompt import Prompt
from .records import Evaluation, canonical_json


class Memory:
    """Prompts met in a run."""

    def __init__(self) -> None:
        """Start with none."""
        self._first: dict[str, Prompt] = {}
        self._dropped: set[tuple[str, str]] = set()

    def first(self, prompt: Prompt) -> Prompt:
        """Return the prompt met first that says the same: equal but for white space and Unicode form.

        Case and punctuation stay: a model that is told to answer `Yes` does not answer `yes`.
        """
        return self._first.setdefault(_normal(prompt), prompt)

    def drop(self, prompts: Iterable[Prompt], reward: str) -> None:
        """Remember that a selector dropped these, judged by a reward."""
        self._dropped |= {(prompt.id, reward) for prompt in prompts}

    def keep(self, prompts: Iterable[Prompt], reward: str) -> None:
        """Forget that these were ever dropped."""
        self._dropped -= {(prompt.id, reward) for prompt in prompts}

    def was_dropped(self, prompt: Prompt, reward: str) -> bool:
        """Whether a selector dropped the prompt and none has kept it since."""
        return (prompt.id, reward) in self._dropped


def renamed(evaluation: Evaluation, prompt: str) -> Evaluation:
    """Return the evaluation under the id of a prompt that says the same."""
    if evaluation.prompt == prompt:
        return evaluation
    return Evaluation(prompt, evaluation.reward, tuple(replace(c, prompt=prompt) for c in evaluation.cells))


def rank_back(chosen: list[Evaluation], dropped: Iterable[Evaluation], k: int) -> list[Evaluation]:
    """Return the `k` best of a selector's choice and of prompts dropped before, on what those have met.

    A dropped prompt gets no row more. It takes a place only if it is ahead of the prompt there on the rows
    that both have met, so that a tie goes to the new one; those with more rows go first.
    """
    ranked = list(chosen)
    for known in sorted(dropped, key=lambda evaluation: (-evaluation.met, -evaluation.mean)):
        places = (place for place, other in enumerate(ranked) if _ahead(known, other))
        ranked.insert(next(places, len(ranked)), known)
    return ranked[:k]


def _ahead(known: Evaluation, other: Evaluation) -> bool:
    shared = [row for row in known.values if row in other.values]
    if not known.comparable or not other.comparable or not shared:
        return known.comparable and not other.comparable
    return sum(known.values[row] - other.values[row] for row in shared) > 1e-9


def _normal(prompt: Prompt) -> str:
    instruction = " ".join(unicodedata.normalize("NFC", prompt.instruction).split())
    content = prompt.to_dict() | {"instruction": instruction}
    del content["parents"], content["origin"]
    return canonical_json(content)
