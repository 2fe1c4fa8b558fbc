from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.ledger import Spent
from promptopt.proof.stats import Interval
from promptopt.report.charts._svg import Scale, brief, element, path, round_out, stairs, ticks
from promptopt.report.charts.progress import MOST_DOTS, progress_chart, second_axis
from promptopt.report.charts.splits import splits_chart
from promptopt.report.charts.tradeoff import Spot, tradeoff_chart
from promptopt.report.charts.verdict import verdict_chart
from promptopt.report.summary import Curve, Score, Step

SPACE = {"svg": ""}


def test_text_and_attributes_are_escaped() -> None:
    made = element("text", "</text><script>\x1b", class_='a" onload="x', stroke_width=1.50)
    assert (
        made
        == '<text class="a&#34; onload=&#34;x" stroke-width="1.5">&lt;/text&gt;&lt;script&gt;\\x1b</text>'
    )


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    if high > low:
        assert 1 <= len(found) <= 5
        assert all(low - span * 1e-6 <= tick <= high + span * 1e-6 for tick in found)


def test_numbers_on_axes_are_short() -> None:
    assert [brief(n) for n in (0, 0.25, 1200, 40_000, 3_000_000)] == ["0", "0.25", "1,200", "40k", "3M"]
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert round_out([0.2, 0.9], unit=True) == (0.0, 1.0)
    low, high = round_out([-3.0, -1.0], unit=True)
    assert low < -3 < -1 < high


def test_scales_and_lines() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(v) for v in (0, 5, 10)] == [100, 150, 200]
    assert Scale(1, 1, 0, 10)(1) == 0
    assert path([(0, 1), (2, 3)], closed=True) == "M0.0,1.0 L2.0,3.0Z"
    assert stairs([(0, 1), (2, 3)], 5) == [(0, 1), (2, 1), (2, 3), (5, 3)]
    assert stairs([], 5) == []


def curve(name: str, n: int = 3) -> Curve:
    steps = tuple(
        Step(str(i), 0.2 + 0.1 * i / n, 10, Spent(10 * i, 0, 0, 0.0, i), 0.1, Interval(0.1, 0.5))
        for i in range(n)
    )
    return Curve(name, steps, steps, Spent(100, 0, 0, 0.0, 9.0))


def test_one_curve_has_a_band_and_several_have_none() -> None:
    alone = progress_chart([curve("")], "calls", labels={"1": "</svg>"})
    assert 'class="band"' in alone
    assert "&lt;/svg&gt;" in alone
    race = progress_chart([curve("ape"), curve("opro")], "calls")
    assert 'class="band"' not in race
    assert 'class="line c0"' in race
    assert 'class="line c1"' in race
    for picture in (alone, race):
        fromstring(picture)
    assert progress_chart([], "calls") == ""
    assert progress_chart([Curve("", (), (), Spent())], "calls") == ""


def test_ten_thousand_prompts_are_a_few_hundred_dots() -> None:
    many = Curve("", curve("").steps, curve("", 10_000).steps, Spent(100_000))
    assert progress_chart([many], "calls").count('class="dot other"') <= MOST_DOTS


@pytest.mark.parametrize(
    ("end", "axis"),
    [(Spent(1, 1, 1, 0.5), "usd"), (Spent(1, 1, 1), "tokens"), (Spent(1, 0, 0, 0.0, 2.0), "seconds")],
)
def test_the_second_axis_counts_what_there_is(end: Spent, axis: str) -> None:
    assert second_axis([Curve("", (), (), end)]) == axis


def test_pictures_say_in_words_what_they_show() -> None:
    estimate = (0.5, Interval(0.4, 0.6))
    verdict = fromstring(verdict_chart(estimate, estimate, (0.0, Interval(-0.1, 0.1)), binary=True))
    titles = [element.text for element in verdict.iter("title")]
    assert "yours: 50%, 95% interval 40% to 60%" in titles
    assert "new − yours: 0, 95% interval -10 to +10" in titles
    spots = [Spot(10, 0.5, 20, "before", False, "mine"), Spot(20, 0.9, 20, "after", True, "<b>")]
    assert "&lt;b&gt;" in tradeoff_chart(spots)
    assert tradeoff_chart([]) == ""
    score = Score(0.5, 10, Interval(0.4, 0.6))
    assert splits_chart({"search": score}, {"test": score}).count("<circle") == 2
    assert splits_chart({}, {}) == ""
