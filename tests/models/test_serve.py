"""The same model in process and behind a real server: the same answers, cell for cell."""

import pytest

from promptopt.contracts.model import Decoding, Failure, GenerateRequest, LikelihoodRequest
from promptopt.models.embedded import EmbeddedModel
from promptopt.models.remote import RemoteModel
from promptopt.records import Message
from promptopt.testing.model import check_model

pytest_plugins = ["serve"]

INSTRUCTIONS = (
    "Write the plural form of the word.",
    "Write the opposite of the word.",
    "Write the first letter of the word.",
    "Write the word in capital letters.",
    "Tell a joke about it!",
    "",
)
INPUTS = (
    "cat",
    "hot dog",
    "small",
    "Überraschung 🧑‍🚀",
    "7 + 5",
    "a, b, c",
    "child",
    "w",
    "the authors",
    "\t?",
)


@pytest.fixture(scope="module")
def remote(embedded_server):
    with RemoteModel(embedded_server.model, base_url=embedded_server.base_url, concurrency=2) as model:
        yield model


def requests():
    decoding = Decoding(max_tokens=12)
    for instruction in INSTRUCTIONS:
        for text in INPUTS:
            user = Message("user", f"Input: {text}\nOutput:")
            messages = (Message("system", instruction), user) if instruction else (user,)
            yield GenerateRequest(messages, decoding)


def test_greedy_answers_are_those_of_the_model_in_process(remote):
    asked = list(requests())
    here, there = dict(EmbeddedModel().generate(asked)), dict(remote.generate(asked))
    assert len(here) == len(there) == 60
    for position in here:
        assert here[position].text == there[position].text
        assert here[position].usage.prompt_tokens == there[position].usage.prompt_tokens
    assert len({reply.text for reply in here.values()}) > 30


def test_the_two_are_different_models_to_the_cache(remote):
    assert remote.identity != EmbeddedModel().identity


def test_a_server_without_logprobs_is_found_out(remote):
    asked = [LikelihoodRequest((Message("user", "Input: cat\nOutput:"),), "cats")]
    ((_, outcome),) = remote.loglikelihood(asked)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "unsupported"


def test_the_contract_is_kept_over_http(remote):
    check_model(remote, sampled="free")
