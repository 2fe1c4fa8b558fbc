"""The searchers by name in real runs: with the embedded model, and with a budget that ends in the middle."""

import pytest
from toys import chance, fake, make_setup, target_reply, user_text

import promptopt as po
from promptopt.plugins import build
from promptopt.run import execute

PAIRS = {
    "child": "children", "box": "boxes", "city": "cities", "wolf": "wolves", "man": "men", "mouse": "mice",
    "dog": "dogs", "cat": "cats", "house": "houses", "tree": "trees", "lady": "ladies", "knife": "knives",
    "bus": "buses", "tooth": "teeth", "foot": "feet", "goose": "geese", "baby": "babies", "leaf": "leaves",
}  # fmt: skip
ROWS = [{"input": word, "output": plural} for word, plural in PAIRS.items()]
SEARCHES = {
    "protegi": {"depth": 1, "groups": 1, "paraphrases": 1, "max_tokens": 16},
    "reflect": {"steps": 2, "parallel": 2, "max_tokens": 16},
    "edit": {"iterations": 2, "candidates": 2},
}

PROMPTS = {"reflect": "Change the word."}
"""Where the usual one leaves nothing to learn from."""


@pytest.mark.parametrize("name", SEARCHES)
def test_a_searcher_runs_by_name_with_the_embedded_model(name):
    study = po.optimize(
        prompt=PROMPTS.get(name, "Write more of the word, please."),
        train=ROWS,
        target={"model": "embedded/small", "decoding": {"max_tokens": 6}},
        reward="exact_match",
        search={"name": name, **SEARCHES[name]},
        sizes=po.Sizes(search=6, select=5, test=7),
        folder=None,
    )
    assert study.verdict
    found = [candidate.prompt for candidate in study.candidates if candidate.prompt.origin != "user"]
    assert found
    assert all(prompt.origin.startswith(f"{name}/") and prompt.parents for prompt in found)
    assert ("proposer" in study.spent) is (name != "edit")


def cells(study):
    return sum(candidate.search.met for candidate in study.candidates if candidate.search)


def propose(request):
    """Ask for capitals in a new way each time; 9 words in 10 are then right."""
    return f"Use upper case letters {chance(f'{user_text(request)}{request.sample}'):.6f}."


@pytest.mark.parametrize("name", SEARCHES)
def test_a_budget_that_ends_in_the_middle_of_a_search_ends_in_a_verdict(name):
    def run(**budget):
        prompt = po.Prompt("Do something nice with it, please, and write it out.")
        models = {"target": fake(target_reply, "target"), "proposer": fake(propose, "proposer")}
        return execute(make_setup(searcher=build("searchers", name), models=models, prompt=prompt, **budget))

    whole = run()
    cap = whole.total.calls * 2 // 3
    cut = run(budget=po.Budget(calls=cap))
    assert cut.verdict
    assert 0 < cut.total.calls <= cap
    assert len(cut.candidates) > 1
    assert cells(cut) < cells(whole)
    assert (whole.best.instruction != "Do something nice with it, please, and write it out.") is (
        name != "edit"
    )
