"""What is asked of the embedded models, each with what was measured and whether it is enough.

A mean over families comes with its 95% bootstrap interval over families; the point estimate decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from promptopt.proof.stats import mean_interval

from .metrics import mean
from .summary import Model, Summary, worked

FAMILIES, ROWS, SEEDS, HELD_OUT, WORDINGS = 35, 100, 3, 5, 40
TRAINING, UNSEEN, UNINSTRUCTED = 0.93, 0.85, 0.25
GRADED_SHARE, GRADED_FAMILIES, ABOVE_MEDIAN = 1 / 3, 1 / 2, 0.15
RIGHT_OVER_WRONG = 0.15
REAL = {"sentiment": 0.78, "topic": 0.78, "singular_to_plural": 0.85}
APE_FAMILIES, KNOWN_WORDS = 0.90, 0.95
CPU_SECONDS = 20.0
CAN, CANNOT = 0.8, 0.5
"""A model can do a family from this accuracy (training wordings) on, and cannot up to that one."""
HELPS = 0.05
"""Steps help, or hurt, by at least this much."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """A requirement, what was measured, and whether that meets it; None: it was not measured."""

    asked: str
    measured: str
    met: bool | None

    def __str__(self) -> str:
        """Show as one item of a Markdown list."""
        word = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        return f"- {word}: {self.asked}" + (f": {self.measured}" if self.measured else "")


def verdicts(default: Model, models: Sequence[Model]) -> list[Verdict]:
    """Judge the default model, and the models (smallest first) together."""
    found = default.summaries()
    return [
        *_size(default, found),
        *_wordings(found),
        *_landscape(found),
        *_demonstrations(found),
        *_real(found),
        *_ape(found),
        *_sizes(models),
        *_speed(found),
    ]


def bounded(asked: str, values: Sequence[float], accept: Callable[[float], bool], note: str = "") -> Verdict:
    """Judge a mean over families."""
    if not values:
        return Verdict(asked, "", None)
    middle, interval = mean(values), mean_interval(values)
    measured = f"{middle:.3f} [{interval.low:.3f}, {interval.high:.3f}] over {len(values)} families{note}"
    return Verdict(asked, measured, accept(middle))


def at_least(bound: float) -> Callable[[float], bool]:
    """Return whether a number is at least `bound`, rounding aside."""
    return lambda value: value >= bound - TOLERANCE


def at_most(bound: float) -> Callable[[float], bool]:
    """Return whether a number is at most `bound`, rounding aside."""
    return lambda value: value <= bound + TOLERANCE


def _size(model: Model, found: Sequence[Summary]) -> list[Verdict]:
    measured = [summary for summary in found if summary.training is not None]
    zero_shot = [record for record in model.records if record.of.measure == "zero_shot"]
    seeds = [sum(r.of.family == summary.family for r in zero_shot) for summary in measured]
    rows = min((record.rows for record in zero_shot), default=0)
    few = {record.of.family: record.rows for record in zero_shot if record.rows < record.of.n}
    unanswered = sum(record.unanswered for record in model.records)
    return [
        Verdict(f"at least {FAMILIES} families", str(len(measured)), len(measured) >= FAMILIES),
        Verdict(
            f"at least {ROWS} rows a cell and {SEEDS} evaluation seeds",
            f"{rows} rows, {min(seeds, default=0)} seeds, at least"
            + (
                f"; all inputs there are: {', '.join(f'{name} {n}' for name, n in few.items())}"
                if few
                else ""
            )
            + (f"; {unanswered} prompts were too long and count as wrong" if unanswered else ""),
            rows >= ROWS and min(seeds, default=0) >= SEEDS,
        ),
    ]


def _wordings(found: Sequence[Summary]) -> list[Verdict]:
    held_out = [len(s.held_out_each) for s in found if s.training is not None]
    annotated = sum(s.human is not None for s in found)
    unseen = bounded(
        f"unseen human wordings: at least {UNSEEN} on average",
        present(s.unseen for s in found),
        at_least(UNSEEN),
        f" ({annotated} of them with annotators' wordings)",
    )
    return [
        bounded(
            f"right instruction in training wording: at least {TRAINING} on average",
            present(s.training for s in found),
            at_least(TRAINING),
        ),
        unseen,
        Verdict(
            f"at least {HELD_OUT} held-out wordings a family",
            f"{min(held_out)} to {max(held_out)}" if held_out else "",
            min(held_out) >= HELD_OUT if held_out else None,
        ),
        bounded(
            f"no instruction: at most {UNINSTRUCTED} on average",
            present(s.none for s in found),
            at_most(UNINSTRUCTED),
        ),
        bounded(
            f"misleading instruction: at most {UNINSTRUCTED} on average",
            present(s.misleading for s in found),
            at_most(UNINSTRUCTED),
        ),
    ]


def _landscape(found: Sequence[Summary]) -> list[Verdict]:
    asked = "a graded landscape: a third of over 40 wordings strictly between .15 and .85 of the best"
    scaped = [s for s in found if s.between is not None and s.above_median is not None]
    if not scaped:
        return [Verdict(asked, "", None)]
    graded = [s for s in scaped if (s.between or 0) >= GRADED_SHARE - TOLERANCE]
    steep = [s for s in graded if (s.above_median or 0) >= ABOVE_MEDIAN - TOLERANCE]
    fewest = min(s.wordings for s in scaped)
    enough = at_least(GRADED_FAMILIES * len(scaped))
    gap = f"{mean([s.above_median or 0 for s in graded]):.3f}" if graded else "-"
    return [
        bounded(
            f"{asked}, on at least half of the families",
            [float(s in graded) for s in scaped],
            at_least(GRADED_FAMILIES),
            f" ({fewest} wordings, at least)",
        ),
        Verdict(f"at least {WORDINGS} wordings a family in it", str(fewest), fewest >= WORDINGS),
        Verdict(
            f"best minus median at least {ABOVE_MEDIAN} there",
            f"{len(steep)} families of the {len(graded)} graded ones, mean {gap}; {len(scaped)} in all",
            enough(len(steep)),
        ),
    ]


def _demonstrations(found: Sequence[Summary]) -> list[Verdict]:
    shown = [s for s in found if s.demonstrations]
    if not shown:
        return [Verdict("right demonstrations beat wrong ones, and more are better", "", None)]
    few, most = min(shown[0].demonstrations), max(shown[0].demonstrations)
    gaps = [s.demonstrations[most] - (s.wrong or 0) for s in shown if s.labelled]
    growth = [s.demonstrations[most] - s.demonstrations[few] for s in shown]
    means = ", ".join(
        f"{count}: {mean([s.demonstrations[count] for s in shown]):.3f}" for count in shown[0].demonstrations
    )
    return [
        bounded(
            f"right demonstrations beat wrong-label ones by at least {RIGHT_OVER_WRONG} on label families",
            gaps,
            at_least(RIGHT_OVER_WRONG),
        ),
        bounded(
            f"accuracy grows from {few} to {most} demonstrations",
            growth,
            # Grows beyond what the choice of families explains.
            lambda value: value > 0 and mean_interval(growth).low > 0,
            f" ({means})",
        ),
    ]


def _real(found: Sequence[Summary]) -> list[Verdict]:
    lines = []
    for family, bound in REAL.items():
        asked = f"{family} on real rows: at least {bound}"
        value = next((s.real for s in found if s.family == family), None)
        if value is None:
            lines.append(Verdict(asked, "", None))
        else:
            lines.append(Verdict(asked, f"{value:.3f}", at_least(bound)(value)))
    return lines


def _ape(found: Sequence[Summary]) -> list[Verdict]:
    pairs = [(s, s.ape, s.reference) for s in found]
    reached = {s.family: a >= r - TOLERANCE for s, a, r in pairs if a is not None and r is not None}
    short = [family for family, is_there in reached.items() if not is_there]
    words, known = sum(s.words for s in found), sum(s.known for s in found)
    return [
        bounded(
            f"APE reaches the mean human instruction on at least {APE_FAMILIES:.0%} of the families",
            [float(is_there) for is_there in reached.values()],
            at_least(APE_FAMILIES),
            f" (not: {', '.join(short)})" if short else "",
        ),
        Verdict(
            f"at least {KNOWN_WORDS:.0%} of the proposals' words are words",
            f"{known / words:.2%} of {words}" if words else "",
            at_least(KNOWN_WORDS)(known / words) if words else None,
        ),
    ]


def _sizes(models: Sequence[Model]) -> list[Verdict]:
    first = "sizes differ: a family that only the largest can do"
    second = "steps help the largest and hurt the smallest on a family"
    third = "calibration per size"
    if len(models) < 2:
        return [Verdict(asked, "", None) for asked in (first, second, third)]
    small, large = models[0], models[-1]
    scores = [{s.family: s for s in model.summaries()} for model in models]
    least, most = worked(small), worked(large)
    only = [
        family
        for family, best in scores[-1].items()
        if (best.training or 0) >= CAN
        and all(0 <= _training(other.get(family)) <= CANNOT for other in scores[:-1])
    ]
    split = [
        f"{name} ({least[name].gain:+.2f}, {most[name].gain:+.2f})"
        for name in most
        if name in least and most[name].gain >= HELPS and least[name].gain <= -HELPS
    ]
    errors = [present(s.ece for s in by_family.values()) for by_family in scores]
    return [
        Verdict(
            f"{first} (it at least {CAN}, the others at most {CANNOT})", ", ".join(only) or "none", bool(only)
        ),
        Verdict(
            f"{second} (by {HELPS} at least)",
            f"{', '.join(split) or 'none'}; {small.name} and {large.name}",
            bool(split),
        ),
        Verdict(third, "see its table" if all(errors) else "", True if all(errors) else None),
    ]


def _training(summary: Summary | None) -> float:
    """Return the accuracy with training wordings, below every bound where there is none."""
    return -1.0 if summary is None or summary.training is None else summary.training


def _speed(found: Sequence[Summary]) -> list[Verdict]:
    seconds = present(s.cpu_seconds for s in found)
    asked = f"16 prompts x 100 rows, greedy, up to 8 tokens: at most {CPU_SECONDS:.0f} CPU seconds on a core"
    if not seconds:
        return [Verdict(asked, "", None)]
    per_family = ", ".join(f"{s.family} {s.cpu_seconds:.1f}" for s in found if s.cpu_seconds is not None)
    return [Verdict(asked, per_family, at_most(CPU_SECONDS)(max(seconds)))]


def present(values: Iterable[float | None]) -> list[float]:
    """Return the values that there are."""
    return [value for value in values if value is not None]
