"""What docs/scale.md claims, measured as the benchmarks do, at a size that a test can bear."""

from __future__ import annotations

import pytest

from benchmarks.scale.fleet import TOLERANCE, with_an_outage


@pytest.mark.slow
def test_a_server_killed_and_restarted_costs_no_more_than_its_share(record_property):
    found = with_an_outage(750, kill_at=4.0, back_at=10.0)
    record_property("figures", f"{found.seconds:.1f} s, {found.excess:+.1%}, {found.attempts} attempts")
    assert (found.answered, found.journaled) == (found.calls, found.calls)
    assert found.calls < found.attempts < found.calls + 40  # what was under way at the one that was killed
    assert found.excess <= TOLERANCE
