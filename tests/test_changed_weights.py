"""Changed weights: nothing at first, the method's own formula after training, and nothing when it is over."""

import pytest
import torch
from tiny_models import save_model

from promptopt.adapter import Adapter
from promptopt.changed_weights import METHODS, changed, fresh, linear_maps
from promptopt.contracts.model import Decoding, GenerateRequest, LikelihoodRequest
from promptopt.errors import UnsupportedError
from promptopt.models.local import LocalModel
from promptopt.records import Message

REQUEST = LikelihoodRequest((Message("user", "a row of letters"),), "xyz")
IDS = torch.tensor([[7, 30, 60, 90, 120]])


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def model(request, tmp_path_factory):
    return LocalModel(str(save_model(tmp_path_factory.mktemp("model") / "model", request.param)))


def moved(network, method):
    tensors = fresh(network, method, width=2, seed=0)
    draws = torch.Generator().manual_seed(1)
    return {name: one + 0.3 * torch.randn(one.shape, generator=draws) for name, one in tensors.items()}


def logits(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_change_changes_nothing_and_a_trained_one_is_gone_when_it_is_over(model, method):
    network = model.loaded().module
    if method == "ia3" and network.config.model_type != "llama":
        with pytest.raises(UnsupportedError, match="no layers that ia3 knows"):
            fresh(network, method, width=2, seed=0)
        return
    before = logits(network)
    with changed(network, method, fresh(network, method, width=2, seed=0), 2.0):
        assert torch.allclose(logits(network), before, atol=1e-5)
    with changed(network, method, moved(network, method), 2.0):
        assert (logits(network) - before).abs().max() > 0.1
    assert torch.equal(logits(network), before)


def test_lora_bias_and_scale_are_what_changed_weights_would_be(tmp_path):
    network = LocalModel(str(save_model(tmp_path / "model"))).loaded().module
    maps = linear_maps(network)
    for method in ("lora", "ia3"):
        tensors = moved(network, method)
        with changed(network, method, tensors, 2.0):
            found = logits(network)
        own = {name: module.weight.data.clone() for name, module in maps.items()}
        for name, module in maps.items():
            front = f"base_model.model.{name}"
            if method == "lora":
                module.weight.data += (
                    2.0 * tensors[f"{front}.lora_B.weight"] @ tensors[f"{front}.lora_A.weight"]
                )
            elif f"{front}.ia3_l" in tensors:
                module.weight.data *= tensors[f"{front}.ia3_l"]
        assert torch.allclose(logits(network), found, atol=1e-4)
        for name, module in maps.items():
            module.weight.data = own[name]


@pytest.mark.parametrize("method", METHODS)
def test_requests_with_and_without_changed_weights_are_answered_side_by_side(tmp_path, method):
    model = LocalModel(str(save_model(tmp_path / "model")))
    network = model.loaded().module
    tensors = moved(network, method)
    revision = model.identity.revision
    adapter = Adapter.write(tmp_path, tensors, method=method, model=revision, options={"scale": 2.0})
    requests = [
        LikelihoodRequest(REQUEST.messages, text, a) for text in ("xyz", "ab") for a in (adapter, None)
    ]
    together = dict(model.loglikelihood(requests))
    for place, request in enumerate(requests):
        alone = dict(model.loglikelihood([request]))[0]
        assert together[place].logprob == pytest.approx(alone.logprob, abs=1e-4)
    (tokens,) = model.tokenise([requests[0]])
    with changed(network, method, tensors, 2.0), torch.no_grad():
        out = network(input_ids=torch.tensor([tokens.prompt + tokens.reply])).logits.log_softmax(-1)[0]
    chosen = out[len(tokens.prompt) - 1 : -1].gather(-1, torch.tensor(tokens.reply)[:, None])
    assert together[0].logprob == pytest.approx(float(chosen.sum()), abs=1e-4)
    assert abs(together[0].logprob - together[1].logprob) > 0.1
    plain = dict(model.generate([GenerateRequest(REQUEST.messages, Decoding(5))]))[0]
    other = dict(model.generate([GenerateRequest(REQUEST.messages, Decoding(5), adapter=adapter)]))[0]
    assert plain == dict(model.generate([GenerateRequest(REQUEST.messages, Decoding(5))]))[0]
    assert other.text != plain.text
