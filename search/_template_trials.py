"""How the prompts of a template are tried: blocks of shared rows, the worse ones dropped early, caps kept.

One value is told for each prompt, whatever rows it has met; the scores of single rows stay in the journal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from promptopt.contracts.searcher import Session
from promptopt.contracts.selector import Selector
from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.proof.pareto import CostName, Objective, measure
from promptopt.records import Evaluation, Example, fold_inputs

from ._demos import score_fully
from ._text import unique

PROBE = 8
"""Rows that tell what a prompt's answers cost, before more is spent on it."""
FIRST, FEWEST, SHARE = 32, 10, 4
"""Rows of the first block of a front: so many, but no more than a quarter, and at least the fewest."""
BENEFIT = 1.0
"""Standard errors that a dropped prompt is given the benefit of."""
TOKEN_CAPS: tuple[CostName, ...] = ("prompt_tokens", "output_tokens")
CAPS = ("characters", *TOKEN_CAPS)


@dataclass(frozen=True)
class Outcome:
    """What came of a prompt.

    Attributes:
        values: reward, and cost where it is weighed; None when too many cells failed.
        rows: how many it has met.
        violations: by cap, how far it is passed, as a share of the cap; 0 or less is within.
    """

    values: tuple[float, ...] | None
    rows: int
    violations: Mapping[str, float] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether it is within all caps."""
        return all(violation <= 0 for violation in self.violations.values())


class Trials:
    """The prompts tried so far.

    Args:
        session: scores them.
        rows: how many of the search rows they may meet; blocks are prefixes of them.
        selector: drops the worse ones; not used when a cost is weighed.
        keep: how many of each race go on to the next; they have met all rows.
        cost: what is weighed against the reward, if anything.
        caps: most `characters`, `prompt_tokens` or `output_tokens` of an answer.
        starts: good prompts found elsewhere; they take part in the first race.
    """

    def __init__(
        self,
        session: Session,
        rows: int,
        *,
        selector: Selector,
        keep: int,
        cost: CostName | None,
        caps: Mapping[str, float],
        starts: Sequence[Prompt] = (),
    ) -> None:
        """Score the seed prompt, which shows how hard each row is.

        Raises:
            ConfigError: tokens are to be weighed or capped, and the target counts none.
        """
        self._session = session
        self._rows = rows
        self._selector = selector
        self._keep = keep
        self._cost = cost
        self._caps = caps
        self._known: dict[str, Evaluation] = {}
        self._unfinished: dict[str, Prompt] = {}
        self._lowest = math.inf
        self.best: list[Prompt] = []
        (seed,) = self._score([session.task.seed_prompt], rows)
        if (cost or set(caps) & set(TOKEN_CAPS)) and measure(seed) is None:
            where = "search.cost" if cost else "search.at_most"
            raise ConfigError(where, "the target counts no tokens", do="cap `characters`, or take it out")
        shown_to_all = {fold_inputs(row.inputs) for row in session.task.rows[:rows]}
        fair = [p for p in starts if not shown_to_all & {fold_inputs(one.inputs) for one in p.demonstrations}]
        self.best = [prompt for prompt in fair if not self._over(prompt)]

    def race(self, prompts: Sequence[Prompt]) -> list[Outcome]:
        """Let new prompts meet the best of earlier races, and return what came of each."""
        over = {prompt.id: self._violations(prompt) for prompt in prompts}
        short = [p for p in prompts if over[p.id].get("characters", 0) <= 0]
        if set(self._caps) & set(TOKEN_CAPS) and short:
            self._score(unique(short), min(PROBE, self._rows))
            over = {prompt.id: self._violations(prompt) for prompt in prompts}
        fitting = [prompt for prompt in prompts if not self._over(prompt)]
        runners = unique([*self.best, *fitting])
        if fitting:
            self.best = self._front(runners) if self._cost else self._select(runners)
            self._unfinished |= {prompt.id: prompt for prompt in fitting}
            if not self._cost:
                self._look_again()
        over = {prompt.id: self._violations(prompt) for prompt in prompts}  # more rows may tell another mean
        self._session.rule_out([prompt for prompt in runners + list(prompts) if self._over(prompt)])
        self.best = [prompt for prompt in self.best if not self._over(prompt)]
        hard = self._hardness()
        outcomes = [self._outcome(prompt, hard, over[prompt.id]) for prompt in prompts]
        self._lowest = min([self._lowest, *(o.values[0] for o in outcomes if o.values)])
        return outcomes

    def finish(self) -> None:
        """Score the best on all search rows that they do not show."""
        score_fully(self._session, self.best)

    # --- races ---------------------------------------------------------------------------------------

    def _select(self, runners: Sequence[Prompt]) -> list[Prompt]:
        def score(places: Sequence[int], n: int) -> list[Evaluation]:
            return self._score([runners[place] for place in places], n)

        keep = min(self._keep, len(runners))
        return [runners[place] for place in self._selector.select(score, len(runners), self._rows, keep)]

    def _look_again(self) -> None:
        """Let those that a race has dropped, but that may be as good as the best, meet all rows, too.

        The more good prompts there are, the more of them a race drops by the luck of its first rows. They are
        taken by how few standard errors the best is ahead of them on the rows that both have met.
        """
        best = max(
            (k for p in self.best if (k := self._known[p.id]).met == self._rows), key=_mean, default=None
        )
        if best is None:
            return
        likely: list[tuple[float, Prompt]] = []
        for prompt in [p for p in self._unfinished.values() if p.id in self._known]:
            known = self._known[prompt.id]
            if known.met == self._rows:
                del self._unfinished[prompt.id]
            elif known.comparable and not self._over(prompt):
                likely.append((_ahead(best, known, self._rows), prompt))
        likely = [one for one in likely if one[0] <= BENEFIT]
        likely.sort(key=lambda one: one[0])
        if again := [prompt for _, prompt in likely[: self._keep]]:
            self._score(again, self._rows)
            ranked = unique([*self.best, *again])
            ranked.sort(key=lambda prompt: -self._known[prompt.id].mean)
            self.best = ranked[: self._keep]

    def _front(self, runners: Sequence[Prompt]) -> list[Prompt]:
        """Halve by fronts of reward against cost, doubling the rows; what nothing beats goes first."""
        objective = Objective("pareto", self._cost or "prompt_tokens")
        alive = list(runners)
        n = min(self._rows, max(FEWEST, min(FIRST, self._rows // SHARE)))
        while True:
            scored = zip(alive, self._score(alive, n), strict=True)
            ranked = sorted(scored, key=lambda pair: (not pair[1].comparable, -pair[1].mean))
            alive = objective.order(ranked)
            if n == self._rows:
                return alive[: self._keep]
            alive = alive[: max(self._keep, math.ceil(len(alive) / 2))]
            n = min(self._rows, 2 * n)

    def _score(self, prompts: Sequence[Prompt], n: int) -> list[Evaluation]:
        found = self._session.score(prompts, n)
        for prompt, evaluation in zip(prompts, found, strict=True):
            known = self._known.get(prompt.id)
            if known is None or known.met < evaluation.met:
                self._known[prompt.id] = evaluation
        return found

    # --- values --------------------------------------------------------------------------------------

    def _hardness(self) -> dict[str, float]:
        """Return each row's mean score over the prompts that have met all rows."""
        whole = [evaluation.values for evaluation in self._known.values() if evaluation.met == self._rows]
        scores: dict[str, list[float]] = {}
        for values in whole:
            for row, value in values.items():
                scores.setdefault(row, []).append(value)
        return {row: fmean(its) for row, its in scores.items()}

    def _outcome(self, prompt: Prompt, hard: Mapping[str, float], over: Mapping[str, float]) -> Outcome:
        """Return a prompt's reward as it would be on all rows: a block of easy rows flatters nobody."""
        known = self._known.get(prompt.id)
        if known is None:  # too long to be tried; its value must not attract
            worst = self._lowest if self._lowest < math.inf else min(hard.values(), default=0.0)
            return Outcome((worst, self._dear()) if self._cost else (worst,), 0, over)
        reward = self._value(prompt, hard)
        if reward is None:
            return Outcome(None, known.met, over)
        if self._cost is None:
            return Outcome((reward,), known.met, over)
        cost = measure(known)
        return Outcome(None if cost is None else (reward, cost.of(self._cost)), known.met, over)

    def _value(self, prompt: Prompt, hard: Mapping[str, float]) -> float | None:
        """Return a prompt's reward as it would be on all rows, if enough is known."""
        known = self._known[prompt.id]
        shared = [row for row in known.values if row in hard]
        if not known.comparable or not shared:
            return None
        return fmean(hard.values()) + fmean(known.values[row] - hard[row] for row in shared)

    def _dear(self) -> float:
        """Return the highest cost seen."""
        costs = [
            cost.of(self._cost) for known in self._known.values() if self._cost and (cost := measure(known))
        ]
        return max(costs, default=0.0)

    def _over(self, prompt: Prompt) -> bool:
        """Whether a prompt is beyond a cap, as far as it is known."""
        return any(violation > 0 for violation in self._violations(prompt).values())

    def _violations(self, prompt: Prompt) -> dict[str, float]:
        """Return how far each cap is passed, as far as it is known."""
        found: dict[str, float] = {}
        known = self._known.get(prompt.id)
        spent = measure(known) if known is not None else None
        for name, cap in self._caps.items():
            if name == "characters":
                rows = self._session.task.rows[:PROBE]
                found[name] = fmean(_characters(prompt, row) for row in rows) / cap - 1
            elif spent is not None:
                tokens = spent.prompt_tokens if name == "prompt_tokens" else spent.output_tokens
                found[name] = tokens / cap - 1
        return found


def _mean(evaluation: Evaluation) -> float:
    return evaluation.mean


def _ahead(best: Evaluation, other: Evaluation, rows: int) -> float:
    """Return by how many standard errors one is ahead of another that has met fewer of these rows.

    Paired differences with one pseudo-row for either side, without which a prompt that is all right on few
    rows would show no noise at all (D. Bonett and R. Price, Adjusted Wald Confidence Interval for a
    Difference of Binomial Proportions Based on Paired Data, J. Educational and Behavioral Statistics 37(4),
    2012), and the finite-population correction for the rows that are left (W. Cochran, Sampling Techniques,
    1977, section 2.6).
    """
    leads = [best.values[row] - value for row, value in other.values.items() if row in best.values]
    if not leads:
        return math.inf
    squares = [lead * lead for lead in leads]
    noise = (sum(squares) + 2 * (max(squares) or 1.0)) * (1 - other.met / rows)
    return sum(leads) / math.sqrt(noise)


def _characters(prompt: Prompt, row: Example) -> int:
    return sum(len(message.content) for message in prompt.render(row))
