"""Specialists: each method learns, stands in the table with its bytes, and leaves the model as it was."""

from dataclasses import replace

import pytest
from plurals import SEED, run
from toys import make_setup

from promptopt.contracts.model import LikelihoodRequest
from promptopt.errors import UnsupportedError
from promptopt.models.embedded import EmbeddedModel
from promptopt.records import Message
from promptopt.run import execute
from promptopt.search.specialist import Specialist
from promptopt.testing.searcher import check_searcher

QUICK = Specialist(steps=12, batch=4, every=6)


@pytest.fixture(scope="module")
def embedded():
    return EmbeddedModel()


@pytest.mark.parametrize("method", ["lora", "ia3", "bitfit", "bottleneck", "full"])
def test_a_specialist_learns_and_the_model_stays_as_it_was(embedded, method):
    request = LikelihoodRequest((Message("user", "hello"),), "there")
    before = dict(embedded.loglikelihood([request]))[0].logprob
    study = run(replace(QUICK, method=method), embedded)
    trained = [c for c in study.candidates if c.prompt.adapter is not None]
    losses = study.search_notes[0].data["losses"]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    adapter = trained[-1].prompt.adapter
    assert adapter.method == method
    assert adapter.vectors == 0
    assert adapter.size == adapter.file.stat().st_size
    assert f"[{method}, {adapter.size:,} bytes]" in study.search_notes[0].text
    assert trained[-1].prompt.instruction == SEED.instruction
    assert dict(embedded.loglikelihood([request]))[0].logprob == before
    parameters = embedded.loaded().module.num_parameters()
    assert adapter.size < {"full": 4.1, "lora": 0.8}.get(method, 0.5) * parameters


def test_a_specialist_keeps_the_contract():
    searcher = replace(QUICK, method="bitfit", steps=2, every=1, batch=2)
    check_searcher(searcher, target=EmbeddedModel("tiny"), cuts=2)


def test_a_target_elsewhere_is_refused_before_anything_is_spent():
    setup = make_setup(searcher=QUICK)
    with pytest.raises(UnsupportedError, match="searcher specialist: needs gradients"):
        execute(setup)
    assert setup.models["target"].calls == 0
