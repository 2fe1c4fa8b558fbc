"""The fuzzing of `python -m tests.fuzz`: a little of it here, a million inputs where there is time."""

from __future__ import annotations

import pytest

from tests import fuzz, fuzz_targets


def test_no_reader_crashes_or_runs_away_on_some_thousand_texts() -> None:
    report = fuzz.fuzz(12_000, seed=1)
    assert report.findings == []
    assert set(report.inputs) == set(fuzz_targets.TARGETS)
    assert report.total == 12_000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_reader_crashes_or_runs_away_on_a_million_texts() -> None:
    assert fuzz.fuzz(1_000_000, seed=0).findings == []


def test_a_reader_that_crashes_or_runs_away_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(text: str) -> None:
        for _ in range(10_000_000 if "1" in text else 0):
            pass

    bad = {
        "crashes": fuzz_targets.Target(lambda text: [][len(text) > 4], ("abc",)),
        "runs away": fuzz_targets.Target(slow, ("abc 1",)),
    }
    monkeypatch.setattr(fuzz, "TARGETS", bad)
    monkeypatch.setattr(fuzz, "SLOW", 0.05)
    report = fuzz.fuzz(4, seed=0)
    assert {finding.target for finding in report.findings} == {"crashes", "runs away"}
    assert str(report.findings[0]) == "crashes: IndexError: list index out of range: 'abc'"
