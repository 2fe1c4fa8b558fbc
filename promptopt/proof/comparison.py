"""Prompts side by side on the same rows: paired differences, adjusted for their number, and a gate.

It is handed evaluations and knows nothing of models, files or runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal

from ..errors import ConfigError, ContractError
from ..ledger import Spent
from ..prompt import Prompt
from ..records import Evaluation
from .multiplicity import holm
from .pareto import Cost, measure
from .stats import Interval, format_number, mcnemar_exact, mean_interval, paired_interval, permutation_test

Words = Literal["better", "worse", "no reliable difference", "the same prompt", "not comparable"]
Test = Literal["mcnemar", "permutation"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A prompt by the name it goes under, and what it scored on all rows it met.

    `interval` is that of its mean, at the comparison's confidence; None when no row has a score.
    """

    name: str
    prompt: Prompt
    evaluation: Evaluation
    interval: Interval | None = None

    @property
    def cost(self) -> Cost | None:
        """What one answer takes; None for scores from a run's journal or a model that counts no tokens."""
        return measure(self.evaluation)


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt against a baseline on the rows where both have a score.

    Attributes:
        baseline: name of the one it is measured against.
        name: its name.
        n: rows compared.
        gain: mean paired difference, in units of the reward; None when n is 0, as the next one is.
        interval: of the gain, for this pair alone.
        p: two-sided p-value of "no difference".
        adjusted: the same after Holm, over all pairs of the comparison.
        test: exact McNemar for 0/1 scores of independent rows, else the paired permutation test.
        words: better or worse when the adjusted p-value is below 1 - confidence and the interval agrees.
    """

    baseline: str
    name: str
    n: int
    gain: float | None = None
    interval: Interval | None = None
    p: float = 1.0
    adjusted: float = 1.0
    test: Test = "permutation"
    words: Words = "no reliable difference"


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a prompt's gain clears a bar, and why, in one line."""

    passed: bool
    line: str
    min_gain: float
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Prompts compared on the same rows. Built by `contrast`.

    Attributes:
        reward: what judged them.
        split: where the rows are from.
        confidence: of every interval; 1 - confidence is the level of the verdicts.
        contenders: the baseline first, the others as they were given.
        pairs: each against the baseline, or all pairs, later against earlier.
        notes: what a reader should know besides.
        spent: what scoring them took.
    """

    reward: str
    split: str
    confidence: float
    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()
    spent: Spent = Spent()

    def gate(self, min_gain: float) -> Gate:
        """Say whether the last prompt clears a bar.

        It passes when the lower end of the two-sided interval of its gain over the baseline, at the
        comparison's confidence and for that pair alone, lies above `min_gain`, and enough cells of both
        came back. A prompt against itself gains 0, which is known and not estimated: it passes bars up to 0.

        Args:
            min_gain: the bar in units of the reward; a negative one asks for "not worse by more than".
        """
        check_bar(min_gain)
        first, last = self.contenders[0].name, self.contenders[-1].name
        pair = next(pair for pair in self.pairs if (pair.baseline, pair.name) == (first, last))
        bar = format_number(min_gain, sign=True)
        if pair.gain is None or pair.interval is None or pair.words == "not comparable":
            return Gate(
                False, f"gate failed: {last} against {first}: not comparable", min_gain, self.confidence
            )
        low = pair.interval.low
        passed = low >= min_gain if pair.words == "the same prompt" else low > min_gain
        line = (
            f"gate {'passed' if passed else 'failed'}: {last} gains {format_number(pair.gain, sign=True)} "
            f"{pair.interval} over {first}: the lower end is {'' if passed else 'not '}above the bar {bar}"
        )
        if pair.words == "the same prompt":
            line = (
                f"gate {'passed' if passed else 'failed'}: {last} is the prompt of {first}; the bar is {bar}"
            )
        return Gate(passed, line, min_gain, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: what `promptopt compare --json` prints."""
        return {
            "reward": self.reward,
            "split": self.split,
            "confidence": self.confidence,
            "baseline": self.contenders[0].name,
            "prompts": [_standing(contender) for contender in self.contenders],
            "pairs": [
                {
                    "baseline": pair.baseline, "name": pair.name, "n": pair.n, "gain": pair.gain,
                    "interval": _bounds(pair.interval), "p": pair.p, "p_holm": pair.adjusted,
                    "test": pair.test, "verdict": pair.words,
                }
                for pair in self.pairs
            ],
            "notes": list(self.notes),
        }  # fmt: skip


def check_confidence(confidence: float) -> None:
    """Raise ConfigError for what is no confidence level; to be asked before anything is bought."""
    if not 0 < confidence < 1:
        raise ConfigError("confidence", "must lie between 0 and 1", got=confidence, do="write .95 for 95%")


def check_bar(min_gain: float) -> None:
    """Raise ConfigError for what is no bar of a gate; to be asked before anything is bought."""
    if not math.isfinite(min_gain):
        raise ConfigError("min_gain", "must be a number", got=min_gain, do="write .02 for two points")


def contrast(
    contenders: Sequence[Contender],
    *,
    split: str,
    seed: int = 0,
    groups: Mapping[str, str | None] | None = None,
    confidence: float = 0.95,
    all_pairs: bool = False,
) -> Comparison:
    """Compare prompts row by row; the first one is the baseline.

    Args:
        contenders: at least two, judged by one reward, names distinct.
        split: where the rows are from.
        seed: of the resamples.
        groups: group by example id; rows that share one are drawn and swapped together.
        confidence: of the intervals, in (0, 1).
        all_pairs: compare each with each, not only with the baseline.

    Raises:
        ConfigError: the confidence is no share.
        ContractError: the evaluations are of different rewards.
    """
    check_confidence(confidence)
    rewards = {contender.evaluation.reward for contender in contenders}
    if len(rewards) != 1:
        raise ContractError("compare", "scores of two rewards cannot be compared", got=sorted(rewards))
    known = groups or {}
    couples = list(combinations(contenders, 2)) if all_pairs else [(contenders[0], c) for c in contenders[1:]]
    pairs = [_pair(a, b, known, seed, confidence) for a, b in couples]
    adjusted = holm([pair.p for pair in pairs])
    alpha = round(1 - confidence, 12)
    return Comparison(
        reward=rewards.pop(),
        split=split,
        confidence=confidence,
        contenders=tuple(_with_interval(c, known, seed, confidence) for c in contenders),
        pairs=tuple(_judged(pair, p, alpha) for pair, p in zip(pairs, adjusted, strict=True)),
        notes=_notes(contenders, pairs, known, alpha),
    )


def _pair(a: Contender, b: Contender, groups: Mapping[str, str | None], seed: int, confidence: float) -> Pair:
    before, after = a.evaluation.values, b.evaluation.values
    ids = [example for example in before if example in after]
    if not ids:
        return Pair(a.name, b.name, 0, words="not comparable")
    differences = [after[example] - before[example] for example in ids]
    units = _units(ids, groups)
    same = a.prompt == b.prompt and not any(differences)
    interval = (
        Interval(0.0, 0.0, confidence)
        if same
        else paired_interval(differences, seed=seed, groups=units, level=confidence)
    )
    binary = units is None and all(
        v in (0.0, 1.0) for example in ids for v in (before[example], after[example])
    )
    words: Words = "the same prompt" if same else "no reliable difference"
    if not (a.evaluation.comparable and b.evaluation.comparable):
        words = "not comparable"
    return Pair(
        a.name,
        b.name,
        len(ids),
        math.fsum(differences) / len(ids),
        interval,
        mcnemar_exact(differences.count(-1.0), differences.count(1.0))
        if binary
        else permutation_test(differences, seed=seed, groups=units),
        test="mcnemar" if binary else "permutation",
        words=words,
    )


def _judged(pair: Pair, adjusted: float, alpha: float) -> Pair:
    """Put the verdict in words, now that the p-value knows of the other pairs."""
    words = pair.words
    if words == "no reliable difference" and adjusted < alpha and pair.interval and 0 not in pair.interval:
        words = "better" if pair.interval.low > 0 else "worse"
    return replace(pair, adjusted=adjusted, words=words)


def _with_interval(
    contender: Contender, groups: Mapping[str, str | None], seed: int, confidence: float
) -> Contender:
    values = contender.evaluation.values
    if not values:
        return contender
    units = _units(list(values), groups)
    interval = mean_interval(list(values.values()), seed=seed, groups=units, level=confidence)
    return replace(contender, interval=interval)


def _units(ids: Sequence[str], groups: Mapping[str, str | None]) -> list[str | None] | None:
    """Return the group of each row, or None when no two of these rows share one."""
    found = [groups.get(example) for example in ids]
    named = [group for group in found if group is not None]
    return found if len(set(named)) < len(named) else None


def _notes(
    contenders: Sequence[Contender], pairs: Sequence[Pair], groups: Mapping[str, str | None], alpha: float
) -> tuple[str, ...]:
    notes = []
    for contender in contenders:
        evaluation = contender.evaluation
        if not evaluation.comparable:
            notes.append(
                f"{contender.name} is not comparable: "
                f"{evaluation.failed} of {len(evaluation.cells)} cells failed"
            )
    met = {cell.example for contender in contenders for cell in contender.evaluation.cells}
    fewest = min(pair.n for pair in pairs)
    if fewest < len(met):
        notes.append(f"as few as {fewest} of {len(met)} rows are compared: the others lack a score of either")
    units = _units(sorted(met), groups)
    independent = len(met)
    if units is not None:
        independent = len({group for group in units if group is not None}) + units.count(None)
        notes.append(f"rows share groups: {len(met)} rows are {independent} independent units")
    # All rows better is the best case, with a p-value of 2 * .5**n before the adjustment.
    if len(pairs) * 2 * 0.5 ** min(independent, fewest) >= alpha:
        notes.append(f"with {min(independent, fewest)} independent rows no difference can be reliable")
    return tuple(notes)


def _standing(contender: Contender) -> dict[str, Any]:
    evaluation = contender.evaluation
    cost = contender.cost
    return {
        "name": contender.name,
        "prompt": contender.prompt.id,
        "n": evaluation.n,
        "mean": evaluation.mean if evaluation.n else None,
        "interval": _bounds(contender.interval),
        "failed": evaluation.failed,
        "unparsed": evaluation.unparsed,
        "prompt_tokens": None if cost is None else cost.prompt_tokens,
        "output_tokens": None if cost is None else cost.output_tokens,
    }


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
