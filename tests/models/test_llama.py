"""The forward of Llama-shaped models against transformers' own."""

import pytest
import torch
import transformers
from plain_loop import cells, network, plain
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from promptopt.models._cascade import PackLayout
from promptopt.models._llama import normed, shaped, turned
from promptopt.models._network import Network
from promptopt.models._packed import PackedEngine
from promptopt.models._tree import as_bytes

SHAPE = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def made(**options):
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SHAPE, **options))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return Network(model.eval().requires_grad_(False), None)


def scores(net, pairs):
    found = dict(PackedEngine(net, 4096, 512).score(pairs, lambda _: True))
    return [found[pair].logprob for pair in pairs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_rotation_are_those_of_transformers(dtype):
    torch.manual_seed(0)
    norm = LlamaRMSNorm(16, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    norm, states = norm.to(dtype), torch.randn(7, 3, 16).to(dtype)
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(normed(states, norm), norm(states), **near)
    angles = torch.randn(7, 8).repeat(1, 2)
    cosine, sine = (angles.cos().to(dtype), angles.sin().to(dtype))
    by_head = states.transpose(0, 1)[None]
    theirs, _ = apply_rotary_pos_emb(by_head, by_head, cosine[None], sine[None])
    torch.testing.assert_close(
        turned(states, cosine[:, None], sine[:, None]), theirs[0].transpose(0, 1), **near
    )


@pytest.mark.parametrize(
    "options",
    [
        {"attention_bias": True, "mlp_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {"tie_word_embeddings": True, "head_dim": 12},
    ],
    ids=lambda options: ", ".join(options),
)
def test_variants_of_the_shape_score_as_the_plain_loop(options):
    net = made(**options)
    assert shaped(net.model)
    pairs = [pair for pair in cells() if pair.continuation]
    assert scores(net, pairs) == pytest.approx([plain(net, pair) for pair in pairs], abs=5e-5)


@pytest.mark.parametrize("name", ["q_proj", "o_proj", "up_proj", "down_proj"])
@pytest.mark.parametrize("before", [False, True])
def test_what_hangs_on_a_linear_map_is_called(name, before):
    net = made()
    pairs = [pair for pair in cells() if pair.continuation]
    untouched = scores(net, pairs)
    for module_name, module in net.model.named_modules():
        if module_name.endswith(name):
            if before:
                module.register_forward_pre_hook(lambda _, given: (given[0] * 1.5,))
            else:
                module.register_forward_hook(lambda _, given, out: out * 0.5 + 0.1)
    found = scores(net, pairs)
    assert found == pytest.approx([plain(net, pair) for pair in pairs], abs=5e-5)
    assert found != pytest.approx(untouched, abs=1e-2)


def test_the_positions_kept_are_those_of_all_and_embeddings_stay_as_they_are():
    net = made()
    engine = PackedEngine(net, 4096, 512)
    (pack,) = engine.plan([as_bytes(tuple(range(5, 25)))], [1]).packs
    tokens = torch.from_numpy(pack.tokens).long()

    def run(keep, embeds=None):
        layout = PackLayout(pack, engine.branches, net.device)
        return engine.forward(tokens, layout.depths, layout, keep, embeds)

    with torch.inference_mode():
        whole = run(None)
        torch.testing.assert_close(run(torch.tensor([3, 19])), whole[[3, 19]])
        embeds = net.model.get_input_embeddings()(tokens)[None] * 2
        given = embeds.clone()
        changed = run(None, embeds)
        assert torch.equal(embeds, given)
        assert not torch.allclose(changed, whole)
        assert run(torch.tensor([], dtype=torch.long)).shape == (0, 200)


def test_a_window_is_kept(tmp_path):
    net = network(tmp_path, "mistral")
    pairs = [pair for pair in cells() if pair.continuation]
    near = scores(net, pairs)
    net.model.config.sliding_window = None
    assert scores(net, pairs) != pytest.approx(near, abs=1e-2)
