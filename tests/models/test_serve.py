"""The same model in process and behind a real server: the same answers, cell for cell."""

import sqlite3
from contextlib import closing

import pytest

from promptopt.api import run_job
from promptopt.cli.main import main
from promptopt.config import load_job
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


def cells(folder):
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        return dict(db.execute("SELECT prompt || ' ' || example, output FROM cells WHERE status = 'ok'"))


def test_the_demo_job_has_the_same_cells_through_the_server(embedded_server, tmp_path, record_property):
    assert main(["init", str(tmp_path / "demo"), "--demo"]) == 0
    small = (
        "data.sizes.search=16",
        "data.sizes.select=8",
        "data.sizes.test=16",
        "search={name: ape, num_subsamples: 2, num_prompts_per_subsample: 6, keep: 3}",
    )
    served = (
        f"target={{model: openai/{embedded_server.model}, base_url: '{embedded_server.base_url}', "
        "concurrency: 2, decoding: {max_tokens: 8}}",
        "proposer=embedded/small",
    )
    here = run_job(load_job(tmp_path / "demo", small), folder=tmp_path / "here")
    there = run_job(load_job(tmp_path / "demo", (*small, *served)), folder=tmp_path / "there")
    assert cells(tmp_path / "there") == cells(tmp_path / "here")
    assert there.best == here.best
    assert there.verdict == here.verdict
    record_property("figures", f"{len(cells(tmp_path / 'here'))} cells of a search, equal in each")
