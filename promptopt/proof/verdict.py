"""The verdict: is the winner reliably better than the seed prompt, on rows that nobody has touched?

Without a test split there are no such rows. Then `judge_reused` estimates the gain on the rows that the
winner was chosen on, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import ContractError
from ..records import Evaluation
from .finals import Finals
from .guards import format_drift
from .power import ALPHA, MIN_UNITS
from .reselect import stretch
from .stats import (
    Interval,
    format_number,
    format_p,
    mcnemar_exact,
    mean_interval,
    paired_interval,
    permutation_test,
)

NO_IMPROVEMENT = "no reliable improvement; keep your prompt"
NO_TEST_SPLIT = (
    "no test split: the gain is that of repeated splits of the select rows, chosen on a part and read off "
    "the rest"
)
REUSED = "estimated on reused rows; not a held-out proof"

Test = Literal["mcnemar", "permutation"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Winner minus seed prompt on the held-out rows where both have a score. Built by `judge`.

    Without a test split, what choosing like this brings, estimated on the select rows (`judge_reused`).

    Attributes:
        n: rows compared.
        baseline: mean of the seed prompt; None when n is 0, as the next five fields are.
        baseline_interval: of the seed prompt's mean.
        best: mean of the winner.
        best_interval: of the winner's mean.
        difference: mean paired difference, winner minus seed prompt.
        interval: of the difference.
        p: two-sided p-value of "no difference"; 1 when n is 0.
        test: exact McNemar for 0/1 scores of independent rows, else the paired permutation test.
        reliable: difference > 0, the interval above 0 and p < .05, on comparable evaluations of two prompts.
        same_prompt: the search kept the seed prompt.
        comparable: enough cells of both prompts came back.
        notes: what a reader should know besides.
        held_out: the rows were touched by nobody; False: they were reused, and nothing is `reliable`.
        likely: on reused rows, the interval is above 0 and p < .05.
    """

    n: int
    baseline: float | None = None
    baseline_interval: Interval | None = None
    best: float | None = None
    best_interval: Interval | None = None
    difference: float | None = None
    interval: Interval | None = None
    p: float = 1.0
    test: Test = "permutation"
    reliable: bool = False
    same_prompt: bool = False
    comparable: bool = True
    notes: tuple[str, ...] = ()
    held_out: bool = True
    likely: bool = False

    @property
    def line(self) -> str:
        """The last line of a run."""
        text = self._numbers()
        if not self.comparable:
            text += "; not comparable, too many failed cells"
        if not self.held_out:
            text += f"; {REUSED}"
            return f"{text}: likely better" if self.likely else f"{text}: {NO_IMPROVEMENT}"
        return text if self.reliable else f"{text}: {NO_IMPROVEMENT}"

    def __str__(self) -> str:
        """Show the line."""
        return self.line

    def _numbers(self) -> str:
        if (
            self.baseline is None
            or self.best is None
            or self.difference is None
            or self.baseline_interval is None
            or self.best_interval is None
            or self.interval is None
        ):
            kind = "held-out" if self.held_out else "select"
            return f"no {kind} row has a score" if self.same_prompt else f"no {kind} row has both scores"
        rows = f"on {self.n} {'held-out' if self.held_out else 'reused'} row{'s' if self.n != 1 else ''}"
        baseline = f"baseline {format_number(self.baseline)} {self.baseline_interval}"
        if self.same_prompt:
            return f"{baseline} {rows}"
        best = f"best {format_number(self.best)} {self.best_interval}"
        paired = f"paired {format_number(self.difference, sign=True)} {self.interval}, {format_p(self.p)}"
        return f"{baseline} -> {best} {rows}; {paired}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with the line."""
        return {**asdict(self), "notes": list(self.notes), "line": self.line}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `to_dict` wrote."""
        fields = {key: value for key, value in data.items() if key != "line"}
        for name in ("baseline_interval", "best_interval", "interval"):
            if fields[name] is not None:
                fields[name] = Interval(**fields[name])
        return cls(**{**fields, "notes": tuple(fields["notes"])})


def judge(
    seed_eval: Evaluation,
    best_eval: Evaluation,
    *,
    seed: int,
    groups: Mapping[str, str | None] | None = None,
) -> Verdict:
    """Compare the winner with the seed prompt, row by row.

    Rows where either prompt has no score are left out and noted. 0/1 scores of independent rows meet the
    exact McNemar test, everything else the paired permutation test; both and the interval must agree.

    Args:
        seed_eval: the seed prompt on the held-out rows.
        best_eval: the winner on the same rows; may be the same evaluation.
        seed: of the resamples.
        groups: group by example id; rows that share one are drawn and swapped together.

    Raises:
        ContractError: the evaluations are of two different rewards.
    """
    if seed_eval.reward != best_eval.reward:
        raise ContractError(
            "verdict", "scores of two rewards cannot be compared", got=(seed_eval.reward, best_eval.reward)
        )
    same = seed_eval.prompt == best_eval.prompt
    comparable = seed_eval.comparable and best_eval.comparable
    ids = [example for example in seed_eval.values if example in best_eval.values]
    units = _shared_groups(ids, groups or {})
    notes = _notes(seed_eval, best_eval, ids, units)
    if not ids:
        return Verdict(n=0, same_prompt=same, comparable=comparable, notes=notes)
    before = [seed_eval.values[example] for example in ids]
    after = before if same else [best_eval.values[example] for example in ids]
    differences = [b - a for a, b in zip(before, after, strict=True)]
    difference = math.fsum(differences) / len(ids)
    # A prompt against itself differs by nothing, which is known, not estimated.
    interval = Interval(0.0, 0.0) if same else paired_interval(differences, seed=seed, groups=units)
    binary = units is None and all(value in (0.0, 1.0) for value in before + after)
    if binary:
        p = mcnemar_exact(differences.count(-1.0), differences.count(1.0))
    else:
        p = permutation_test(differences, seed=seed, groups=units)
    return Verdict(
        n=len(ids),
        baseline=math.fsum(before) / len(ids),
        baseline_interval=mean_interval(before, seed=seed, groups=units),
        best=math.fsum(after) / len(ids),
        best_interval=mean_interval(after, seed=seed, groups=units),
        difference=difference,
        interval=interval,
        p=p,
        test="mcnemar" if binary else "permutation",
        reliable=comparable and not same and difference > 0 and interval.low > 0 and p < ALPHA,
        same_prompt=same,
        comparable=comparable,
        notes=notes,
    )


def judge_reused(
    finals: Finals,
    seed_eval: Evaluation,
    *,
    seed: int,
    groups: Mapping[str, str | None] | None = None,
) -> Verdict:
    """Estimate the gain on the select rows themselves, where there is no test split.

    Choosing is repeated on parts of the rows and its winners are read off the others (`reselect.reselect`:
    repeated splits of a frozen shortlist); interval and test resample rows, each with its mean gain over
    the choices that did not see it. They take those choices as given, which alone would cover the winner's
    true gain in 86 to 96% of runs; so the interval is stretched to what choosing anew on other rows
    changes (`reselect.stretch`), and covers it in 93 to 98% (`benchmarks/verdicts.py --parts reused`).
    The searcher never saw the rows; still, this is an estimate of how well choosing like this does, not a
    proof about one prompt.

    Args:
        finals: from `finals.decide`.
        seed_eval: the seed prompt on the select rows.
        seed: of the resamples.
        groups: group by example id.
    """
    same = finals.winner == seed_eval.prompt
    repeated = finals.reselection
    ids = list(seed_eval.values) if repeated is None else list(finals.row_ids)
    units = _shared_groups(ids, groups or {})
    notes = (NO_TEST_SPLIT, *_size_notes(ids, units))
    if not ids or (repeated is None and not same):
        return Verdict(n=0, same_prompt=same, held_out=False, notes=notes)
    before = [seed_eval.values[example] for example in ids]
    baseline = math.fsum(before) / len(ids)
    own = mean_interval(before, seed=seed, groups=units)
    if same or repeated is None:
        return Verdict(
            len(ids), baseline, own, baseline, own, 0.0, Interval(0.0, 0.0), same_prompt=True,
            comparable=seed_eval.comparable, notes=notes, held_out=False,
        )  # fmt: skip
    gains, after = repeated.gains.tolist(), repeated.means.tolist()
    difference = math.fsum(gains) / len(ids)
    wider = stretch(repeated, seed=seed)
    interval = paired_interval(gains, seed=seed, groups=units).stretched(difference, wider)
    p = permutation_test(gains, seed=seed, groups=units)
    return Verdict(
        n=len(ids),
        baseline=baseline,
        baseline_interval=own,
        best=math.fsum(after) / len(ids),
        best_interval=mean_interval(after, seed=seed, groups=units),
        difference=difference,
        interval=interval,
        p=p,
        notes=notes,
        held_out=False,
        likely=interval.low > 0 and p < ALPHA,
    )


def _shared_groups(ids: Sequence[str], groups: Mapping[str, str | None]) -> list[str | None] | None:
    """Return the group of each row, or None when no two of these rows share one."""
    found = [groups.get(example) for example in ids]
    named = [group for group in found if group is not None]
    return found if len(set(named)) < len(named) else None


def _notes(
    seed_eval: Evaluation, best_eval: Evaluation, ids: Sequence[str], units: Sequence[str | None] | None
) -> tuple[str, ...]:
    notes = []
    asked = {cell.example for evaluation in (seed_eval, best_eval) for cell in evaluation.cells}
    if len(ids) < len(asked):
        notes.append(f"{len(asked) - len(ids)} of {len(asked)} rows left out: a prompt has no score there")
    for name, evaluation in (("seed prompt", seed_eval), ("best prompt", best_eval)):
        if not evaluation.comparable:
            notes.append(
                f"{name} not comparable: {evaluation.failed} of {len(evaluation.cells)} cells failed"
            )
    if drift := format_drift(seed_eval, best_eval).note:
        notes.append(drift)
    return (*notes, *_size_notes(ids, units))


def _size_notes(ids: Sequence[str], units: Sequence[str | None] | None) -> tuple[str, ...]:
    notes = []
    independent = len(ids)
    if units is not None:
        independent = len({group for group in units if group is not None}) + list(units).count(None)
        notes.append(f"rows share groups: {len(ids)} rows are {independent} independent units")
    if independent < MIN_UNITS:
        notes.append(f"fewer than {MIN_UNITS} independent rows: no improvement can be reliable")
    return tuple(notes)
