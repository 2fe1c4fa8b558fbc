from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from promptopt.proof.cutoff import Cutoff
from promptopt.proof.stats import mean_interval
from promptopt.records import Cell, Evaluation, Score
from promptopt.tally import Tally


def evaluation(values: list[float], at: int = 0) -> Evaluation:
    return Evaluation("p", "r", tuple(Cell("p", f"e{at + i}", score=Score(v)) for i, v in enumerate(values)))


@pytest.mark.parametrize("binary", [True, False])
def test_sums_that_are_added_up_say_what_all_values_say(binary):
    rng = random.Random(1)
    values = [float(rng.random() < 0.3) if binary else rng.random() ** 2 for _ in range(5000)]
    parts = [values[at : at + 700] for at in range(0, 5000, 700)]
    whole = sum((Tally.of(evaluation(part)) for part in parts), Tally())
    assert whole.rows == 5000
    assert whole.mean == pytest.approx(sum(values) / 5000)
    known = mean_interval(values)
    low, high = whole.interval()
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-9 if binary else 1e-3)


def test_failed_cells_are_counted_and_have_no_value():
    cells = (Cell("p", "a", status="failed", reason="x"), Cell("p", "b", score=Score(0.5, parsed=False)))
    tally = Tally.of(Evaluation("p", "r", cells))
    assert (tally.rows, tally.failed, tally.unparsed, tally.mean, tally.binary) == (1, 1, 1, 0.5, False)
    assert all(map(math.isnan, tally.interval()))
    assert math.isnan(Tally().mean)
    assert Tally.from_dict(tally.to_dict()) == tally


def test_what_the_token_limit_cost_is_added_up_and_unknown_of_earlier_parts():
    cells = [Cell("p", f"e{i}", score=Score(0.0), cut=8 if i < 6 else 0) for i in range(10)]
    parts = [Tally.of(Evaluation("p", "r", tuple(cells[at : at + 5]))) for at in (0, 5)]
    assert sum(parts, Tally()).cutoff == Cutoff(10, 6, 8, 6.0, 4.0)
    data = json.loads(json.dumps(parts[0].to_dict()))
    assert Tally.from_dict(data) == parts[0]
    del data["cutoff"]
    assert Tally.from_dict(data) == replace(parts[0], cutoff=Cutoff())
