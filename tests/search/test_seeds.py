"""Several seeds: what is refused, and that any searcher, with slices and proposals, may be one of them."""

from __future__ import annotations

import pytest
from plurals import QUICK
from toys import make_setup

from promptopt.errors import BadInput, ConfigError, UnsupportedError
from promptopt.forecast import dry_run
from promptopt.models.embedded import EmbeddedModel
from promptopt.run import execute
from promptopt.search.portfolio import Portfolio
from promptopt.search.seeds import Seeds
from promptopt.testing.searcher import check_searcher

APE = {"name": "ape", "num_subsamples": 1, "num_prompts_per_subsample": 2, "variations": 1, "keep": 2}


@pytest.mark.timeout(600)
def test_it_keeps_the_contract_with_members_that_give_out_slices():
    portfolio = {"name": "portfolio", "searchers": [APE, {"name": "paraphrases", "n": 2}], "rounds": 1}
    check_searcher(Seeds((portfolio,), seeds=2), cuts=4)


def test_what_cannot_be_built_is_refused_before_anything_is_bought():
    for searchers, message in (((), "holds none"), (("sfot",), "did you mean"), ((3,), "not a searcher")):
        with pytest.raises(BadInput, match=message):
            Seeds(searchers)


def test_members_are_asked_about_the_target_as_they_will_have_it():
    setup = make_setup(searcher=Seeds((QUICK,)))
    with pytest.raises(UnsupportedError, match="needs gradients"):
        execute(setup)
    assert setup.models["target"].calls == 0
    for executor in ("local", "ray"):
        Seeds((QUICK,), executor=executor).check_target(EmbeddedModel("tiny"))
    ray = pytest.importorskip("promptopt.models.ray")
    pytest.importorskip("ray")
    replicas = ray.RayModel("embedded/tiny")
    Seeds((QUICK,), executor="ray").check_target(replicas)
    with pytest.raises(UnsupportedError, match="needs gradients"):
        Seeds((QUICK,)).check_target(replicas)


def test_a_slice_of_a_portfolio_is_not_spread_and_one_of_several_is_not_again():
    inner = Seeds((APE,), seeds=2)
    with pytest.raises(ConfigError, match="a slice is one search"):
        execute(make_setup(searcher=Portfolio((inner,), rounds=1)))
    with pytest.raises(ConfigError, match="cannot be spread again"):
        execute(make_setup(searcher=Seeds((inner,), seeds=2)))


def test_it_is_not_rehearsed_since_that_would_train():
    assert "which cannot be rehearsed" in str(dry_run(lambda: make_setup(searcher=Seeds((APE,)))))
