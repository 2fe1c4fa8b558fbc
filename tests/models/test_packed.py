"""The packed engine against the plain loop: one sequence at a time, no cache, no mask, no padding."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from plain_loop import KINDS, cells, network, plain
from tiny_models import save_model

from promptopt.contracts.model import Decoding
from promptopt.models._batch import Job
from promptopt.models._cascade import FAMILIES, supported
from promptopt.models._packed import PackedEngine
from promptopt.models._padded import PaddedEngine
from promptopt.models.local import LocalModel


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_are_those_of_the_plain_loop(tmp_path, kind):
    net = network(tmp_path, kind, attn_implementation="eager")
    assert supported(net.model)
    pairs = cells()
    expected = [plain(net, pair) for pair in pairs]
    for limit, budget in ((4096, 512), (300, 90)):
        found = dict(PackedEngine(net, limit, budget).score(pairs, lambda _: True))
        assert len(found) == len(pairs)
        for pair, value in zip(pairs, expected, strict=True):
            assert found[pair].logprob == pytest.approx(min(value, 0.0), abs=5e-5)
    assert net.model.config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", KINDS)
def test_completions_are_those_of_padded_batches(tmp_path, kind):
    net = network(tmp_path, kind, attn_implementation="eager")
    draw = random.Random(2)
    prompts = sorted({pair.prompt for pair in cells()})
    greedy = [Job(prompt, Decoding(draw.randint(1, 20)), frozenset({2})) for prompt in prompts]
    drawn = [Job(prompts[-1], Decoding(40, temperature=1.0), frozenset({2}), seed) for seed in range(6)]
    jobs = [*greedy, *drawn]
    expected = dict(PaddedEngine(net, 4096).complete(jobs, lambda _: True))
    assert len({expected[job].text for job in drawn}) > 1
    for limit, budget in ((4096, 512), (300, 90)):
        assert dict(PackedEngine(net, limit, budget).complete(jobs, lambda _: True)) == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_as_close_to_float32_as_the_plain_loop(tmp_path, dtype):
    net = network(tmp_path, "llama")
    pairs = [pair for pair in cells() if pair.continuation]
    exact = [plain(net, pair) for pair in pairs]
    net.model.to(getattr(torch, dtype))
    found = dict(PackedEngine(net, 4096, 512).score(pairs, lambda _: True))
    ours = sum(abs(found[pair].logprob - value) for pair, value in zip(pairs, exact, strict=True))
    loop = sum(abs(plain(net, pair) - value) for pair, value in zip(pairs, exact, strict=True))
    assert 0 < ours <= 1.5 * loop


def test_rows_leave_and_others_enter(tmp_path, monkeypatch):
    net = network(tmp_path, "llama")
    prompt = tuple(range(5, 45))
    jobs = [Job((*prompt, k), Decoding(1 + 7 * (k % 4)), frozenset()) for k in range(50, 70)]
    engine = PackedEngine(net, 100, 512)
    rows = []
    original = PackedEngine.forward

    def forward(self, tokens, depths, layout, keep=None, *rest):
        if keep is None:
            rows.append(len(tokens))
        return original(self, tokens, depths, layout, keep, *rest)

    monkeypatch.setattr(PackedEngine, "forward", forward)
    found = dict(engine.complete(jobs, lambda _: True))
    assert all(found[job].usage.completion_tokens == job.decoding.max_tokens for job in jobs)
    assert any(b < a for a, b in itertools.pairwise(rows))
    assert any(b > a for a, b in itertools.pairwise(rows))
    assert sum(rows) == sum(job.decoding.max_tokens - 1 for job in jobs)
    assert engine.branches == {}


def test_what_is_not_known_to_be_exact_runs_padded(tmp_path):
    net = network(tmp_path, "llama")
    config = net.model.config
    assert {config.model_type} <= set(FAMILIES)
    rope = config.rope_parameters
    config.rope_parameters = {**rope, "rope_type": "dynamic"}
    assert not supported(net.model)
    config.rope_parameters = rope
    config.use_bidirectional_attention = True
    assert not supported(net.model)
    bloom = LocalModel(str(save_model(tmp_path / "bloom", "bloom")))
    assert isinstance(bloom._engine, PaddedEngine)
    assert isinstance(LocalModel(str(tmp_path / "llama"))._engine, PackedEngine)


def test_a_refused_job_is_not_computed(tmp_path):
    net = network(tmp_path, "llama")
    pairs = cells()
    allowed = set(pairs[::2])
    engine = PackedEngine(net, 4096, 512)
    assert set(dict(engine.score(pairs, lambda pair: pair in allowed))) == allowed
    jobs = [Job(pair.prompt, Decoding(3), frozenset()) for pair in pairs[:9]]
    jobs = list(dict.fromkeys([*jobs, *(replace(job, decoding=Decoding(2)) for job in jobs)]))
    assert set(dict(engine.complete(jobs, lambda job: job in jobs[:4]))) == set(jobs[:4])
    assert list(engine.complete(jobs, lambda _: False)) == []
