"""How the next tokens of the rows of a batch are drawn."""

import math

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promptopt.models import _rows


@settings(max_examples=30, deadline=None)
@example([0.0, -1.0, 0.0, 0.0], 2.0, 0.375)
@given(
    # Equal, or apart in float32 as well.
    st.lists(st.floats(-5, 5).map(lambda logit: round(logit, 3)), min_size=4, max_size=4),
    st.floats(0.2, 3),
    st.floats(0.05, 1),
)
def test_draws_follow_the_nucleus_distribution(logits, temperature, top_p):
    n = 4096
    uniform = (torch.arange(n) + 0.5) / n
    tokens = _rows.draw(
        torch.tensor([logits]).expand(n, -1), torch.full((n,), temperature), torch.full((n,), top_p), uniform
    )
    weights = [math.exp((value - max(logits)) / temperature) for value in logits]
    order = sorted(range(4), key=lambda k: -weights[k])
    kept, mass = [], 0.0
    for k in order:
        if mass < (top_p - 1e-6) * sum(weights) or not kept:
            kept.append(k)
            mass += weights[k]
    counts = torch.bincount(tokens, minlength=4)
    close = min(
        (abs(sum(weights[k] for k in order[:i]) / sum(weights) - top_p) for i in range(1, 4)), default=1
    )
    if close > 1e-4:  # at the very edge of the nucleus float32 and float64 may differ
        for k in range(4):
            expected = n * weights[k] / mass if k in kept else 0
            assert abs(int(counts[k]) - expected) <= 2


def test_the_last_draw_is_a_token_that_can_occur():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]])
    one = torch.ones(1)
    assert int(_rows.draw(logits, one, one, torch.tensor([1 - 2**-24]))) == 1
    assert int(_rows.draw(logits, one, one * 1e-9, torch.tensor([0.0]))) == 1
