"""From the generator's texts to rewards: read, held back or scored, shaped; and the archive of all scored.

Every group of a step meets the same rows and every step other ones, so that a proposal cannot live off the
rows of one step; what is proposed again meets rows it does not know yet.

Where the reward asks a judge that its canaries have shown to fall for it, proposals are looked at once more:
those whose outputs talk the judge into their scores earn nothing, so that the generator does not learn to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

from promptopt.contracts.searcher import Session
from promptopt.prompt import Prompt
from promptopt.records import Evaluation, Example

from ._replies import read_one
from ._rl_asks import Ask
from ._rl_options import Shaping
from ._text import copies_pair, unique

PRIOR_ROWS = 4
"""Rows' worth of the archive's mean that a prompt's own mean is drawn towards (empirical Bayes)."""

Values = dict[str, float]
"""A prompt's value by row."""


@dataclass
class Archive:
    """All prompts scored, with their values by row.

    Attributes:
        prompts: by id, in the order in which they were first scored.
        values: by prompt id.
    """

    prompts: dict[str, Prompt] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    _rows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, prompt: Prompt, evaluation: Evaluation) -> None:
        """Keep what an evaluation says."""
        self.prompts.setdefault(prompt.id, prompt)
        mine = self.values.setdefault(prompt.id, {})
        for row, value in evaluation.values.items():
            if row not in mine:
                mine[row] = value
                total, cells = self._rows.get(row, (0.0, 0))
                self._rows[row] = total + value, cells + 1

    def estimate(self, prompt: Prompt) -> float:
        """Return a prompt's mean, drawn towards that of all the less the fewer rows it has met."""
        mine = self.values[prompt.id]
        return (math.fsum(mine.values()) + PRIOR_ROWS * self.mean) / (len(mine) + PRIOR_ROWS)

    def lead(self, prompt: Prompt) -> float:
        """Return how far a prompt is ahead of all that met its rows, drawn towards zero likewise."""
        mine = self.values[prompt.id]
        usual = (self._rows[row][0] / self._rows[row][1] for row in mine)
        return (math.fsum(mine.values()) - math.fsum(usual)) / (len(mine) + PRIOR_ROWS)

    def best(self, n: int) -> list[Prompt]:
        """Return n prompts: the highest estimates and the longest leads in turn; of equal ones the first.

        Prompts of different steps have met different rows: estimates favour those that met easy rows, leads
        those that came when the others were still bad. What is best in truth is high in both.
        """
        able = [prompt for key, prompt in self.prompts.items() if self.values[key]]
        rankings = (sorted(able, key=lambda p: -self.estimate(p)), sorted(able, key=lambda p: -self.lead(p)))
        return unique(prompt for pair in zip(*rankings, strict=True) for prompt in pair)[:n]

    @property
    def mean(self) -> float:
        """The mean of all cells."""
        cells = sum(count for _, count in self._rows.values())
        return math.fsum(total for total, _ in self._rows.values()) / cells if cells else 0.0


@dataclass(frozen=True)
class Judged:
    """What became of a step's proposals.

    Attributes:
        rewards: one a proposal; None where too many cells failed to say.
        curves: `score` (mean of the task's reward over usable proposals), `best` (the archive's best
            estimate), `usable`, `unique` and `spread` (shares: of usable proposals, of different ones among
            all, of groups whose rewards differ), `words` (mean length).
    """

    rewards: tuple[float | None, ...]
    curves: Mapping[str, float]


@dataclass(frozen=True)
class Judge:
    """Scores proposals through a session.

    Attributes:
        session: whose target answers.
        shaping: of the rewards.
        rows: rows to score on, in turns.
        block: rows of a step.
        max_chars: longer texts cannot be used.
        archive: where everything scored is kept.
        suspects: texts whose scores the judge was talked into (`Session.suspects`): they earn what a text
            that cannot be used does, and are kept nowhere.
    """

    session: Session
    shaping: Shaping
    rows: Sequence[Example]
    block: int
    max_chars: int
    archive: Archive = field(default_factory=Archive)
    suspects: set[str] = field(default_factory=set)

    def judge(self, step: int, asks: Sequence[Ask], texts: Sequence[str | None]) -> Judged:
        """Score a step's proposals.

        Args:
            step: which one; it decides the rows.
            asks: one a group.
            texts: group by group; None is a text that was cut off.

        Raises:
            BudgetExhausted: let it pass.
        """
        size = len(texts) // len(asks)
        read = [None if text is None else self._read(text) for text in texts]
        groups = [read[place : place + size] for place in range(0, len(read), size)]
        scores = self._score(step, asks, groups)
        groups = [[None if text in self.suspects else text for text in group] for group in groups]
        rewards = [
            reward for group, its in zip(groups, scores, strict=True) for reward in self._shape(group, its)
        ]
        return Judged(tuple(rewards), self._curves(groups, scores, rewards, size))

    def worth(self, ask: Ask, texts: Sequence[str | None]) -> float:
        """Return the mean score on an ask's own row; a text that cannot be used leaves the prompt to beat.

        Raises:
            BudgetExhausted: let it pass.
        """
        assert ask.row is not None
        read = [None if text is None else self._read(text) for text in texts]
        seed = self.session.task.seed_prompt
        prompts = [seed if text is None else seed.child(instruction=text, origin="rl") for text in read]
        found = [one for one in self.session.score(prompts, [ask.row]) if one.n]
        return fmean(one.mean for one in found) if found else 0.0

    # --- reading and scoring -------------------------------------------------------------------------

    def _read(self, text: str) -> str | None:
        found = read_one(text, self.max_chars)
        if found is None or found in self.suspects or copies_pair(found, self.session.task.rows):
            return None
        return found

    def _score(
        self, step: int, asks: Sequence[Ask], groups: Sequence[Sequence[str | None]]
    ) -> list[list[_Scored | None]]:
        """Return the evaluations of the usable texts; groups on the same rows are bought together."""
        if asks[0].row is None:
            count = len(self.rows)
            block = [self.rows[(step * self.block + i) % count] for i in range(min(self.block, count))]
            together = self._evaluate([text for group in groups for text in group], block)
            size = len(groups[0])
            return [together[place : place + size] for place in range(0, len(together), size)]
        return [
            self._evaluate(group, [ask.row])
            for ask, group in zip(asks, groups, strict=True)
            if ask.row is not None
        ]

    def _evaluate(self, texts: Sequence[str | None], rows: Sequence[Example]) -> list[_Scored | None]:
        seed = self.session.task.seed_prompt
        prompts = {text: seed.child(instruction=text, origin="rl") for text in texts if text is not None}
        if not prompts:
            return [None] * len(texts)
        found = self.session.score(list(prompts.values()), rows)
        signal = self.shaping.signal
        signals = (
            [None] * len(found)
            if signal is None
            else self.session.score(list(prompts.values()), rows, signal)
        )
        talked = self.session.suspects(list(prompts.values()), rows)
        self.session.rule_out(talked)
        self.suspects.update(prompt.instruction for prompt in talked)
        scored: dict[str, _Scored] = {}
        for text, evaluation, extra in zip(prompts, found, signals, strict=True):
            if text not in self.suspects:
                self.archive.add(prompts[text], evaluation)
                scored[text] = _Scored(evaluation, extra)
        return [None if text is None else scored.get(text) for text in texts]

    # --- shaping -------------------------------------------------------------------------------------

    def _shape(self, texts: Sequence[str | None], scores: Sequence[_Scored | None]) -> list[float | None]:
        """Return the rewards of one group."""
        values = self._means([None if one is None else one.evaluation for one in scores])
        if self.shaping.signal is not None:
            extra = self._means([None if one is None else one.signal for one in scores])
            weight = self.shaping.signal_weight
            values = [
                None if one is None or other is None else one + weight * other
                for one, other in zip(values, extra, strict=True)
            ]
        rewards = [
            None if value is None or text is None else value - self._penalty(text)
            for text, value in zip(texts, values, strict=True)
        ]
        rewards = self._seek(rewards)
        worst = min((reward for reward in rewards if reward is not None), default=0.0)
        invalid = worst - self.shaping.invalid_penalty
        return [invalid if text is None else reward for text, reward in zip(texts, rewards, strict=True)]

    def _seek(self, rewards: Sequence[float | None]) -> list[float | None]:
        """Lift all but the top share to the least of it."""
        known = sorted((reward for reward in rewards if reward is not None), reverse=True)
        floor = known[math.ceil(self.shaping.top * len(known)) - 1] if known else 0.0
        return [None if reward is None else max(reward, floor) for reward in rewards]

    def _means(self, evaluations: Sequence[Evaluation | None]) -> list[float | None]:
        """Return the mean of each over its rows, as they are or z-scored row by row."""
        able = [one for one in evaluations if one is not None and one.comparable]
        if not self.shaping.per_input:
            return [one.mean if one is not None and one.comparable else None for one in evaluations]
        scales = {}
        for row in {row for one in able for row in one.values}:
            column = [one.values[row] for one in able if row in one.values]
            scales[row] = (fmean(column), pstdev(column) or 1.0)
        return [
            fmean((value - scales[row][0]) / scales[row][1] for row, value in one.values.items())
            if one is not None and one.comparable
            else None
            for one in evaluations
        ]

    def _penalty(self, text: str) -> float:
        shaping = self.shaping
        return shaping.length_penalty * len(text) / self.max_chars + shaping.repetition_penalty * repetition(
            text
        )

    def _curves(
        self,
        groups: Sequence[Sequence[str | None]],
        scores: Sequence[Sequence[_Scored | None]],
        rewards: Sequence[float | None],
        size: int,
    ) -> dict[str, float]:
        texts = [text for group in groups for text in group]
        usable = [text for text in texts if text is not None]
        means = [
            one.evaluation.mean
            for group in scores
            for one in group
            if one is not None and one.evaluation.comparable
        ]
        parts = [rewards[place : place + size] for place in range(0, len(rewards), size)]
        differ = [len({reward for reward in part if reward is not None}) > 1 for part in parts]
        top = self.archive.best(1)
        return {
            "score": fmean(means) if means else 0.0,
            "best": self.archive.estimate(top[0]) if top else 0.0,
            "usable": len(usable) / len(texts),
            "unique": len(set(usable)) / len(texts),
            "spread": fmean(differ),
            "words": fmean(len(text.split()) for text in usable) if usable else 0.0,
        }


@dataclass(frozen=True)
class _Scored:
    """A proposal's evaluation by the task's reward, and by the signal if there is one."""

    evaluation: Evaluation
    signal: Evaluation | None


def repetition(text: str) -> float:
    """Return which share of the runs of three words has been there before; 0 for a text of few words."""
    words = text.casefold().split()
    runs: list[Any] = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
