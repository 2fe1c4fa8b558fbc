from __future__ import annotations

from pathlib import Path

import pytest
from evaluations import evaluation

from promptopt.proof.verdict import Verdict, judge
from promptopt.report.words import Words, verdict_words


def words(verdict: Verdict | None, *, binary: bool = True, state: str = "done") -> Words:
    return verdict_words(verdict, binary=binary, tried=5, state=state, folder=Path("runs/x"))  # type: ignore[arg-type]


def compare(before: list[float | None], after: list[float | None]) -> Verdict:
    return judge(evaluation("seed", before), evaluation("best", after), seed=0)


def test_a_proven_gain_says_use_it_and_by_how_much() -> None:
    found = words(compare([0.0] * 60 + [1.0] * 40, [1.0] * 90 + [0.0] * 10))
    assert (found.headline, found.tone) == ("Use the new prompt.", "good")
    assert found.detail.startswith(
        "The new prompt is right on 90% of 100 rows that nobody had touched; yours on 40%."
    )
    assert "The gain is +50 points (between +" in found.detail
    assert "p<.001" in found.detail


def test_a_gain_that_chance_could_make_says_keep_yours() -> None:
    found = words(compare([0.0] * 5 + [1.0] * 95, [1.0] * 97 + [0.0] * 3))
    assert (found.headline, found.tone) == ("Keep your prompt.", "flat")
    assert "chance alone could make it" in found.detail
    worse = words(compare([1.0] * 100, [1.0] * 90 + [0.0] * 10))
    assert worse.headline == "Keep your prompt."
    assert "no better" in worse.detail


def test_real_scores_are_not_called_right() -> None:
    found = words(compare([0.25, 0.5, 0.3] * 30, [0.75, 0.8, 0.7] * 30), binary=False)
    assert "scores 0.75 on 90 rows that nobody had touched; yours 0.35" in found.detail
    assert "+0.40" in found.detail


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [
        (Verdict(n=0), "No verdict."),
        (compare([1.0] * 50 + [None] * 50, [1.0] * 100), "No verdict: too many answers failed."),
        (judge(evaluation("seed", [1.0] * 9), evaluation("seed", [1.0] * 9), seed=0), "Keep your prompt."),
    ],
)
def test_what_is_no_comparison_says_so(verdict: Verdict, headline: str) -> None:
    assert words(verdict).headline == headline


def test_an_unfinished_run_says_how_to_go_on() -> None:
    assert "promptopt resume runs/x" in words(None, state="interrupted").detail
    assert words(None, state="running").headline == "No verdict yet: this run is under way."
