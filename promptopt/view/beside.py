"""Two runs side by side: their winners on the rows that both have met."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ..api_compare import compare
from ..proof.comparison import Comparison, Pair
from ..report.archive import Archive
from ..report.charts.verdict import verdict_chart
from ..report.diff import Run, word_diff
from ..report.rows import answers, row_results
from ..report.spelling import spell
from ..report.summary import RowResult
from ..runfolder import RunFolder


@dataclass(frozen=True, slots=True)
class Beside:
    """The comparison of two runs.

    Attributes:
        comparison: as `promptopt compare` makes it.
        pair: the second run's winner against the first's.
        picture: of both means and the difference.
        change: from the first winner to the second, word by word.
        rows: what both answered.
        binary: whether all scores are 0 or 1.
    """

    comparison: Comparison
    pair: Pair
    picture: Markup
    change: tuple[Run, ...]
    rows: tuple[RowResult, ...]
    binary: bool


def beside(first: RunFolder, second: RunFolder) -> Beside:
    """Compare the winners of two runs on their test rows.

    Raises:
        BadInput: one has no winner, or they have other rows or rewards.
    """
    comparison = compare({first.path.name: first.path, second.path.name: second.path})
    one, other = comparison.contenders
    (pair,) = comparison.pairs
    binary = one.evaluation.binary and other.evaluation.binary
    picture = Markup("")
    if pair.gain is not None and pair.interval is not None and one.interval and other.interval:
        picture = verdict_chart(
            (one.evaluation.mean, one.interval),
            (other.evaluation.mean, other.interval),
            (pair.gain, pair.interval),
            binary=binary,
            names=("first", "second", "2nd − 1st"),
            label=f"{other.name} against {one.name}: {pair.words}",
        )
    its = []
    for folder, contender in ((first, one), (second, other)):
        with Archive(folder.journal) as archive:
            its.append(answers(archive.cells(contender.prompt.id, comparison.split, comparison.reward)))
    return Beside(
        comparison,
        pair,
        picture,
        word_diff(spell(one.prompt), spell(other.prompt)),
        row_results(its[0], its[1], {**second.rows(), **first.rows()}, comparison.split),
        binary,
    )
