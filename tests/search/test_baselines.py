"""The baselines that every searcher should beat."""

import pytest
from scripted import Scripted, numbered
from toys import fake, make_setup, target_reply, user_text

from promptopt.errors import ConfigError, ModelError, PluginError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.run import execute
from promptopt.search.baselines import Paraphrases, RandomDemos, SeedOnly
from promptopt.testing.searcher import check_searcher

PARAPHRASES = ("Repeat it.", '"Write it in capitals."', "Use upper case letters.", "")


def paraphrase(request):
    """Paraphrase whatever is asked, by sample number."""
    assert user_text(request).endswith("Input: Do something.\nOutput:")
    return PARAPHRASES[request.sample % 4]


def paraphrasing(**changes):
    models = {"target": fake(target_reply, "target"), "proposer": fake(paraphrase, "proposer")}
    return make_setup(models=models, **changes)


@pytest.mark.parametrize("searcher", [SeedOnly(), Paraphrases(n=12), RandomDemos(n=3)])
def test_they_keep_the_contract(searcher):
    check_searcher(searcher, cuts=4)


def test_seed_only_scores_the_seed_and_nothing_else():
    study = execute(make_setup(searcher=SeedOnly()))
    assert [candidate.prompt for candidate in study.candidates] == [study.seed_prompt]
    assert study.best == study.seed_prompt
    assert "proposer" not in study.spent
    assert study.candidates[0].search.n == 20


def test_the_best_paraphrase_wins():
    study = execute(paraphrasing(searcher=Paraphrases(n=8)))
    assert study.best.instruction == "Write it in capitals."
    assert (study.best.origin, study.best.parents) == ("paraphrases", (study.seed_prompt.id,))
    assert study.spent["proposer"].calls == 8
    assert len(study.candidates) == 4


def test_a_prompt_without_instruction_cannot_be_paraphrased():
    with pytest.raises(ConfigError, match="paraphrases: the prompt has no instruction"):
        execute(paraphrasing(searcher=Paraphrases(), prompt=Prompt("")))


def test_a_proposer_that_says_nothing_is_an_error():
    models = {"target": fake(target_reply, "target"), "proposer": fake(lambda request: " ", "proposer")}
    with pytest.raises(ModelError, match="20 replies hold no usable instruction"):
        execute(make_setup(models=models, searcher=Paraphrases()))


def test_options_are_checked():
    assert build("searchers", "paraphrases", {"n": 3}) == Paraphrases(n=3)
    with pytest.raises(PluginError, match=r"paraphrases\.n"):
        build("searchers", "paraphrases", {"n": 0})


def test_the_best_random_set_is_scored_on_every_row_it_does_not_show():
    def value(prompt, row):
        return float(sum(int(demo.inputs["input"][2:]) for demo in prompt.demonstrations))

    session = Scripted(value=value, rows=numbered(20))
    RandomDemos(n=5, k=3).search(session)
    (drawn, ids), (kept, rest) = session.met
    assert ids == [str(i) for i in range(14)]
    assert [len(prompt.demonstrations) for prompt in drawn] == [0, 3, 3, 3, 3, 3]
    assert kept == [max(drawn, key=lambda prompt: value(prompt, None))]
    assert len(rest) == 17
