import json
from pathlib import Path

import pytest
import torch

from promptopt import plugins
from promptopt.contracts.model import Decoding, GenerateRequest, LikelihoodRequest
from promptopt.errors import ConfigError, PluginError
from promptopt.job import DEFAULT_MODELS
from promptopt.models.embedded import EmbeddedModel, sizes
from promptopt.records import Message
from promptopt.testing.model import check_model


@pytest.fixture(scope="module")
def model():
    return EmbeddedModel()


def ask(model, *texts, **decoding):
    requests = [GenerateRequest((Message("user", text),), Decoding(**decoding)) for text in texts]
    return [reply.text for _, reply in sorted(dict(model.generate(requests)).items())]


def test_it_follows_instructions(model):
    capitals = {"France": "Paris", "Italy": "Rome", "Greece": "Athens", "Japan": "Tokyo", "Egypt": "Cairo"}
    prompts = [f"Write the capital of the country.\n\nInput: {country}\nOutput:" for country in capitals]
    assert ask(model, *prompts, max_tokens=8) == list(capitals.values())
    assert ask(model, *(prompt.split("\n\n")[1] for prompt in prompts), max_tokens=8) == list(capitals)


def test_it_proposes_instructions_from_demonstrations(model):
    pairs = [("cat", "cats"), ("dog", "dogs"), ("child", "children"), ("box", "boxes"), ("city", "cities")]
    shown = "\n\n".join(f"Input: {a}\nOutput: {b}" for a, b in pairs)
    prompt = (
        "I gave a friend an instruction and five inputs. The friend read the instruction and wrote an "
        "output for every one of the inputs. Here are the input-output pairs:\n\n"
        f"{shown}\n\nThe instruction was to"
    )
    requests = [
        GenerateRequest((Message("user", prompt),), Decoding(24, temperature=0.8), sample)
        for sample in range(8)
    ]
    texts = [reply.text for _, reply in model.generate(requests)]
    assert sum("plural" in text for text in texts) >= 3
    assert len(set(texts)) >= 3


def test_a_right_answer_is_likelier_than_a_wrong_one(model):
    prompt = (Message("user", "Write the opposite of the word.\n\nInput: hot\nOutput:"),)
    (_, right), (_, wrong) = sorted(
        model.loglikelihood([LikelihoodRequest(prompt, "cold"), LikelihoodRequest(prompt, "hot")])
    )
    assert right.logprob > wrong.logprob + 2


def test_the_contract_is_kept(model):
    check_model(model)


def test_it_is_built_by_name_with_the_options_of_a_local_model():
    built = plugins.build("models", "embedded", {"name": "small", "batch_tokens": 64})
    assert built.identity == EmbeddedModel().identity
    assert (built.identity.endpoint, built.identity.model) == ("embedded", "small")
    assert ask(built, "Input: cat\nOutput:") == ask(EmbeddedModel(), "Input: cat\nOutput:")


def test_the_provider_alone_is_the_default_size():
    assert DEFAULT_MODELS["embedded"] == f"embedded/{EmbeddedModel().name}"


def test_it_leaves_the_threads_of_others_alone(model):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    ask(model, "Input: cat\nOutput:")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_unknown_sizes_and_revisions_are_named():
    with pytest.raises(PluginError, match=r"embedded/smal'.*did you mean 'small'\?"):
        EmbeddedModel("smal").identity  # noqa: B018
    with pytest.raises(ConfigError, match="has no revisions"):
        EmbeddedModel(revision="main").identity  # noqa: B018


def test_every_size_has_its_card_and_the_notices():
    root = Path(EmbeddedModel()._folder).parent
    assert sizes() == ["medium", "small", "tiny"]
    notice = (root / "NOTICE.md").read_text()
    for name in ("Princeton University", "Open English WordNet", "Instruction Induction", "CLINC150"):
        assert name in notice
    for size in sizes():
        assert "NOTICE.md" in (root / size / "MODEL.md").read_text()
        config = json.loads((root / size / "config.json").read_text())
        assert "auto_map" not in config
