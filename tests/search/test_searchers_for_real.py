"""The searchers by name, in real runs with the embedded model and under budgets."""

import pytest

import promptopt as po

PAIRS = {
    "child": "children", "box": "boxes", "city": "cities", "wolf": "wolves", "man": "men", "mouse": "mice",
    "dog": "dogs", "cat": "cats", "house": "houses", "tree": "trees", "lady": "ladies", "knife": "knives",
    "bus": "buses", "tooth": "teeth", "foot": "feet", "goose": "geese", "baby": "babies", "leaf": "leaves",
    "car": "cars", "dish": "dishes", "fox": "foxes", "book": "books", "story": "stories", "woman": "women",
}  # fmt: skip
ROWS = [{"input": word, "output": plural} for word, plural in PAIRS.items()]
SEARCHES = {
    "protegi": {"depth": 1, "groups": 2, "paraphrases": 1, "max_tokens": 20},
    "reflect": {"steps": 3, "parallel": 2, "max_tokens": 20},
    "edit": {"iterations": 2, "candidates": 3},
}


def run(name, budget=None):
    return po.optimize(
        prompt="Write more of the word, please.",
        train=ROWS,
        target={"model": "embedded/small", "decoding": {"max_tokens": 8}},
        reward="exact_match",
        search={"name": name, **SEARCHES[name]},
        sizes=po.Sizes(search=8, select=6, test=10),
        budget=budget,
        folder=None,
    )


@pytest.mark.parametrize("name", SEARCHES)
def test_a_searcher_runs_by_name_with_the_embedded_model(name):
    study = run(name)
    assert study.verdict
    found = [candidate.prompt for candidate in study.candidates if candidate.prompt.origin != "user"]
    assert found
    assert all(prompt.origin.startswith(f"{name}/") and prompt.parents for prompt in found)
    assert ("proposer" in study.spent) is (name != "edit")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_budget_that_ends_in_the_middle_of_a_step_ends_in_a_verdict(name):
    study = run(name, po.Budget(calls=100))
    assert study.verdict
    assert study.total.calls <= 100
