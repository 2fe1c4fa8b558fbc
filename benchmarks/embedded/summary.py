"""A family's numbers on one model: means over seeds of what the records hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .metrics import best_minus_median, expected_calibration_error, mean, share_between
from .results import (
    Calibration,
    Demonstrations,
    Landscape,
    Proposals,
    RealRows,
    Record,
    Speed,
    Steps,
    StepsBeyond,
    Worked,
    ZeroShot,
)

R = TypeVar("R")


@dataclass(frozen=True)
class Summary:
    """One family on one model; None is not measured.

    Attributes:
        family: its name.
        labelled: it has few outputs.
        none, vague, misleading, training, human, held_out: mean accuracy of a kind of wording.
        held_out_each: accuracy of each held-out wording.
        unseen: mean over human and held-out wordings alike.
        demonstrations: accuracy by number of right demonstrations.
        wrong: accuracy with the most demonstrations, all wrong.
        ape: test accuracy of the best proposal.
        words, known: words of the proposals, and how many of them are words.
        wordings: wordings of the landscape.
        between: share of them strictly between .15 and .85 of the best.
        above_median: how far the best lies above the middle one.
        steps: accuracy without and with worked steps.
        beyond: the same on rows beyond those taught.
        ece: expected calibration error of the choice among labels.
        real: accuracy on rows of a public set.
        cpu_seconds: of 16 prompts x 100 rows.
    """

    family: str
    labelled: bool | None = None
    none: float | None = None
    vague: float | None = None
    misleading: float | None = None
    training: float | None = None
    human: float | None = None
    held_out: float | None = None
    held_out_each: tuple[float, ...] = ()
    unseen: float | None = None
    demonstrations: Mapping[int, float] = field(default_factory=dict)
    wrong: float | None = None
    ape: float | None = None
    words: int = 0
    known: int = 0
    wordings: int = 0
    between: float | None = None
    above_median: float | None = None
    steps: Worked | None = None
    beyond: Worked | None = None
    ece: float | None = None
    real: float | None = None
    cpu_seconds: float | None = None

    @property
    def reference(self) -> float | None:
        """What APE has to reach: the mean human wording, the mean held-out one where there is none."""
        return self.held_out if self.human is None else self.human


@dataclass(frozen=True)
class Model:
    """A model and the records of it."""

    name: str
    parameters: int
    records: tuple[Record, ...]

    @property
    def families(self) -> list[str]:
        """The families that were measured, by name."""
        return sorted({record.of.family for record in self.records})

    def results(self, kind: type[R], family: str | None = None) -> list[R]:
        """Return the results of one kind, of one family or of all."""
        return [
            record.result
            for record in self.records
            if isinstance(record.result, kind) and family in (None, record.of.family)
        ]

    def summaries(self) -> list[Summary]:
        """Return the numbers of every family."""
        return [self.summary(family) for family in self.families]

    def summary(self, family: str) -> Summary:
        """Return the numbers of one family."""
        steps, beyond = self.results(Steps, family), self.results(StepsBeyond, family)
        landscapes = [[score for _, _, score in found.scored] for found in self.results(Landscape, family)]
        proposals = self.results(Proposals, family)
        real = [score for found in self.results(RealRows, family) for _, score in found.scored]
        return Summary(
            family=family,
            **_wordings(self.results(ZeroShot, family)),
            **_demonstrations(self.results(Demonstrations, family)),
            ape=_mean(found.test for found in proposals),
            words=sum(found.words for found in proposals),
            known=sum(found.known for found in proposals),
            wordings=min(map(len, landscapes), default=0),
            between=_mean(share_between(scores) for scores in landscapes),
            above_median=_mean(best_minus_median(scores) for scores in landscapes),
            steps=Worked.mean(steps) if steps else None,
            beyond=Worked.mean(beyond) if beyond else None,
            ece=calibration_error(self.results(Calibration, family)),
            real=_mean(real),
            cpu_seconds=max((found.cpu_seconds for found in self.results(Speed, family)), default=None),
        )


def read_models(records: Iterable[Record], split: str) -> list[Model]:
    """Group the records of a split by model, smallest model first.

    Of records that differ only in the number of rows, the one with the most counts. Two versions of one
    model get the beginning of their hashes behind their names.
    """
    best: dict[tuple[str, str, str, str, int], Record] = {}
    for record in records:
        of = record.of
        key = (of.model, of.version, of.family, of.measure, of.seed)
        if of.split == split and (key not in best or best[key].of.n <= of.n):
            best[key] = record
    groups: dict[tuple[int, str, str], list[Record]] = {}
    for (name, version, *_), record in best.items():
        groups.setdefault((record.of.parameters, name, version), []).append(record)
    names = [name for _, name, _ in groups]
    return [
        Model(name if names.count(name) == 1 else f"{name}@{version[:6]}", parameters, tuple(found))
        for (parameters, name, version), found in sorted(groups.items())
    ]


def worked(model: Model) -> dict[str, Worked]:
    """Return what working in steps does, by family; rows beyond those taught stand for themselves."""
    summaries = model.summaries()
    rows = {summary.family: summary.steps for summary in summaries}
    rows |= {f"{summary.family}, beyond what is taught": summary.beyond for summary in summaries}
    return {name: found for name, found in rows.items() if found is not None}


def calibration_error(found: Sequence[Calibration]) -> float | None:
    """Return the expected calibration error of all choices together; few alone would look worse."""
    confidence = [value for one in found for value in one.confidence]
    right = [value for one in found for value in one.right]
    return expected_calibration_error(confidence, right) if confidence else None


def choice_accuracy(found: Sequence[Calibration]) -> float | None:
    """Return how often the likeliest label was right."""
    return _mean(value for one in found for value in one.right)


def _wordings(found: Sequence[ZeroShot]) -> dict[str, Any]:
    kinds = ("vague", "misleading", "training", "human", "held_out")
    scores = {kind: [score for one in found for _, score in getattr(one, kind)] for kind in kinds}
    each: dict[str, list[float]] = {}
    for text, score in (pair for one in found for pair in one.held_out):
        each.setdefault(text, []).append(score)
    return {
        "none": _mean(one.none for one in found),
        **{kind: _mean(values) for kind, values in scores.items()},
        "held_out_each": tuple(map(mean, each.values())),
        "unseen": _mean(scores["human"] + scores["held_out"]),
    }


def _demonstrations(found: Sequence[Demonstrations]) -> dict[str, Any]:
    if not found:
        return {}
    counts = found[0].counts
    return {
        "labelled": found[0].labelled,
        "demonstrations": {
            count: mean([one.right[place] for one in found]) for place, count in enumerate(counts)
        },
        "wrong": mean([one.wrong for one in found]),
    }


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return mean(listed) if listed else None
