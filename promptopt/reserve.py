"""What choosing and proving will cost: held back from the search, so that every run ends in a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from .calls import Caller
from .judging import ROLE, calls_of_canaries
from .ledger import Spent
from .prompt import Prompt
from .scoring import Scorer
from .session import Candidates
from .setup import Setup

HALF, WHOLE = 0.5, 1.0


class Reserve:
    """The cost of the finals of one search, estimated from what calls have taken so far."""

    def __init__(self, setup: Setup, caller: Caller, scorer: Scorer, candidates: Candidates) -> None:
        """Take the search's parts."""
        self._setup = setup
        self._caller = caller
        self._scorer = scorer
        self._candidates = candidates
        self._canaries = calls_of_canaries(setup.task.reward, setup.task.splits.search)
        self._decided: dict[int, int] = {}  # finalists to hold back for, by calls a cell

    def hold(self) -> None:
        """Set aside what choosing and proving will cost.

        For how many finalists is decided once, when the baseline has shown what a call costs: as many as
        leave half of the budget to search; and again when a program of more calls comes up. A program
        whose proof would take more than half of what is left is not held back for.
        """
        per_cell = self._calls_per_cell(HALF)
        finalists = self._decided.get(per_cell)
        if finalists is None:
            finalists = self._fitting(per_cell, HALF)
            if self._caller.has_answered("target"):
                self._decided[per_cell] = finalists
        self._caller.ledger.hold(self._cost(finalists, per_cell))

    def provable(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return those whose programs the rest of the budget can prove."""
        most = self._calls_per_cell(WHOLE)
        return [prompt for prompt in prompts if self._calls_of(prompt) <= most]

    def finalists(self) -> int:
        """Return how many finalists the rest of the budget can choose among and prove; at least one."""
        return self._fitting(self._calls_per_cell(WHOLE), WHOLE)

    def _fitting(self, per_cell: int, share: float) -> int:
        counts = range(self._setup.finalists, 0, -1)
        return next((count for count in counts if self._fits(count, per_cell, share)), 1)

    def _calls_per_cell(self, share: float) -> int:
        """Return the most calls a cell takes among the programs that `share` of the budget can prove.

        The seed prompt must be proven whatever its program takes.
        """
        programs = {record.prompt.program: record.prompt for record in self._candidates.all()}
        costs = {self._calls_of(prompt) for prompt in programs.values()}
        own = self._calls_of(self._setup.task.seed_prompt)
        return max([own, *(calls for calls in costs if self._fits(1, calls, share))])

    def _calls_of(self, prompt: Prompt) -> int:
        task = self._setup.task
        return self._scorer.calls_per_cell(prompt, task.splits.search, task.reward_name)

    def _fits(self, finalists: int, per_cell: int, share: float) -> bool:
        cost, left = self._cost(finalists, per_cell), self._caller.ledger.headroom()
        return (
            cost.calls <= left.calls * share
            and cost.tokens <= left.tokens * share
            and cost.usd <= left.usd * share
            and cost.seconds <= left.seconds * share
        )

    def _cost(self, finalists: int, per_cell: int) -> Spent:
        """Estimate choosing among `finalists` and proving, from the largest calls seen so far."""
        task = self._setup.task
        cells = (finalists + 1) * len(task.splits.select) + 2 * task.splits.n_test
        cost = self._caller.estimate("target", cells * per_cell)
        if judged := self._scorer.judge_calls_per_cell(task.splits.search, task.reward_name):
            cost += self._caller.estimate(ROLE, cells * judged + self._canaries)
        return cost
