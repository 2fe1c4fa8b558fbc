"""The load of `python -m tests.load`: a little of it here, ten minutes of it where there is time."""

from __future__ import annotations

import pytest

from tests.load import load


def test_a_little_load_loses_no_cell_and_leaks_nothing() -> None:
    report = load(1.0, delay=0.05)
    assert report.problems == []
    assert report.cells == 512 * report.runs >= 1536
    assert report.failed > 0
    assert report.retried > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_minutes_of_load_lose_no_cell_and_leak_nothing() -> None:
    report = load(600.0)
    assert report.problems == []
