"""Soft prompts: they learn, stand on the leaderboard, survive a kill, and say no where they cannot work."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from plurals import QUICK, ROWS, SEED, SIZES, run
from tiny_models import save_model
from toys import make_setup

import promptopt as po
from promptopt import plugins
from promptopt.contracts.searcher import ParticularSearcher
from promptopt.errors import ConfigError, UnsupportedError
from promptopt.models.embedded import EmbeddedModel
from promptopt.models.local import LocalModel
from promptopt.prompt import Prompt
from promptopt.records import Budget
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.search._fitting import ANYWHERE
from promptopt.testing.searcher import check_searcher


@pytest.fixture(scope="module")
def embedded():
    return EmbeddedModel()


def soft_prompts(study):
    return [candidate for candidate in study.candidates if candidate.prompt.adapter is not None]


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning", "prefix_tuning"])
def test_a_soft_prompt_learns_and_is_chosen_and_proven_like_any_prompt(embedded, method):
    study = run(replace(QUICK, method=method), embedded)
    before = soft_prompts(study)[0]
    assert before.prompt.origin == f"soft/{method}"
    best = max(soft_prompts(study), key=lambda candidate: candidate.search.met)
    assert best.search.met == SIZES.search
    assert best.search.mean > before.search.mean + 0.1
    assert study.best.adapter is not None
    assert study.verdict.best > study.verdict.baseline
    assert study.spent["trainer"].calls == 12 * 4
    assert "on 9 rows" in study.search_notes[0].text
    losses = study.search_notes[0].data["losses"]
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3]) / 2
    assert study.best.adapter.file.is_file()  # also of a run in memory


def test_the_nearest_words_are_scored_as_a_prompt_of_their_own(embedded):
    study = run(QUICK, embedded)
    (worded,) = [c.prompt for c in study.candidates if c.prompt.origin == "soft/words"]
    assert worded.adapter is None
    assert worded.instruction.endswith(SEED.instruction)
    note = study.search_notes[1]
    assert note.data["words"] in worded.instruction
    assert note.data["score"] == study.candidate(worded).search.mean


def test_options_are_learned_where_the_reward_compares_them(embedded):
    rows = [
        # The other way round, so that the model knows nothing of it.
        {"id": str(i), "input": f"{i}", "output": ["odd", "even"][i % 2], "options": ["even", "odd"]}
        for i in range(100, 140)
    ]
    reward = plugins.build("rewards", "option_likelihood")
    study = run(
        replace(QUICK, steps=20, every=10), embedded, rows=rows, sizes=po.Sizes(16, 12, 12), reward=reward
    )
    losses = study.search_notes[0].data["losses"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert study.spent["trainer"].calls == 20 * 4 * 2


@pytest.mark.parametrize("init", ["random", "vocabulary", "text"])
def test_every_start_can_be_trained(embedded, init):
    study = run(replace(QUICK, init=init, text="Write the plural of the word.", steps=6), embedded)
    losses = study.search_notes[0].data["losses"]
    assert len(losses) == 6
    if init == "text":  # it says what to do, so there is little left to learn
        assert losses[0] < 0.3
    else:
        assert losses[-1] < losses[0]


def test_vectors_made_of_a_text_do_what_the_text_does(embedded):
    """Before the first step, vectors of the seed's words in its place are the seed prompt, to the token."""
    from promptopt.contracts.model import LikelihoodRequest
    from promptopt.search._soft_methods import embed_text, make_soft_prompt

    words = "Write the plural of the word."
    (row,) = embedded.tokenise([LikelihoodRequest((po.Message("user", "cat"),), "cats")])
    ids = embedded.loaded().tokenizer(words, add_special_tokens=False)["input_ids"]
    start = embed_text(embedded, words, len(ids))
    from promptopt.search._training_rows import TrainingRow, total_loss

    taught = [TrainingRow(row.prompt, (row.reply,))]
    network = embedded.loaded().module

    def plain(tokens, keep):
        front = torch.tensor([ids]).expand(len(tokens), -1)
        return network(input_ids=torch.cat([front, tokens], 1)).logits[:, -keep:]

    expected = float(total_loss(taught, plain, network.device))
    for method in ("prompt_tuning", "p_tuning", "prefix_tuning"):
        tuned = make_soft_prompt(method, embedded, start, seed=0, recompute=False)
        assert float(tuned.loss(taught).detach()) == pytest.approx(expected, abs=1e-4)


def test_steps_are_fewer_where_the_budget_has_no_room(embedded):
    whole = run(QUICK, embedded)
    cut = run(QUICK, embedded, budget=Budget(calls=whole.total.calls - 20))
    assert cut.total.calls <= whole.total.calls - 20
    assert 0 < cut.spent["trainer"].calls < whole.spent["trainer"].calls
    assert max(c.search.met for c in soft_prompts(cut)) == SIZES.search
    none = run(QUICK, embedded, budget=Budget(calls=60))
    assert "trainer" not in none.spent
    assert none.verdict


def test_learning_rate_and_length_are_tried_if_asked(embedded):
    study = run(replace(QUICK, trials=2, steps=4, every=4), embedded)
    lengths = {candidate.prompt.adapter.vectors for candidate in soft_prompts(study)}
    assert lengths <= {1, 2, 5, 10, 20}
    assert len(soft_prompts(study)) == 4


def test_a_searcher_that_takes_gradients_keeps_the_contract():
    searcher = replace(QUICK, steps=2, every=1, batch=2, vectors=2)
    check_searcher(searcher, target=EmbeddedModel("tiny"), cuts=2)


def test_a_target_elsewhere_is_refused_before_anything_is_spent():
    setup = make_setup(searcher=QUICK)
    with pytest.raises(
        UnsupportedError, match=r"needs gradients.*use a target of embedded.*ape, opro"
    ) as told:
        execute(setup)
    assert setup.models["target"].calls == 0
    assert told.value.exit_code == 2
    with pytest.raises(UnsupportedError, match="needs gradients"):
        po.optimize(
            prompt="Say it.", train=ROWS, target=lambda prompt: "x", reward="exact_match", search="soft"
        )
    for name in ANYWHERE:
        assert not isinstance(plugins.build("searchers", name), ParticularSearcher)


def test_a_portfolio_with_a_soft_prompt_is_refused_too():
    setup = make_setup(searcher=plugins.build("searchers", "portfolio", {"searchers": ["ape", "soft"]}))
    with pytest.raises(UnsupportedError, match="needs gradients"):
        execute(setup)
    assert setup.models["target"].calls == 0


def test_options_that_do_not_go_together_are_refused(embedded):
    for searcher, problem in (
        (replace(QUICK, method="prefix_tuning", recompute=True), "does not go with prefix tuning"),
        (replace(QUICK, init="text", text=" "), None),
    ):
        if problem is None:
            continue
        with pytest.raises(ConfigError, match=problem):
            run(searcher, embedded)
    with pytest.raises(ConfigError, match="trains on the reply of one call"):
        run(QUICK, embedded, prompt=replace(SEED, program=po.programs.ChainOfThought()))
    with pytest.raises(ConfigError, match="no instruction to start from"):
        run(QUICK, embedded, prompt=Prompt(""))


def test_prefix_tuning_is_refused_before_training_where_the_engine_takes_none(tmp_path):
    model = LocalModel(str(save_model(tmp_path / "model", "bloom")))
    with pytest.raises(UnsupportedError, match="takes no trained keys and values"):
        run(replace(QUICK, method="prefix_tuning"), model)


SCRIPT = """
import sys
from dataclasses import replace
from promptopt.models.embedded import EmbeddedModel
from promptopt.runfolder import RunFolder
from plurals import QUICK, run
study = run(replace(QUICK, steps=30, every=10, patience=0), EmbeddedModel(), RunFolder(sys.argv[1]))
"""


def test_a_run_killed_in_the_middle_of_training_ends_with_the_same_weights(tmp_path, embedded):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def start(folder):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], env=env)

    whole = start(tmp_path / "whole")
    assert whole.wait(timeout=200) == 0
    killed = start(tmp_path / "killed")
    work = tmp_path / "killed" / "work"
    end = time.monotonic() + 200
    while len(list(work.rglob("*.safetensors"))) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=30)
    assert not (tmp_path / "killed" / "result.json").exists()
    assert start(tmp_path / "killed").wait(timeout=200) == 0
    first, second = (RunFolder(tmp_path / name).result() for name in ("whole", "killed"))
    assert first["best"]["adapter"]["digest"] == second["best"]["adapter"]["digest"]
    assert first["verdict"] == second["verdict"]
    assert first["spent"]["trainer"]["prompt_tokens"] == second["spent"]["trainer"]["prompt_tokens"]
    best = Prompt.load(tmp_path / "killed" / "best" / "prompt.json")
    assert best.adapter.read()[0]["prompt_embeddings"].shape[1] == 192
