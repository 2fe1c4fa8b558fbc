"""Replicas of a local model on Ray: the same contract, the same answers, also when a node dies."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from tiny_models import save_model

from promptopt.adapter import Adapter
from promptopt.config import load_job
from promptopt.contracts.model import Completion, Decoding, GenerateRequest, Likelihood, LikelihoodRequest
from promptopt.errors import PromptOptError
from promptopt.models.local import LocalModel
from promptopt.models.ray import RayModel
from promptopt.records import Message
from promptopt.setup import build_model
from promptopt.testing.model import check_model

JOB = {
    "prompt": "Second letter of the word.", "reward": "exact_match", "search": "seed_only",
    "data": "rows.jsonl",
}  # fmt: skip


def job(tmp_path, **target):
    rows = ({"input": f"word{i}", "output": "o"} for i in range(60))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "job.yaml").write_text(json.dumps({**JOB, "target": {"model": "embedded/tiny", **target}}))
    return load_job(tmp_path / "job.yaml")


def test_without_ray_the_cure_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PromptOptError, match=r'needs the package ray; pip install "promptopt\[scale\]"'):
        job(tmp_path, executor="ray", replicas=2)


def test_options_of_the_executor_are_not_the_models(tmp_path):
    with pytest.raises(PromptOptError, match="unknown option 'replicas'"):
        job(tmp_path, replicas=2)
    pytest.importorskip("ray")
    spec = job(tmp_path, executor="ray", replicas=2, threads=1).target
    assert spec.plugin == ("ray", {"name": "embedded/tiny", "options": {"threads": 1}, "replicas": 2})
    with pytest.raises(PromptOptError, match="unknown option 'thread'"):
        job(tmp_path, executor="ray", thread=1)
    with pytest.raises(PromptOptError, match=r"ray.replicas: must be at least 1; got 0"):
        job(tmp_path, executor="ray", replicas=0)


def test_it_is_the_same_model_wherever_it_is_computed(tmp_path):
    pytest.importorskip("ray")
    here, there = job(tmp_path).target, job(tmp_path, executor="ray").target
    assert build_model(here).identity == build_model(there).identity


@pytest.fixture
def cluster():
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made, nodes
    ray.shutdown()
    made.shutdown()


def requests(many):
    words = [f"{a}{b}{c}" for a in "bcdfgh" for b in "aeiou" for c in "lmnrst"]
    texts = (f"Second letter of the word.\n\nInput: {words[i % 180]}{i}\nOutput:" for i in range(many))
    return [GenerateRequest((Message("user", text),), Decoding(max_tokens=8)) for text in texts]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_killed_changes_no_answer(tmp_path, cluster, record_property):
    made, nodes = cluster
    local = build_model(job(tmp_path).target)
    model = build_model(job(tmp_path, executor="ray", replicas=3, threads=1).target)
    check_model(local)
    check_model(model)

    asked = requests(1500)
    expected = dict(local.generate(asked))
    admitted: list[int] = []

    def admit(place: int) -> bool:
        admitted.append(place)
        return True

    found, killed = {}, threading.Event()
    begun = time.monotonic()
    for place, outcome in model.generate(asked, admit):
        assert place not in found
        found[place] = outcome
        if len(found) > 300 and not killed.is_set():
            killed.set()
            made.remove_node(nodes[0], allow_graceful=False)
    assert killed.is_set()
    assert {place: outcome.text for place, outcome in found.items()} == {
        place: outcome.text for place, outcome in expected.items() if isinstance(outcome, Completion)
    }
    scored = [LikelihoodRequest(request.messages, " a") for request in asked[:200]]
    here, there = dict(local.loglikelihood(scored)), dict(model.loglikelihood(scored))
    assert all(isinstance(outcome, Likelihood) for outcome in there.values())
    assert [there[i].logprob for i in range(200)] == pytest.approx(
        [here[i].logprob for i in range(200)], abs=1e-3
    )
    again = len(admitted) - len(asked)
    assert 0 < again < 500  # what the replica on that node had
    record_property("figures", f"1,500 cells, {again} asked again, {time.monotonic() - begun:.0f} s")
    model.close()


@pytest.fixture
def three_nodes():
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        made.add_node(num_cpus=2)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_weights_are_brought_to_each_node_once_however_many_replicas_it_has(
    tmp_path, three_nodes, monkeypatch, record_property
):
    """The folder is where no node would look for it: what answers there is what was brought."""
    monkeypatch.chdir(tmp_path)
    folders = {}
    for replicas in (3, 6):
        folders[replicas] = save_model(tmp_path / f"model{replicas}")
        size = sum(path.stat().st_size for path in folders[replicas].iterdir())
        model = RayModel(f"hf/{folders[replicas].name}", {"threads": 1}, replicas=replicas, cpus=1)
        asked = requests(20 * replicas)
        found = dict(model.generate(asked))
        crew = model._crew
        while len(crew.came) < replicas:
            (ready,), _ = crew.ray.wait(list(crew.coming), num_returns=1)
            crew.arrive(ready)
        came = sorted(crew.came)
        assert came == [0] * (replicas - 3) + [size] * 3
        local = LocalModel(str(folders[replicas]), threads=1)
        assert {at: o.text for at, o in found.items()} == {at: o.text for at, o in local.generate(asked)}
        vectors = 0.3 * torch.randn(4, 32, generator=torch.Generator().manual_seed(replicas))
        soft = Adapter.write(
            tmp_path / "soft",
            {"prompt_embeddings": vectors},
            method="prompt_tuning",
            model=local.identity.revision,
            vectors=4,
        )
        asked = [replace(request, adapter=soft) for request in asked]
        softly = {at: o.text for at, o in model.generate(asked)}
        assert softly == {at: o.text for at, o in local.generate(asked)}
        assert softly != {at: o.text for at, o in found.items()}
        model.close()
        record_property(f"{replicas} replicas", f"{sum(came):,} bytes for 3 nodes")
