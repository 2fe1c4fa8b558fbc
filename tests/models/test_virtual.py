"""Soft prompts through the engines: the same as written out by hand, whatever is computed beside them."""

from pathlib import Path

import pytest
import torch
from tiny_models import save_model
from transformers import DynamicCache

from promptopt.adapter import Adapter
from promptopt.contracts.model import Decoding, GenerateRequest, Likelihood, LikelihoodRequest
from promptopt.errors import DataError, ModelError, UnsupportedError
from promptopt.models._virtual import prefix_states
from promptopt.models.local import LocalModel
from promptopt.records import Message

FAMILIES = ("llama", "gpt2", "gemma2", "gemma3", "qwen3", "gpt_neox", "bloom")
TEXTS = ("ab", "a longer text than the others have", "abc", "ab and more of it", "b")


def chat(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def heads(model) -> int:
    config = model.loaded().module.config.get_text_config(decoder=True)
    count = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * count * width


def soft(model: LocalModel, folder: Path, method: str = "prompt_tuning", vectors: int = 5) -> Adapter:
    torch.manual_seed(vectors)
    width = (
        heads(model)
        if method == "prefix_tuning"
        else model.loaded().module.get_input_embeddings().embedding_dim
    )
    return Adapter.write(
        folder,
        {"prompt_embeddings": torch.randn(vectors, width)},
        method=method,
        model=model.identity.revision,
        vectors=vectors,
    )


def by_hand(model: LocalModel, adapter: Adapter, request: LikelihoodRequest) -> float:
    """Score one request alone, as transformers computes it."""
    network, (tokens,) = model.loaded().module, model.tokenise([request])
    ids = torch.tensor([tokens.prompt + tokens.reply])
    weights = adapter.read()[0]["prompt_embeddings"]
    with torch.no_grad():
        if adapter.method == "prefix_tuning":
            cache = DynamicCache(config=network.config)
            for layer, (key, value) in enumerate(prefix_states(weights, network.config)):
                cache.update(key[None], value[None], layer)
            logits = network(input_ids=ids, past_key_values=cache).logits
        else:
            embeds = torch.cat([weights[None], network.get_input_embeddings()(ids)], 1)
            logits = network(inputs_embeds=embeds).logits[:, adapter.vectors :]
    chosen = logits.log_softmax(-1)[0, len(tokens.prompt) - 1 : -1]
    return float(chosen.gather(-1, torch.tensor(tokens.reply)[:, None]).sum())


@pytest.mark.parametrize("vectors", [3, 12])
@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_scores_like_each_alone_and_like_transformers(tmp_path, family, method, vectors):
    model = LocalModel(str(save_model(tmp_path / "model", family)))
    adapter = soft(model, tmp_path, method, vectors)
    requests = [LikelihoodRequest(chat(text), reply, adapter) for text in TEXTS for reply in ("xy", "z")]
    if family == "bloom" and method == "prefix_tuning":
        with pytest.raises(UnsupportedError, match="takes no trained keys and values"):
            list(model.loglikelihood(requests))
        return
    together = dict(model.loglikelihood(requests))
    moved = []
    for place, request in enumerate(requests):
        alone = dict(model.loglikelihood([request]))[0]
        assert together[place].logprob == pytest.approx(alone.logprob, abs=1e-4)
        assert together[place].logprob == pytest.approx(by_hand(model, adapter, request), abs=1e-3)
        plain = dict(model.loglikelihood([LikelihoodRequest(request.messages, request.continuation)]))[0]
        moved.append(abs(plain.logprob - alone.logprob))
        assert alone.usage.prompt_tokens == plain.usage.prompt_tokens + vectors
    assert max(moved) > 0.1  # not all: a sliding window may end before the vectors


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_replies_under_a_soft_prompt_are_those_of_transformers(tmp_path, method):
    model = LocalModel(str(save_model(tmp_path / "model")))
    adapter = soft(model, tmp_path, method)
    requests = [GenerateRequest(chat(text), Decoding(6), adapter=adapter) for text in TEXTS]
    replies = dict(model.generate(requests))
    network = model.loaded().module
    for place, request in enumerate(requests):
        (tokens,) = model.tokenise([LikelihoodRequest(request.messages, "")])
        ids, said = torch.tensor([tokens.prompt]), []
        weights = adapter.read()[0]["prompt_embeddings"]
        while len(said) < 6:
            line = torch.cat([ids, torch.tensor([said], dtype=torch.long)], 1)
            with torch.no_grad():
                if method == "prefix_tuning":
                    cache = DynamicCache(config=network.config)
                    for layer, (key, value) in enumerate(prefix_states(weights, network.config)):
                        cache.update(key[None], value[None], layer)
                    logits = network(input_ids=line, past_key_values=cache).logits
                else:
                    embeds = torch.cat([weights[None], network.get_input_embeddings()(line)], 1)
                    logits = network(inputs_embeds=embeds).logits
            said.append(int(logits[0, -1].argmax()))
            if said[-1] == tokens.end:
                said.pop()
                break
        assert replies[place].text == model.loaded().tokenizer.decode(said, skip_special_tokens=True)


def test_soft_prompts_and_plain_prompts_share_a_batch(tmp_path):
    model = LocalModel(str(save_model(tmp_path / "model")))
    adapters = [
        None,
        soft(model, tmp_path),
        soft(model, tmp_path, "prefix_tuning"),
        soft(model, tmp_path, vectors=9),
    ]
    requests = [LikelihoodRequest(chat(text), "xy", adapter) for text in TEXTS for adapter in adapters]
    together = dict(model.loglikelihood(requests))
    for place, request in enumerate(requests):
        alone = dict(model.loglikelihood([request]))[0]
        assert isinstance(alone, Likelihood)
        assert together[place].logprob == pytest.approx(alone.logprob, abs=1e-4)
    assert len({round(outcome.logprob, 2) for outcome in together.values()}) == len(requests)


def test_the_context_has_room_for_vectors_or_says_no(tmp_path):
    model = LocalModel(str(save_model(tmp_path / "model", context=64)))
    adapter = soft(model, tmp_path, vectors=60)
    requests = [GenerateRequest(chat("abcdefghij"), Decoding(4), adapter=a) for a in (None, adapter)]
    outcomes = dict(model.generate(requests))
    assert outcomes[0].usage.completion_tokens == 4
    assert outcomes[1].reason == "rejected"
    assert "pass the model's context of 64" in outcomes[1].message


def test_a_soft_prompt_of_another_model_is_refused(tmp_path):
    first = LocalModel(str(save_model(tmp_path / "first")))
    other = LocalModel(str(save_model(tmp_path / "other", "qwen3")))
    request = LikelihoodRequest(chat("ab"), "xy", soft(first, tmp_path))
    with pytest.raises(ModelError, match="trained for another model"):
        list(other.loglikelihood([request]))


def test_a_soft_prompt_of_the_wrong_width_is_refused(tmp_path):
    model = LocalModel(str(save_model(tmp_path / "model")))
    revision = model.identity.revision
    for method, width in (("prompt_tuning", 7), ("prefix_tuning", 9)):
        wrong = Adapter.write(
            tmp_path, {"prompt_embeddings": torch.zeros(2, width)}, method=method, model=revision, vectors=2
        )
        with pytest.raises(DataError, match=f"{width} numbers"):
            list(model.loglikelihood([LikelihoodRequest(chat("ab"), "xy", wrong)]))
