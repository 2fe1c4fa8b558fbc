"""The kernels against the same in float64, as built for this processor and for any of its kind."""

import platform

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_loop import cells, plain

from promptopt.models import _compiled, _kernels
from promptopt.models._kernels import Above, attended, attends, fit, gated, normed, totals, turned
from promptopt.models._network import Network
from promptopt.models._packed import PackedEngine

if _kernels.loaded() is None:
    pytest.skip("no C compiler that knows OpenMP", allow_module_level=True)

BASE = {"x86_64": "-march=x86-64", "aarch64": "-march=armv8-a"}.get(platform.machine())
NEAR = {
    torch.float32: {"rtol": 2e-6, "atol": 2e-6},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}


@pytest.fixture(params=["native", "plain"], scope="module", autouse=True)
def library(request, tmp_path_factory):
    """Use what is built for this processor, then what needs nothing but the least of its kind."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            if BASE is None:
                pytest.skip("no name is known for the least of this kind of processor")
            patch.setattr(
                _compiled, "FLAGS", ["-Wno-psabi", BASE, *_compiled.FLAGS[:1], *_compiled.FLAGS[2:]]
            )
            patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
            built = _kernels.loaded.__wrapped__()
            assert built is not None
            patch.setattr(_kernels, "loaded", lambda: built)
        _kernels._tiled.cache_clear()
        yield request.param
    _kernels._tiled.cache_clear()


@pytest.fixture(params=[1, 2], ids="{} threads".format, autouse=True)
def threads(request, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    monkeypatch.setattr(_kernels, "GRAIN", 0)


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def near(found, exact):
    torch.testing.assert_close(found, exact.to(found.dtype), **NEAR[found.dtype])


dtypes = pytest.mark.parametrize("dtype", NEAR)


@dtypes
@pytest.mark.parametrize("shape", [(0, 16), (1, 16), (7, 3, 32), (33, 400)])
def test_norm(dtype, shape):
    states, weight = draw(*shape, dtype=dtype), draw(shape[-1], dtype=dtype, seed=1)
    wide = states.double()
    exact = wide * (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double()
    near(normed(states, weight, 1e-5), exact)


@dtypes
def test_gate(dtype):
    inner, up = draw(9, 48, dtype=dtype) * 5, draw(9, 48, dtype=dtype, seed=1)
    inner[0, :4] = torch.tensor([-1000.0, -90.0, 90.0, 1000.0])
    exact = torch.nn.functional.silu(inner.double()) * up.double()
    found = gated(inner, up)
    assert found is inner
    torch.testing.assert_close(found, exact.to(dtype), rtol=NEAR[dtype]["rtol"], atol=1e-5)


@dtypes
@pytest.mark.parametrize("shape", [(1, 1, 32), (5, 3, 64), (40, 2, 96)])
def test_turn(dtype, shape):
    states = draw(*shape, dtype=dtype)
    cosine, sine = (draw(shape[0], 1, shape[2], dtype=dtype, seed=seed) for seed in (1, 2))
    first, second = states.double().chunk(2, -1)
    exact = states.double() * cosine.double() + torch.cat([-second, first], -1) * sine.double()
    assert turned(states, cosine, sine) is states
    near(states, exact)


@dtypes
@pytest.mark.parametrize("shape", [(1, 16), (3, 1), (4, 200), (2, 8191)])
def test_totals(dtype, shape):
    logits = draw(*shape, dtype=dtype) * 20
    logits[0, 1:2] = float("-inf")
    torch.testing.assert_close(totals(logits), logits.double().logsumexp(-1).float(), rtol=2e-6, atol=2e-6)


def test_what_is_no_number_stays_none():
    states = draw(3, 32)
    states[1, 5] = float("nan")
    assert normed(states, torch.ones(32), 1e-5).isnan().any(1).tolist() == [False, True, False]
    assert totals(states).isnan().tolist() == [False, True, False]
    assert gated(states.clone(), torch.ones(3, 32)).isnan().sum() == 1
    query = draw(3, 1, 32)
    query[1, 0, 5] = float("nan")
    found = attended((query, draw(3, 1, 32), draw(3, 1, 32)), whole(3), [], 0.2)
    assert found.isnan().flatten(1).any(1).tolist() == [False, True, False]


def whole(count):
    at = np.arange(count, dtype=np.int32)
    return at, np.zeros_like(at), np.full_like(at, count)


def exactly(states, places, above, scale):
    """Attend in float64, under masks."""
    query, key, value = (given.double() for given in states)
    at, begins, ends = (torch.from_numpy(place) for place in places)
    heads, share = query.shape[1], query.shape[1] // key.shape[1]
    j = torch.arange(len(key))
    seen = (begins[:, None] <= j) & (j <= at[:, None]) & (at[:, None] < ends)
    for low, high, keys, values in above:
        key, value = (
            torch.cat([kept[0].double().transpose(0, 1), own]) for kept, own in ((keys, key), (values, value))
        )
        shown = torch.zeros(len(query), keys.shape[2], dtype=torch.bool)
        shown[low:high] = True
        seen = torch.cat([shown, seen], 1)
    key, value = (given.repeat_interleave(share, 1) for given in (key, value))
    products = torch.einsum("qhw,khw->hqk", query, key) * scale
    weights = products.masked_fill(~seen, float("-inf")).softmax(-1)
    assert weights.shape[0] == heads
    return torch.einsum("hqk,khw->qhw", weights, value)


def tree(draw_, count):
    """Draw tiles of a pack, each a line of tokens from which branches leave."""
    begins, ends = np.zeros(count, np.int32), np.zeros(count, np.int32)
    cuts = sorted(draw_(st.sets(st.integers(1, count - 1), max_size=4))) if count > 1 else []
    for low, high in zip([0, *cuts], [*cuts, count], strict=True):
        begins[low:high], ends[low:high] = low, high
        at = low + draw_(st.integers(1, high - low))
        while at < high:
            leaf = min(high, at + draw_(st.integers(1, 40)))
            ends[at:leaf] = leaf
            at = leaf
    return begins, ends


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
@pytest.mark.parametrize("dtype", NEAR)
def test_attention(dtype, data):
    kv_heads, share = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    width, count = data.draw(st.sampled_from([32, 64, 96])), data.draw(st.integers(1, 400))
    begins, ends = tree(data.draw, count)
    at = np.arange(count, dtype=np.int32)
    if data.draw(st.booleans()):
        at = np.array(sorted(data.draw(st.sets(st.sampled_from(list(at)), min_size=1))), np.int32)
    key, value = (draw(count, kv_heads, width, dtype=dtype, seed=seed) for seed in (1, 2))
    # A slice of something wider: a token is further from the next than its heads are long.
    query = draw(len(at), kv_heads * share * 2, width, dtype=dtype)[:, : kv_heads * share]
    if not attends(query):
        pytest.skip("halves take a processor with AMX")
    above = []
    for number in range(data.draw(st.integers(0, 2))):
        low = data.draw(st.integers(0, len(at) - 1))
        high = data.draw(st.integers(low + 1, len(at)))
        size = data.draw(st.integers(1, 300))
        keys, values = (
            draw(1, kv_heads, size + 3, width, dtype=dtype, seed=9 * number + k)[:, :, 3:] for k in (3, 4)
        )
        above.append((low, high, keys, values))
    places = at, np.ascontiguousarray(begins[at]), ends
    scale = data.draw(st.sampled_from([0.01, width**-0.5, 1.0]))
    found = attended((query, key, value), places, [Above.of(*part) for part in above], scale)
    exact = exactly((query, key, value), places, above, scale)
    bound = 2e-5 if dtype == torch.float32 else 0.04
    torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=bound)


def test_what_does_not_fit_is_left_to_torch():
    states = torch.zeros(4, 32)
    assert fit(states, torch.zeros(32))
    assert not fit(states, torch.zeros(32, dtype=torch.bfloat16))
    assert not fit(states.half())
    assert not fit(states, torch.zeros(32, requires_grad=True))
    assert not fit(states.double())
    assert not fit(states.t())
    assert not fit(torch.zeros(4, 24))
    assert fit(torch.zeros(4, 24), width=1)
    assert not fit(torch.zeros(4, 32, device="meta"))
    assert attends(torch.zeros(4, 1, 64))
    assert not attends(torch.zeros(4, 1, 48))
    assert not attends(torch.zeros(4, 1, 64, requires_grad=True))
    assert not attends(torch.zeros(4, 1, 64, dtype=torch.float16))


FAMILIES = {
    "llama": transformers.LlamaConfig,
    "qwen3": transformers.Qwen3Config,
    "mistral": transformers.MistralConfig,
    "gpt_neox": transformers.GPTNeoXConfig,
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_models_score_with_and_without_them_as_the_plain_loop(kind, monkeypatch):
    torch.manual_seed(3)
    config = FAMILIES[kind](
        vocab_size=200, hidden_size=96, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=32, initializer_range=0.1, pad_token_id=0,
    )  # fmt: skip
    net = Network(transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False), None)
    pairs = [pair for pair in cells() if pair.continuation]
    expected = [plain(net, pair) for pair in pairs]
    called = []
    monkeypatch.setattr(_kernels, "attended", lambda *given: called.append(1) or attended(*given))

    def scores():
        found = dict(PackedEngine(net, 4096, 512).score(pairs, lambda _: True))
        return [found[pair].logprob for pair in pairs]

    assert scores() == pytest.approx(expected, abs=5e-5)
    assert called
    monkeypatch.setattr(_kernels, "loaded", lambda: None)
    called.clear()
    assert scores() == pytest.approx(expected, abs=5e-5)
    assert not called
