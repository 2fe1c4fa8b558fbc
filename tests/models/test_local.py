import gc
import weakref
from dataclasses import replace

import pytest
import torch
from tiny_models import CHAT, FIM, save_model

from promptopt.contracts.model import (
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
)
from promptopt.errors import ConfigError, MissingExtra, ModelError
from promptopt.models import _packed
from promptopt.models.local import LocalModel
from promptopt.records import Message
from promptopt.testing.model import check_model

SHARED = "A long instruction that all share. "
TEXTS = [SHARED + "ab" * k for k in range(20)] + ["x", "Hello wörld", "y" * 60]


def chat(text):
    return (Message("user", text),)


def ask(text, sample=0, suffix=None, **decoding):
    return GenerateRequest(chat(text), Decoding(**{"max_tokens": 8, **decoding}), sample, suffix)


def answers(model, requests, admit=lambda _: True):
    found = dict(model.generate(requests, admit))
    assert sorted(found) == list(range(len(requests)))
    return [found[position] for position in range(len(requests))]


def scores(model, pairs):
    found = dict(model.loglikelihood([LikelihoodRequest(chat(prompt), text) for prompt, text in pairs]))
    return [found[position] for position in range(len(pairs))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def model(folder):
    return LocalModel(str(folder))


def reference(model, text, steps=8):
    """Complete greedily without cache, mask or padding."""
    network, tokenizer = model._network.model, model._tokenizer
    ids = tokenizer(text)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(steps):
            ids.append(int(network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def reference_logprob(model, prompt, text):
    network, tokenizer = model._network.model, model._tokenizer
    head, tail = tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"]
    with torch.no_grad():
        logprobs = network(input_ids=torch.tensor([head + tail])).logits[0].double().log_softmax(-1)
    return float(sum(logprobs[len(head) - 1 + k, token] for k, token in enumerate(tail)))


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "bloom"])
def test_batches_with_shared_prefixes_are_exact(tmp_path, kind):
    model = LocalModel(str(save_model(tmp_path / kind, kind)))
    together = answers(model, [ask(text) for text in TEXTS])
    assert [reply.text for reply in together] == [reference(model, text) for text in TEXTS]
    pairs = [(text, continuation) for text in TEXTS for continuation in (" no", " a longer one")]
    for (prompt, text), score in zip(pairs, scores(model, pairs), strict=True):
        assert score.logprob == pytest.approx(reference_logprob(model, prompt, text), abs=1e-4)
        assert score.tokens == len(text)


def test_the_contract_is_kept(model, folder):
    check_model(model)
    check_model(LocalModel(str(folder), batch_tokens=1))


def test_a_sample_depends_neither_on_its_batch_nor_on_its_order(model):
    requests = [ask(text, sample, temperature=1.0, seed=5) for text in TEXTS for sample in range(3)]
    together = answers(model, requests)
    assert answers(model, requests[::-1])[::-1] == together
    assert [answers(model, [request])[0] for request in requests[:9]] == together[:9]
    assert len({reply.text for reply in together}) > 60
    other = answers(model, [replace(r, decoding=replace(r.decoding, seed=6)) for r in requests])
    assert sum(a != b for a, b in zip(together, other, strict=True)) > 60


def test_a_reply_tells_the_mean_log_probability_of_its_tokens_when_asked(model):
    network, tokenizer = model._network.model, model._tokenizer
    wanted = [replace(ask(text), logprobs=True) for text in TEXTS[:3]]
    sampled = replace(ask("x", 2, temperature=1.0), logprobs=True)
    *replies, free, plain = answers(model, [*wanted, sampled, ask(TEXTS[0])])
    assert plain.logprob is None
    assert plain.text == replies[0].text
    assert free.logprob < 0
    for text, reply in zip(TEXTS, replies, strict=False):
        ids, logprobs = tokenizer(text)["input_ids"], []
        for _ in range(reply.usage.completion_tokens):
            with torch.no_grad():
                last = network(input_ids=torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            ids.append(int(last.argmax()))
            logprobs.append(float(last.max()))
        assert reply.logprob == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)


def test_equal_requests_are_computed_once(folder, monkeypatch):
    seen = []
    original = _packed.PackedEngine.complete
    monkeypatch.setattr(
        _packed.PackedEngine,
        "complete",
        lambda self, jobs, admit: seen.append(len(jobs)) or original(self, jobs, admit),
    )
    model = LocalModel(str(folder))
    first, *others = answers(model, [ask("a", sample) for sample in range(5)])
    assert set(others) == {first}
    answers(model, [ask("a", sample, temperature=1.0) for sample in range(5)])
    assert seen == [1, 5]


def test_greedy_and_sampled_requests_share_a_batch(model):
    greedy, _, cold = answers(model, [ask("a"), ask("a", temperature=2.0), ask("a", temperature=1e-6)])
    assert greedy.text == cold.text


def test_stop_strings_and_limits(model):
    (whole,) = answers(model, [ask("Tell me", max_tokens=12)])
    stop = whole.text[3:5]
    cutoff, one, none = answers(
        model,
        [
            ask("Tell me", max_tokens=12, stop=("\0never", stop)),
            ask("Tell me", max_tokens=1),
            ask("b", max_tokens=0),
        ],
    )
    assert cutoff.text == whole.text[: whole.text.index(stop)]
    assert (cutoff.finish, one.finish) == ("stop", "length")
    assert cutoff.usage.completion_tokens < whole.usage.completion_tokens
    assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (7, 1)
    assert none.reason == "rejected"


def test_end_tokens_may_be_several_and_are_not_part_of_the_text(folder, monkeypatch):
    model = LocalModel(str(folder))
    network = model._network.model
    (whole,) = answers(model, [ask("Hi", max_tokens=6)])
    ids = model._tokenizer(whole.text)["input_ids"]
    monkeypatch.setattr(network.generation_config, "eos_token_id", [999, ids[2]])
    model.__dict__.pop("_renderer")
    (stopped,) = answers(model, [ask("Hi", max_tokens=6)])
    assert stopped.text == model._tokenizer.decode(ids[: ids.index(ids[2])])
    assert stopped.finish == "stop"


def test_too_long_prompts_are_rejected_and_replies_end_at_the_context(tmp_path):
    model = LocalModel(str(save_model(tmp_path / "short", context=32)))
    long, full, fits = answers(model, [ask("x" * 32), ask("x" * 29), ask("x")])
    assert long.reason == "rejected"
    assert "32" in long.message
    assert (full.finish, full.usage.completion_tokens) == ("length", 3)
    assert isinstance(fits, Completion)
    refused, scored = scores(model, [("x" * 30, " bc"), ("x" * 29, " bc")])
    assert refused.reason == "rejected"
    assert isinstance(scored, Likelihood)


def test_empty_and_broken_texts(model):
    empty, broken = answers(model, [ask(""), ask("\ud800")])
    assert (empty.reason, broken.reason) == ("rejected", "rejected")
    nothing, odd = scores(model, [("a", ""), ("a", "\udfff")])
    assert (nothing.logprob, nothing.tokens, odd.reason) == (0.0, 0, "rejected")


def test_admit_is_asked_for_each_request_before_its_batch(model):
    asked = []

    def first_three(position):
        asked.append(position)
        return len(asked) <= 3

    found = answers(model, [ask(text) for text in TEXTS], first_three)
    assert sorted(asked) == list(range(len(TEXTS)))
    refused = [position for position, reply in enumerate(found) if isinstance(reply, Failure)]
    assert refused == sorted(asked[3:])
    assert {found[position].reason for position in refused} == {"budget"}


def test_results_come_as_they_finish(folder):
    model = LocalModel(str(folder), batch_tokens=30)
    admitted = []
    requests = [ask("x" * 10 + str(k)) for k in range(6)]
    replies = model.generate(requests, lambda position: admitted.append(position) or True)
    next(replies)
    assert 0 < len(admitted) < 6
    replies.close()
    assert not torch.is_inference_mode_enabled()
    scored = model.loglikelihood([LikelihoodRequest(r.messages, " yes") for r in requests])
    next(scored)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_a_batch_that_does_not_fit_is_halved(tmp_path, kind):
    model = LocalModel(str(save_model(tmp_path / kind, kind)))
    network = model._network.model
    pairs = [(text, " yes") for text in TEXTS]
    expected, logprobs = answers(model, [ask(text) for text in TEXTS]), scores(model, pairs)
    most, sizes = 80, []

    def hold(_, given):
        sizes.append(given[0].numel())
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    small = network.get_input_embeddings().register_forward_pre_hook(hold)
    assert answers(model, [ask(text) for text in TEXTS]) == expected
    assert max(sizes) > most
    for got, wanted in zip(scores(model, pairs), logprobs, strict=True):
        assert got.logprob == pytest.approx(wanted.logprob, abs=1e-4)

    most = 0
    for (failure,) in (answers(model, [ask("x")]), scores(model, [("x", "y")])):
        assert (failure.reason, "\n" in failure.message) == ("error", False)
    # What did not fit leaves nothing behind.
    small.remove()
    assert answers(model, [ask(text) for text in TEXTS]) == expected


def test_chat_template_or_plain(tmp_path):
    folder = save_model(tmp_path / "chat", chat=CHAT)
    messages = (Message("user", "a"), Message("assistant", "b"))
    usages = {}
    for style in ("auto", "template", "plain"):
        (reply,) = answers(LocalModel(str(folder), chat=style), [GenerateRequest(messages, Decoding(4))])
        usages[style] = reply.usage.prompt_tokens
    assert usages == {"auto": 5, "template": 5, "plain": 4}
    model = LocalModel(str(folder))
    (refused,) = answers(model, [GenerateRequest((Message("system", "s"), *chat("a")))])
    assert (refused.reason, "no system message" in refused.message) == ("rejected", True)
    plain = save_model(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"no chat template; use chat: plain"):
        answers(LocalModel(str(plain), chat="template"), [ask("a")])


def test_insertion_with_marker_tokens(tmp_path, model):
    able = LocalModel(str(save_model(tmp_path / "fim", special=FIM, chat=CHAT)))
    assert able.capabilities.insert
    (job,) = able._renderer.jobs([ask("ab", suffix="cd")])
    tokens = able._tokenizer.convert_ids_to_tokens(list(job.prompt))
    assert tokens == ["<fim_prefix>", "a", "b", "<fim_suffix>", "c", "d", "<fim_middle>"]
    assert set(able._tokenizer.convert_tokens_to_ids(list(FIM))) < job.ends
    check_model(able, chats=[chat("a"), chat("Hello"), chat("b\n")])
    assert not model.capabilities.insert
    (failure,) = answers(model, [ask("ab", suffix="cd")])
    assert failure.reason == "unsupported"


def test_identity_follows_the_weights_and_the_options(tmp_path):
    folder = save_model(tmp_path / "one")
    first = LocalModel(str(folder)).identity
    assert (first.endpoint, first.model, len(first.revision)) == ("local", "one", 64)
    (folder / "README.md").write_text("changes nothing")
    assert LocalModel(str(folder)).identity == first
    assert LocalModel(str(folder), chat="plain").identity.revision == f"{first.revision}+plain"
    assert LocalModel(str(folder), dtype="bfloat16").identity != first
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert LocalModel(str(folder)).identity.revision != first.revision
    elsewhere = save_model(tmp_path / "sub" / "one")
    assert LocalModel(str(elsewhere)).identity == first


def test_snapshots_of_the_hub_are_known_by_their_commit(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = save_model(tmp_path / "snapshots" / commit)
    assert LocalModel(str(folder)).identity.revision == commit


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such folder; give an existing folder or a hub id"),
        ("/no/such/folder", "no such folder"),
        ("not a name", "no such folder"),
        ("FILE", "is a file"),
        ("EMPTY", "holds no config.json"),
        ("PICKLED", r"no \*\.safetensors weights.*save_pretrained"),
    ],
)
def test_what_is_no_model_is_said_in_one_line(tmp_path, name, message):
    (tmp_path / "FILE").write_text("x")
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "PICKLED").mkdir()
    (tmp_path / "PICKLED" / "config.json").write_text("{}")
    (tmp_path / "PICKLED" / "pytorch_model.bin").write_bytes(b"x")
    path = str(tmp_path / name) if name.isupper() else name
    with pytest.raises(ConfigError, match=message) as caught:
        LocalModel(path).identity  # noqa: B018
    assert "\n" not in str(caught.value)


def test_broken_folders_are_said_in_one_line(tmp_path):
    unknown = save_model(tmp_path / "unknown")
    (unknown / "config.json").write_text('{"model_type": "no_such_thing"}')
    cut = save_model(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    other = save_model(tmp_path / "other")
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    for folder in (unknown, cut, other):
        with pytest.raises(ModelError) as caught:
            answers(LocalModel(str(folder)), [ask("a")])
        assert "\n" not in str(caught.value)


def test_devices_and_revisions_that_are_not_there(folder):
    for device in ("cuda:99", "toaster"):
        with pytest.raises(ConfigError, match="cannot be used here"):
            answers(LocalModel(str(folder), device=device), [ask("a")])
    with pytest.raises(ConfigError, match="a folder has no revision"):
        LocalModel(str(folder), revision="main").identity  # noqa: B018


def test_a_hub_that_cannot_be_reached_or_knows_no_such_model(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import errors

    def raising(error):
        def download(*args, **options):
            raise error

        return download

    monkeypatch.setattr(hub, "snapshot_download", raising(errors.LocalEntryNotFoundError("offline")))
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        LocalModel("org/model").identity  # noqa: B018
    monkeypatch.setattr(hub, "snapshot_download", raising(errors.HFValidationError("bad")))
    with pytest.raises(ConfigError, match="neither a folder nor a valid hub id"):
        LocalModel("org/model").identity  # noqa: B018
    saved = save_model(tmp_path / "snapshots" / ("a" * 40))
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **o: asked.append((name, o)) or str(saved))
    identity = LocalModel("org/model", revision="v1").identity
    assert (identity.model, identity.revision) == ("org/model", "a" * 40)
    assert asked[0][0] == "org/model"
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked[0][1]["allow_patterns"])


def test_missing_torch_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtra, match=r'pip install "promptopt\[local\]"'):
        answers(LocalModel(str(folder)), [ask("a")])


def test_weights_are_freed_with_the_model(folder):
    model = LocalModel(str(folder))
    answers(model, [ask("a")])
    network = weakref.ref(model._network.model)
    del model
    gc.collect()
    assert network() is None
