"""Searches apart, wherever they sit: one contract for this process and for a Ray cluster."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from judges import gullible, honest, judged
from plurals import QUICK, ROWS, SEED, SIZES
from tiny_models import save_model
from toys import make_setup

from promptopt.errors import ContractError, DataError, ModelError
from promptopt.events import Notice, Tick
from promptopt.models.embedded import EmbeddedModel
from promptopt.models.local import LocalModel
from promptopt.models.ray import RayModel
from promptopt.records import Budget
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.search.ape import APE
from promptopt.search.seeds import Seeds
from promptopt.search.specialist import Specialist

pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = ["local", pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
LONGER = replace(QUICK, steps=24, patience=0)
LORA = Specialist(steps=4, batch=4, every=2)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [made.add_node(num_cpus=1) for _ in range(3)]
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no worker could import a test
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param


@pytest.fixture(scope="module")
def tiny():
    return EmbeddedModel("tiny")


def run(searchers: Any, executor: str, model: Any, folder: Path | None = None, **changes: Any) -> Any:
    listen = changes.pop("listen", lambda event: None)
    several = searchers if isinstance(searchers, tuple) else (searchers,)
    searcher = Seeds(several, seeds=changes.pop("seeds", 2), executor=executor)
    models = {"target": model} if not isinstance(model, dict) else model
    changes = (
        {"rows": ROWS, "sizes": SIZES, "prompt": SEED, **changes} if models["target"] is model else changes
    )
    kept = None if folder is None else RunFolder(folder)
    return execute(make_setup(searcher=searcher, models=models, **changes), kept, listen=listen)


def found(study: Any) -> list[Any]:
    """Return all that a study's search has found, in order."""
    return [(c.prompt.id, c.prompt.parents, c.search, c.select, c.test, c.signal) for c in study.candidates]


def bill(study: Any) -> dict[str, Any]:
    return {role: spent._replace(seconds=0) for role, spent in study.spent.items()}


@dataclass(frozen=True)
class Logged:
    """Write down each time it begins, and where; then search."""

    inner: Any
    log: str
    name: str = ""

    def search(self, session: Any) -> None:
        where = ""
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            where = sys.modules["ray"].get_runtime_context().get_node_id()
        with Path(self.log).open("a") as file:
            file.write(f"{self.name} {where}\n")
        self.inner.search(session)


def begun(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_all_they_found_and_spent_is_the_runs_in_their_order(tmp_path, tiny, executor):
    study = run((QUICK, LORA), executor, tiny, tmp_path / executor)
    origins = [candidate.prompt.origin for candidate in study.candidates]
    assert origins[0] == "user"
    assert [origin.split("/")[0] for origin in origins] == sorted(
        (origin.split("/")[0] for origin in origins), key=["user", "soft", "specialist"].index
    )
    assert Counter(note.text.split(":")[0] for note in study.search_notes if "on 9 rows" in note.text) == {
        f"seed {number}": 1 for number in range(study_seed(study), study_seed(study) + 4)
    }
    assert study.best.adapter.file.is_relative_to(tmp_path)
    assert study.best.adapter.read()
    assert study.verdict.best > study.verdict.baseline
    alone = run((QUICK, LORA), "local", tiny, tmp_path / "alone")
    assert found(study) == found(alone)
    assert bill(study) == bill(alone)
    assert [note.text for note in study.search_notes] == [note.text for note in alone.search_notes]
    assert study.verdict == alone.verdict
    passes = 2 * QUICK.steps * QUICK.batch + 2 * LORA.steps * LORA.batch
    assert study.spent["trainer"].calls == passes


def study_seed(study: Any) -> int:
    return min(int(note.text.split()[1].rstrip(":")) for note in study.search_notes)


def test_the_first_of_them_is_the_search_of_the_run_alone(tiny):
    setup = make_setup(
        searcher=QUICK, models={"target": tiny}, rows=ROWS, sizes=SIZES, prompt=SEED
    )  # fmt: skip
    alone = execute(setup)
    one = run(QUICK, "local", tiny, seeds=1)
    assert found(one) == found(alone)
    assert bill(one) == bill(alone)
    two = found(run(QUICK, "local", tiny, seeds=2))
    assert two[1][0] == found(one)[1][0]
    assert len(two) > len(found(one))


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_each_has_an_equal_share_of_the_budget_and_all_keep_within_it(tiny, executor):
    whole = run(QUICK, "local", tiny)
    budget = Budget(calls=whole.total.calls - 30)
    cut = run(QUICK, executor, tiny, budget=budget)
    assert cut.total.calls <= budget.calls
    assert 0 < cut.spent["trainer"].calls < whole.spent["trainer"].calls
    alone = run(QUICK, "local", tiny, budget=budget)
    assert found(cut) == found(alone)
    assert bill(cut) == bill(alone)


class Cut(Exception):
    """The run is interrupted."""


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_a_resumed_run_does_not_begin_again_what_has_ended(tmp_path, tiny, executor):
    folder, log = tmp_path / "run", tmp_path / "log"
    searchers = (Logged(QUICK, str(log), "short"), Logged(LONGER, str(log), "long"))

    def cut(event):
        if isinstance(event, Tick) and len(list(folder.rglob("finished.json"))) == 1:
            raise Cut

    with pytest.raises(Cut):
        run(searchers, executor, tiny, folder, seeds=1, listen=cut)
    assert sorted(begun(log)) == ["long", "short"]
    study = run(searchers, executor, tiny, folder, seeds=1)
    assert sorted(begun(log)) == ["long", "long", "short"]
    whole = run(searchers, "local", tiny, tmp_path / "whole", seeds=1)
    assert found(study) == found(whole)
    assert bill(study) == bill(whole)
    assert [note.text for note in study.search_notes] == [note.text for note in whole.search_notes]
    log.unlink()
    assert found(run(searchers, executor, tiny, folder, seeds=1)) == found(whole)
    assert not log.exists()


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_one_whose_share_has_ended_begins_again_only_if_there_is_more(tmp_path, tiny, executor):
    folder, log = tmp_path / "run", tmp_path / "log"
    searcher = Logged(QUICK, str(log), "one")

    def with_calls(calls, where=folder):
        return run(searcher, executor, tiny, where, budget=Budget(calls=calls))

    cut = with_calls(150)
    assert begun(log) == ["one"] * 2
    (folder / "result.json").unlink()
    assert found(with_calls(150)) == found(cut)
    assert begun(log) == ["one"] * 2
    for file in folder.glob("*.*"):  # finalists are chosen once in the life of a run
        if file.is_file():
            file.unlink()
    raised = with_calls(400)
    assert begun(log) == ["one"] * 4
    assert raised.spent["trainer"].calls > cut.spent["trainer"].calls
    assert found(raised)[-1] == found(with_calls(400, tmp_path / "fresh"))[-1]


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_searchers_that_buy_proposals_find_the_same(executor):
    ape = APE(num_subsamples=2, num_prompts_per_subsample=2)
    setup = make_setup(searcher=Seeds((ape,), seeds=3, executor=executor))
    study = execute(setup)
    alone = execute(make_setup(searcher=Seeds((ape,), seeds=3)))
    assert len(study.candidates) > 4
    assert found(study) == found(alone)
    assert bill(study) == bill(alone)
    assert setup.models["target"].calls == alone.spent["target"].calls


@pytest.mark.parametrize("judge", [honest, gullible])
@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_searches_apart_are_judged_by_the_judge_of_the_run(executor, judge):
    ape = APE(num_subsamples=2, num_prompts_per_subsample=2)
    setup = judged(judge, searcher=Seeds((ape,), seeds=2, executor=executor))
    study = execute(setup)
    alone = execute(judged(judge, searcher=Seeds((ape,), seeds=2)))
    assert found(study) == found(alone)
    assert bill(study) == bill(alone)
    assert study.spent["judge"].calls == setup.models["judge"].calls > 0
    assert bool(study.judge_check.fooled) == (judge is gullible)


@dataclass(frozen=True)
class Broken:
    """Raise what it is told to."""

    error: Exception

    def search(self, session: Any) -> None:
        session.score([session.task.seed_prompt.child(instruction="Say it.", origin="broken")])
        raise self.error


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_what_one_raises_ends_the_run_in_a_line(tiny, executor):
    with pytest.raises(DataError, match="row 3: is odd; got 'x'; mend it") as told:
        run((QUICK, Broken(DataError("row 3", "is odd", got="x", do="mend it"))), executor, tiny, seeds=1)
    assert told.value.do == "mend it"
    with pytest.raises((ContractError, ZeroDivisionError), match="by nothing"):
        run(Broken(ZeroDivisionError("by nothing")), executor, tiny)


@pytest.mark.parametrize("executor", BOTH, indirect=True)
def test_progress_is_of_the_whole_run(tiny, executor):
    events: list[Any] = []
    # From other starts and without words, so that neither uses what the other has bought.
    apart = replace(QUICK, words=False, init="vocabulary")
    study = run(apart, executor, tiny, budget=Budget(calls=400), listen=events.append)
    ticks = [event for event in events if isinstance(event, Tick)]
    spent = [sum(amount.calls for amount in tick.spent.values()) for tick in ticks]
    assert spent == sorted(spent)
    assert spent[-1] == study.total.calls
    assert all(tick.remaining.calls + s <= 400 for tick, s in zip(ticks, spent, strict=True))
    counts = [event.candidates for event in events if hasattr(event, "candidates")]
    assert max(counts) == len(study.candidates)
    named = {e.text.split(":")[0] for e in events if isinstance(e, Notice) and ": soft" in e.text}
    assert len(named) == 2


# --- what only a cluster does ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_whose_node_is_killed_goes_on_elsewhere_and_ends_the_same(
    tmp_path, tiny, cluster, record_property
):
    made, nodes = cluster
    log = tmp_path / "log"
    searchers = (Logged(LONGER, str(log), "one"), Logged(replace(LONGER, vectors=5), str(log), "other"))
    killed: list[str] = []
    notices: list[str] = []

    def kill(event):
        if isinstance(event, Notice):
            notices.append(event.text)
        if isinstance(event, Notice) and "step 12 of 24" in event.text and not killed:
            ids = [line.split()[1] for line in log.read_text().splitlines()]
            victim = next(node for node in nodes if node.node_id in ids)
            killed.append(victim.node_id)
            nodes.remove(victim)
            made.remove_node(victim, allow_graceful=False)

    began = time.monotonic()
    study = run(searchers, "ray", tiny, tmp_path / "run", seeds=1, listen=kill)
    seconds = time.monotonic() - began
    nodes.append(made.add_node(num_cpus=1))
    assert killed
    assert any("its seat is lost; it goes on elsewhere" in text for text in notices)
    assert len(begun(log)) == 3
    alone = run(searchers, "local", tiny, seeds=1)
    assert found(study) == found(alone)
    assert bill(study) == bill(alone)
    record_property("figures", f"2 searches, one node killed, {seconds:.0f} s")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weights_that_no_node_has_are_brought_there(tmp_path, cluster, monkeypatch):
    save_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    model = LocalModel("model", threads=1)
    study = run(replace(QUICK, steps=2, every=1), "ray", model)
    assert found(study) == found(run(replace(QUICK, steps=2, every=1), "local", model))
    assert len(study.candidates) > 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cluster")
def test_the_target_may_be_on_the_cluster_as_well(tmp_path, tiny):
    """Then it answers where the searches sit as long as they do, and its replicas prove what they found."""
    model = RayModel("embedded/tiny", {"threads": 1})
    study = run(QUICK, "ray", model, tmp_path / "run")
    model.close()
    assert study.best.adapter is not None
    assert found(study) == found(run(QUICK, "local", tiny))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("executor", ["local", "ray"], indirect=True)
def test_prompt_generators_are_trained_apart(tmp_path, executor):
    pytest.importorskip("trl")
    from promptopt.search._rl_options import Training
    from promptopt.search.rl import RL

    rl = RL(
        generator="embedded/tiny", steps=2, groups=1, group_size=4, rows=2, demos=3, shortlist=3, keep=1,
        max_tokens=16, training=Training(save_every=1),
    )  # fmt: skip
    log = tmp_path / "log"
    folder = tmp_path / executor

    def study(executor, folder):
        searcher = Seeds((Logged(rl, str(log), "rl"),), seeds=2, executor=executor)
        return execute(make_setup(searcher=searcher), RunFolder(folder))

    trained = study(executor, folder)
    assert begun(log) == ["rl", "rl"]
    assert found(trained) == found(study("local", tmp_path / "alone"))
    generators = sorted(path.parent.name for path in folder.rglob("generator/model.safetensors"))
    assert len(generators) == 2  # `promptopt propose` finds them
    log.unlink()
    (folder / "result.json").unlink()
    assert found(study(executor, folder)) == found(trained)
    assert not log.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cluster")
def test_without_room_on_the_cluster_the_cure_is_said(monkeypatch, tiny):
    monkeypatch.setattr("promptopt.spread.PATIENCE", 3.0)
    models = {"target": tiny}
    searcher = Seeds((QUICK,), seeds=2, executor="ray", cpus=50)
    with pytest.raises(ModelError, match="no seat on the cluster within 3 s; see that it has the CPUs"):
        execute(make_setup(searcher=searcher, models=models, rows=ROWS, sizes=SIZES, prompt=SEED))
