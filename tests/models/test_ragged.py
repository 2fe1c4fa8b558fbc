"""The GPU's attention: here with its kernel replaced by a loop over ranges, on a GPU as it is."""

import random

import pytest
import torch
from plain_loop import KINDS, cells, network, plain

from promptopt.contracts.model import Decoding
from promptopt.models import _ragged
from promptopt.models._batch import Job
from promptopt.models._packed import PackedEngine
from promptopt.models._padded import PaddedEngine

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def by_loop(query, key, value, ranges, scale, *, causal):
    """Attend as the kernel does, one range after the other, in float32."""
    share = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(share, 1) for states in (key, value))
    out = torch.full_like(query, torch.nan)
    total = torch.full((query.shape[1], query.shape[0]), torch.nan)
    query_ends, key_ends = ranges.query_ends.tolist(), ranges.key_ends.tolist()
    assert query_ends[-1] == len(query)
    assert key_ends[-1] <= len(key)
    for k in range(len(query_ends) - 1):
        (low, high), (begin, end) = query_ends[k : k + 2], key_ends[k : k + 2]
        if low == high:
            continue
        if ranges.used is not None:
            end = begin + int(ranges.used[k])
        assert begin < end
        assert high - low <= ranges.most[0]
        assert end - begin <= ranges.most[1]
        products = torch.einsum("qhw,khw->hqk", query[low:high].float(), key[begin:end].float()) * scale
        if causal:
            seen = torch.ones(products.shape[1:], dtype=torch.bool).tril(end - begin - (high - low))
            products = products.masked_fill(~seen, -torch.inf)
        total[:, low:high] = products.logsumexp(-1)
        out[low:high] = torch.einsum("hqk,khw->qhw", products.softmax(-1), value[begin:end].float())
    return out, total


@pytest.fixture
def ragged(monkeypatch):
    """Take the GPU's way; return how often the kernel was called."""
    calls = []

    def kernel(*states, causal):
        calls.append(causal)
        return by_loop(*states, causal=causal)

    monkeypatch.setattr(_ragged, "fits", lambda states: True)
    monkeypatch.setattr(_ragged, "kernel", kernel)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_are_those_of_the_plain_loop(tmp_path, ragged, kind):
    net = network(tmp_path, kind, attn_implementation="eager")
    pairs = cells()
    for limit, budget in ((4096, 512), (300, 90)):
        found = dict(PackedEngine(net, limit, budget).score(pairs, lambda _: True))
        for pair in pairs:
            assert found[pair].logprob == pytest.approx(min(plain(net, pair), 0.0), abs=5e-5)
    # Products under a cap or a window are not for the kernel.
    assert bool(ragged) == (kind not in ("mistral", "gemma2", "gemma3"))


@pytest.mark.parametrize("kind", KINDS)
def test_completions_are_those_of_padded_batches(tmp_path, ragged, kind):
    net = network(tmp_path, kind, attn_implementation="eager")
    draw = random.Random(2)
    prompts = sorted({pair.prompt for pair in cells()})
    jobs = [Job(prompt, Decoding(draw.randint(1, 20)), frozenset({2})) for prompt in prompts]
    expected = dict(PaddedEngine(net, 4096).complete(jobs, lambda _: True))
    for limit, budget in ((4096, 512), (300, 90)):
        assert dict(PackedEngine(net, limit, budget).complete(jobs, lambda _: True)) == expected


def test_calls_do_not_grow_with_the_number_of_tiles(tmp_path, ragged):
    net = network(tmp_path, "llama")
    layers = net.model.config.num_hidden_layers
    draw = random.Random(3)
    prompt = tuple(draw.choices(range(5, 200), k=60))
    jobs = [Job((*prompt, *draw.choices(range(5, 200), k=9)), Decoding(1), frozenset()) for _ in range(200)]
    dict(PackedEngine(net, 4096, 4096).complete(jobs, lambda _: True))
    assert len(ragged) <= layers * 5


@gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_is_as_close_to_float32_as_its_plain_loop(tmp_path, kind, dtype):
    net = network(tmp_path, kind, attn_implementation="eager")
    pairs = [pair for pair in cells() if pair.continuation]
    exact = [plain(net, pair) for pair in pairs]
    net.model.to("cuda", getattr(torch, dtype))
    found = dict(PackedEngine(net, 4096, 512).score(pairs, lambda _: True))
    errors = [abs(found[pair].logprob - value) for pair, value in zip(pairs, exact, strict=True)]
    loop = [abs(plain(net, pair) - value) for pair, value in zip(pairs, exact, strict=True)]
    assert sum(errors) <= 1.5 * sum(loop) + 5e-5 * len(pairs)


@gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_completes_as_padded_batches_do(tmp_path, kind):
    net = network(tmp_path, kind, attn_implementation="eager")
    net.model.to("cuda")
    prompts = sorted({pair.prompt for pair in cells()})
    jobs = [Job(prompt, Decoding(1 + k % 20), frozenset({2})) for k, prompt in enumerate(prompts)]
    expected = dict(PaddedEngine(net, 4096).complete(jobs, lambda _: True))
    found = dict(PackedEngine(net, 4096, 512).complete(jobs, lambda _: True))
    assert sum(found[job].text == expected[job].text for job in jobs) >= len(jobs) - 1
    half = net.model.to(torch.bfloat16)
    assert len(dict(PackedEngine(net, 4096, 512).complete(jobs, lambda _: True))) == len(jobs)
    assert half.dtype == torch.bfloat16
