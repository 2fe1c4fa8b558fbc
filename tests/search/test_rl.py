"""RL: the generator is really trained, and every run can be killed and taken up again."""

import pytest

pytest.importorskip("trl", reason="pip install 'promptopt[train]'")

from promptopt.search._rl_options import Training
from promptopt.search.rl import RL
from promptopt.testing.searcher import check_searcher

QUICK = RL(
    steps=3, groups=1, group_size=4, rows=3, demos=3, shortlist=4, keep=2, max_tokens=24,
    training=Training(save_every=1),
)  # fmt: skip


def test_it_keeps_the_contract():
    check_searcher(QUICK, cuts=3)
