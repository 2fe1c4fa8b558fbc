"""opro, evolution and breeder in whole runs: by name, with the embedded model, and to the end of a budget."""

import pytest
from toys import chance, fake, make_setup, target_reply, user_text

import promptopt as po
from promptopt.plugins import build
from promptopt.run import execute

SMALL = {
    "opro": {"steps": 1, "proposals": 3, "rows": 6, "top": 3, "keep": 1},
    "evolution": {"population": 3, "generations": 1, "rows": 6, "keep": 1},
    "breeder": {"population": 4, "generations": 1, "rows": 6, "keep": 1},
}
WORDS = (
    "cat",
    "house",
    "dog",
    "river",
    "tree",
    "apple",
    "stone",
    "paper",
    "horse",
    "chair",
    "bread",
    "water",
)


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_by_name_with_the_embedded_model(name):
    rows = [{"id": f"{i}", "input": word, "output": word[1]} for i, word in enumerate(WORDS * 3)]
    rows = [{**row, "input": row["input"] + "s" * (i // 12)} for i, row in enumerate(rows)]
    study = po.optimize(
        prompt="Second letter of the word.",
        train=rows,
        target={"model": "embedded/small", "decoding": {"max_tokens": 4}},
        reward="exact_match",
        search={"name": name, **SMALL[name]},
        sizes=po.Sizes(search=8, select=8, test=16),
        folder=None,
    )
    assert study.verdict.line
    made = [candidate for candidate in study.candidates if candidate.prompt.origin.startswith(name)]
    assert made
    assert all(candidate.search.n >= 6 for candidate in made)


def propose(request):
    """Say something new each time, and sometimes what works."""
    it = chance(f"{user_text(request)}{request.sample}")
    return "Write it in capitals." if it < 0.1 else f"Use upper case letters {it:.6f}."


@pytest.mark.parametrize("name", SMALL)
def test_a_budget_that_ends_in_the_middle_of_a_step_ends_in_a_verdict(name):
    models = {"target": fake(target_reply, "target"), "proposer": fake(propose, "proposer")}
    study = execute(make_setup(searcher=build("searchers", name), models=models, budget=po.Budget(calls=600)))
    assert study.verdict
    assert 400 < study.total.calls <= 600
    assert len(study.candidates) > 5
    assert study.best.instruction != "Do something."
