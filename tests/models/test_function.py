import math

import pytest

from promptopt import plugins
from promptopt.contracts.model import Completion, Decoding, Failure, GenerateRequest, LikelihoodRequest
from promptopt.errors import PluginError
from promptopt.models.function import FunctionModel
from promptopt.records import Message, Usage
from promptopt.testing.model import check_model

MESSAGES = (Message("system", "Be brief."), Message("user", "Hello"))


def ask(sample=0, suffix=None, **decoding):
    return GenerateRequest(MESSAGES, Decoding(**decoding), sample, suffix)


def answer(function, *requests, **options):
    model = FunctionModel(function, **options)
    return [outcome for _, outcome in sorted(dict(model.generate(requests or [ask()])).items())]


def test_messages_are_the_dicts_everybody_knows():
    seen = []
    answer(lambda messages: seen.append(messages) or "x")
    assert seen == [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]]


def test_a_function_of_a_text_is_given_the_text():
    def annotated(x: str) -> str:
        return x

    assert answer(lambda prompt: prompt)[0].text == "Be brief.\n\nHello"
    assert answer(annotated)[0].text == "Be brief.\n\nHello"
    assert answer(repr, takes="text")[0].text == repr("Be brief.\n\nHello")


def test_a_function_is_given_the_options_it_names():
    def some(messages, *, temperature, seed):
        return f"{temperature} {seed}"

    def everything(messages, **options):
        return " ".join(sorted(options))

    one, two, again = answer(some, ask(0, temperature=0.5), ask(1, temperature=0.5), ask(0, temperature=0.5))
    assert one.text.startswith("0.5 ")
    assert one.text == again.text != two.text
    assert answer(everything)[0].text == "max_tokens seed stop temperature top_p"
    assert answer(lambda messages: "plain")[0].text == "plain"


def test_stop_strings_are_cut_and_a_completion_keeps_its_usage():
    assert answer(lambda m: "one two three", ask(stop=("three", "two")))[0].text == "one "
    reply = Completion("one two", "length", Usage(3, 2))
    assert answer(lambda m: reply, ask(stop=("two",))) == [Completion("one ", "length", Usage(3, 2))]


def test_what_goes_wrong_is_a_failure():
    def broken(messages):
        raise ValueError("two\nlines")

    assert answer(broken) == [Failure("error", "ValueError: two lines")]
    assert answer(lambda m: None)[0].reason == "malformed"
    assert answer(lambda m: "x", ask(suffix="y"))[0].reason == "unsupported"
    with pytest.raises(KeyboardInterrupt):
        answer(lambda m: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_function_with_a_suffix_inserts():
    model = FunctionModel(lambda messages, suffix=None: f"before {suffix}")
    assert model.capabilities.insert
    assert dict(model.generate([ask(suffix="S"), ask()])) == {
        0: Completion("before S"),
        1: Completion("before None"),
    }
    check_model(model)


def test_a_batch_function_is_called_once_for_requests_decoded_alike():
    batches = []

    def many(prompts, seed, temperature):
        batches.append((len(prompts), len(seed), temperature))
        return [f"{s}" for s in seed]

    requests = [ask(0), ask(1, temperature=1.0), ask(2), ask(3, temperature=1.0, seed=9)]
    replies = answer(many, *requests, batch=True)
    assert batches == [(2, 2, 0.0), (2, 2, 1.0)]
    assert len({reply.text for reply in replies}) == 4
    refused = dict(FunctionModel(many, batch=True).generate(requests, lambda position: position == 1))
    assert [refused[k].reason for k in (0, 2, 3)] == ["budget"] * 3
    assert batches[2:] == [(1, 1, 1.0)]
    for wrong in (lambda prompts: ["one"], lambda prompts: "text"):
        assert {reply.reason for reply in answer(wrong, ask(0), ask(1), batch=True)} == {"malformed"}
    check_model(FunctionModel(lambda texts: ["fine"] * len(texts), batch=True))


def test_likelihoods_come_from_a_function_of_their_own():
    model = FunctionModel(lambda m: "x", likelihood=lambda m, text: (-len(text), len(text.split())))
    check_model(model)
    request = LikelihoodRequest(MESSAGES, "two words")
    ((_, score),) = model.loglikelihood([request])
    assert (score.logprob, score.tokens) == (-9.0, 2)
    for wrong in ((1.0, 1), (math.nan, 1), -3.0, (-1.0, -1), None):
        ((_, failure),) = FunctionModel(lambda m: "x", likelihood=lambda m, t, w=wrong: w).loglikelihood(
            [request]
        )
        assert failure.reason == "malformed"
    ((_, failure),) = FunctionModel(lambda m: "x", likelihood=lambda m, t: 1 / 0).loglikelihood([request])
    assert failure.reason == "error"


def test_the_identity_follows_name_version_and_source(tmp_path):
    one, two = (FunctionModel(f) for f in (lambda m: "one", lambda m: "another one"))
    assert one.identity == FunctionModel(one.function).identity
    path = tmp_path / "mine.py"
    path.write_text("def reply(messages):\n    return 'one'\n")
    place = f"{path}:reply"
    first = FunctionModel(place)
    assert first.identity.model == place
    assert FunctionModel(place, version="2").identity.revision.startswith("2+")
    assert FunctionModel(place, name="mine").identity.model == "mine"
    assert next(iter(first.generate([ask()])))[1].text == "one"
    assert one.identity.endpoint == two.identity.endpoint == "python"


def test_functions_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def reply(messages):\n    return 'from a file'\nasync def later(m): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    built = plugins.build("models", "python", {"name": "mine.py:reply"})
    assert next(iter(built.generate([ask()])))[1].text == "from a file"
    for place, message in (
        ("mine.py:replly", "it has later, reply"),
        ("other.py:reply", "no such file"),
        ("no_such_module:f", "no module"),
        ("mine.py", r"path/to/file\.py:name"),
        ("mine.py:later", "plain def"),
        ("", "missing"),
    ):
        with pytest.raises(PluginError, match=message):
            FunctionModel(name=place)
    with pytest.raises(PluginError, match="takes no arguments"):
        FunctionModel(lambda: "x")


def test_the_contract_is_kept():
    check_model(FunctionModel(lambda messages, seed: f"yes, {seed} times"))
