from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import BadInput
from promptopt.proof.calibration import reliability


def test_the_diagram_of_a_hand_made_case() -> None:
    found = reliability([0.95, 0.95, 0.9, 0.15, 0.0, 1.0], [True, False, True, False, False, True])
    assert [(b.low, b.high, b.n) for b in found.bins] == [
        (0.0, 0.1, 1), (0.1, 0.2, 1), (0.8, 0.9, 1), (0.9, 1.0, 3),
    ]  # fmt: skip
    last = found.bins[-1]
    assert (last.confidence, last.accuracy) == (pytest.approx(2.9 / 3), pytest.approx(2 / 3))
    assert last.accuracy in last.interval
    assert found.error == pytest.approx((0.0 + 0.15 + 0.1 + 3 * 0.3) / 6)
    assert found.overconfidence == pytest.approx((0.95 + 0.95 + 0.9 + 0.15 + 1.0) / 6 - 0.5)


def test_a_calibrated_model_has_hardly_any_error_and_a_boastful_one_its_boast() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0, 1, 20_000)
    right = rng.uniform(0, 1, 20_000) < sure
    assert reliability(sure.tolist(), right.tolist()).error < 0.02
    boast = reliability([0.9] * 1000, [i % 2 == 0 for i in range(1000)])
    assert boast.error == pytest.approx(0.4)
    assert boast.overconfidence == pytest.approx(0.4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_every_answer_is_in_one_bin_and_the_error_bounds_the_overconfidence(
    pairs: list[tuple[float, bool]],
) -> None:
    found = reliability([c for c, _ in pairs], [r for _, r in pairs])
    assert sum(b.n for b in found.bins) == len(pairs)
    assert all(b.low - 1e-12 <= b.confidence <= b.high + 1e-12 for b in found.bins)
    assert abs(found.overconfidence) <= found.error + 1e-9 <= 1 + 2e-9


def test_what_is_no_confidence_is_refused() -> None:
    with pytest.raises(BadInput, match="a confidence lies in"):
        reliability([1.2], [True])
    with pytest.raises(BadInput, match="needs a confidence and a truth an answer"):
        reliability([], [])
