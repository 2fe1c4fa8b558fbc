"""Soft prompts as PEFT adapters: the same logits there, the same answers when they come back."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_models import save_model

from promptopt.adapter import Adapter
from promptopt.contracts.model import LikelihoodRequest
from promptopt.errors import ConfigError, DataError
from promptopt.models.local import LocalModel
from promptopt.peft_format import export_peft, import_peft, prefix_sizes, prompt_embeddings
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap, Message

# PEFT asks transformers for what it has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

METHODS = ("prompt_tuning", "p_tuning", "prefix_tuning")
REQUEST = LikelihoodRequest((Message("user", "a row of letters"),), "xyz")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LocalModel(str(save_model(tmp_path_factory.mktemp("model") / "llama")))


def soft(model, folder, method):
    torch.manual_seed(1)
    sizes = prefix_sizes(model) if method == "prefix_tuning" else None
    width = 2 * sizes["layers"] * sizes["heads"] * 16 if sizes else 32
    weights = {"prompt_embeddings": torch.randn(4, width)}
    revision = model.identity.revision
    return Adapter.write(folder, weights, method=method, model=revision, vectors=4, options=sizes)


def assert_same_logits(theirs, model, adapter):
    (tokens,) = model.tokenise([REQUEST])
    ids = torch.tensor([tokens.prompt + tokens.reply])
    with torch.no_grad():
        logits = theirs(input_ids=ids).logits[:, -len(tokens.reply) - 1 : -1]
    expected = logits.log_softmax(-1)[0].gather(-1, torch.tensor(tokens.reply)[:, None]).sum()
    ours = dict(model.loglikelihood([replace(REQUEST, adapter=adapter)]))[0]
    assert ours.logprob == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_an_exported_soft_prompt_gives_the_same_logits_in_peft(tmp_path, model, method):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    adapter = soft(model, tmp_path, method)
    folder = export_peft(adapter, tmp_path / "peft", base=model.name)
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.name), str(folder)
    ).eval()
    assert_same_logits(theirs, model, adapter)


@pytest.mark.parametrize("method", METHODS)
def test_a_soft_prompt_that_peft_trained_and_saved_can_be_used(tmp_path, model, method):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    kinds = {
        "prompt_tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "p_tuning": peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8
        ),
        "prefix_tuning": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    }
    torch.manual_seed(2)
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(model.name), kinds[method]).eval()
    theirs.save_pretrained(str(tmp_path / "peft"))
    adapter = import_peft(tmp_path / "peft", model, tmp_path / "mine")
    assert adapter.method == method
    assert_same_logits(theirs, model, adapter)


@pytest.mark.parametrize("method", METHODS)
def test_what_goes_out_comes_back_the_same(tmp_path, model, method):
    adapter = soft(model, tmp_path, method)
    back = import_peft(export_peft(adapter, tmp_path / "peft", base="m"), model, tmp_path / "mine")
    assert back == adapter


def test_pickled_weights_are_refused(tmp_path, model):
    folder = export_peft(soft(model, tmp_path, "prompt_tuning"), tmp_path / "peft", base="m")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(DataError, match=r"pickled \(adapter_model.bin\), which can run code"):
        import_peft(folder, model, tmp_path / "mine")


def test_what_is_no_soft_prompt_is_refused(tmp_path, model):
    adapter = soft(model, tmp_path, "prompt_tuning")
    folder = export_peft(adapter, tmp_path / "peft", base="m")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "VERA"}))
    with pytest.raises(DataError, match="is of a type not read here; got 'VERA'"):
        import_peft(folder, model, tmp_path / "mine")
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(DataError, match="holds no object"):
        import_peft(folder, model, tmp_path / "mine")
    with pytest.raises(DataError, match="cannot be read"):
        import_peft(tmp_path / "nowhere", model, tmp_path / "mine")
    with pytest.raises(ConfigError, match="not written for PEFT"):
        export_peft(replace(adapter, method="full"), tmp_path / "other", base="m")


def test_a_server_that_takes_embeddings_gets_those_of_vectors_and_row(tmp_path, model):
    prompt = replace(Prompt("Go."), adapter=soft(model, tmp_path, "prompt_tuning"))
    row = Example("1", FrozenMap({"input": "abc"}))
    embeds = prompt_embeddings(model, prompt, row)
    network = model.loaded().module
    with torch.no_grad():
        logits = network(inputs_embeds=embeds[None]).logits[0, -1].log_softmax(-1)
    request = LikelihoodRequest(prompt.render(row), "x", prompt.adapter)
    (tokens,) = model.tokenise([request])
    assert len(embeds) == 4 + len(tokens.prompt)
    ours = dict(model.loglikelihood([replace(request, continuation=" ")]))[0]
    (space,) = model.tokenise([replace(request, continuation=" ")])
    assert ours.logprob == pytest.approx(float(logits[space.reply[0]]), abs=1e-4)
    with pytest.raises(ConfigError, match="has no vectors"):
        prompt_embeddings(model, Prompt("Go."), row)


def trained(model, folder, method):
    """Return weights of a method that are not what they start from."""
    from promptopt.changed_weights import fresh

    draws = torch.Generator().manual_seed(1)
    start = fresh(model.loaded().module, method, width=2, seed=0)
    moved = {name: one + 0.3 * torch.randn(one.shape, generator=draws) for name, one in start.items()}
    options = {"scale": 2.0, "width": 2} if method == "lora" else None
    return Adapter.write(folder, moved, method=method, model=model.identity.revision, options=options)


def scored_by(theirs, model):
    (tokens,) = model.tokenise([REQUEST])
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([tokens.prompt + tokens.reply])).logits
    chosen = logits.log_softmax(-1)[0, len(tokens.prompt) - 1 : -1]
    return float(chosen.gather(-1, torch.tensor(tokens.reply)[:, None]).sum())


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_changed_weights_go_out_and_come_back_with_equal_logits(tmp_path, model, method):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    adapter = trained(model, tmp_path, method)
    folder = export_peft(adapter, tmp_path / "peft", base=model.name)
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.name), str(folder)
    ).eval()
    ours = dict(model.loglikelihood([replace(REQUEST, adapter=adapter)]))[0]
    assert ours.logprob == pytest.approx(scored_by(theirs, model), abs=1e-4)
    theirs.save_pretrained(str(tmp_path / "saved"))
    back = import_peft(tmp_path / "saved", model, tmp_path / "mine")
    assert back == adapter


def test_changes_that_would_be_left_out_are_refused(tmp_path, model):
    folder = export_peft(trained(model, tmp_path, "lora"), tmp_path / "peft", base="m")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(DataError, match="uses use_dora"):
        import_peft(folder, model, tmp_path / "mine")
    other = LocalModel(str(save_model(tmp_path / "gpt2", "gpt2")))
    with pytest.raises(DataError, match="holds weights that are not read here"):
        import_peft(folder, other, tmp_path / "mine")
