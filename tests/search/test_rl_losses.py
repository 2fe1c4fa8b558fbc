"""Losses of `rl`: the bonus on entropy, by the trainer's log."""

from types import SimpleNamespace

import pytest

pytest.importorskip("trl", reason="pip install 'promptopt[train]'")

from promptopt.search._rl_losses import Floored


@pytest.mark.parametrize(
    ("seen", "worth"),
    [
        ([], 0.0),
        ([0.5], 0.005),
        ([0.5, 0.5, 0.5], 0.015),
        ([0.5, 0.5, 2.0], 0.0),  # above the floor it counts for nothing
        ([0.5, 0.5, 2.0, 0.5], 0.01),
        ([0.5] * 300, 1.0),
    ],
)
def test_the_bonus_on_entropy_grows_below_the_floor_only(seen, worth):
    trainer = Floored()
    trainer.entropy_floor = 1.0
    trainer.state = SimpleNamespace(log_history=[{"entropy": value} for value in seen] + [{"loss": 0.1}])
    assert trainer.entropy_coefficient == pytest.approx(worth)
