"""A soft prompt exported for PEFT: the model with it, asked with the messages beside it, scores as here."""

import json
from dataclasses import replace
from pathlib import Path

import foreign
import pytest
import torch
from tiny_models import save_model

from promptopt.adapter import Adapter
from promptopt.contracts.model import LikelihoodRequest
from promptopt.errors import ConfigError
from promptopt.exporting import export
from promptopt.models.local import LocalModel
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap, Message

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LocalModel(str(save_model(tmp_path_factory.mktemp("model") / "llama")))


def test_vectors_and_words_together_give_the_scores_that_were_measured(tmp_path, model):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    vectors = {"prompt_embeddings": torch.randn(4, 32)}
    adapter = Adapter.write(
        tmp_path, vectors, method="prompt_tuning", model=model.identity.revision, vectors=4
    )
    prompt = replace(Prompt("a row"), adapter=adapter)
    made = export(prompt, "peft", tmp_path / "out", base=model.name)
    assert (
        json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"]
        == model.name
    )
    messages = foreign.messages(made.files, tmp_path)({"input": "abc"})
    example = Example("1", FrozenMap(input="abc"))
    assert messages == [one._asdict() for one in prompt.render(example)]
    (tokens,) = model.tokenise([LikelihoodRequest(tuple(Message(**one) for one in messages), "xyz")])
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.name), str(tmp_path / "out")
    ).eval()
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([tokens.prompt + tokens.reply])).logits
    chosen = logits[0, -len(tokens.reply) - 1 : -1].log_softmax(-1)
    expected = chosen.gather(-1, torch.tensor(tokens.reply)[:, None]).sum()
    ours = dict(model.loglikelihood([LikelihoodRequest(prompt.render(example), "xyz", adapter)]))[0]
    assert ours.logprob == pytest.approx(float(expected), abs=1e-4)


def test_weights_go_with_peft_and_words_with_the_other_formats(tmp_path, model):
    adapter = Adapter.write(
        tmp_path, {"prompt_embeddings": torch.zeros(2, 32)}, method="prompt_tuning", model="x", vectors=2
    )
    with pytest.raises(ConfigError, match="has no trained weights; use the format messages"):
        export(Prompt("Go."), "peft")
    with pytest.raises(ConfigError, match="the model is not known; name it: --set base="):
        export(replace(Prompt("Go."), adapter=adapter), "peft")
    with pytest.raises(
        ConfigError, match=r"trained weights, which the format cannot hold.*use the format peft"
    ):
        export(replace(Prompt("Go."), adapter=adapter), "messages")


def test_the_embedded_models_are_found_where_they_are(tmp_path):
    from promptopt.exports.peft_adapter import _base

    assert (Path(_base("embedded/small")) / "config.json").is_file()
    assert _base("hf/org/name") == "org/name"
    assert _base("openai/gpt") == _base("") == ""
