"""Reward against cost: metered costs, fronts worked out by hand, and a run that weighs both."""

import json
from dataclasses import replace

import pytest
from toys import TryAll, fake, make_setup, target_reply

from promptopt.contracts.model import Completion
from promptopt.errors import ConfigError
from promptopt.programs import ChainOfThought
from promptopt.prompt import Prompt
from promptopt.proof.finals import decide
from promptopt.proof.pareto import Cost, Objective, front, measure
from promptopt.records import Cell, Evaluation, Price, Score, Usage
from promptopt.run import execute
from promptopt.runfolder import RunFolder


def scored(name, values, tokens, output=2, reward="r"):
    """Return a prompt and its evaluation: values by row, and what each answer took."""
    prompt = Prompt(name)
    usage = Usage(tokens, output) if tokens else Usage()
    cells = [Cell(prompt.id, str(i), score=Score(float(v)), usage=usage) for i, v in enumerate(values)]
    return prompt, Evaluation(prompt.id, reward, tuple(cells))


def right(of_ten):
    return [1] * of_ten + [0] * (10 - of_ten)


def names(prompts):
    return [prompt.instruction for prompt in prompts]


def test_a_cost_is_the_mean_over_the_answers_that_came_back():
    cells = (
        Cell("p", "0", score=Score(1.0), usage=Usage(10, 2)),
        Cell("p", "1", score=Score(0.0), usage=Usage(30, 4)),
        Cell("p", "2", status="failed", usage=Usage(500, 0)),
    )
    evaluation = Evaluation("p", "r", cells)
    assert measure(evaluation) == Cost(20.0, 3.0, None)
    assert measure(evaluation, Price(1.0, 10.0)).usd == pytest.approx((20 + 30) / 1e6 * 1000)
    assert measure(scored("free", [1, 0], tokens=0)[1]) is None


def test_the_front_by_hand():
    points = [
        scored("dear and best", right(9), 50),
        scored("cheap and poor", right(4), 5),
        scored("beaten in both", right(6), 30),
        scored("middle", right(7), 20),
        scored("as good, dearer", right(7), 21),
        scored("as dear, worse", right(5), 20),
        scored("not metered", right(10), 0),
    ]
    found = front(points, "prompt_tokens")
    assert names(point.prompt for point in found) == ["cheap and poor", "middle", "dear and best"]
    assert [point.mean for point in found] == pytest.approx([0.4, 0.7, 0.9])
    assert all(point.mean in point.interval and point.n == 10 for point in found)


def test_equals_stay_together_and_another_cost_gives_another_front():
    points = [scored("a", right(5), 10, 9), scored("b", right(5), 10, 3), scored("c", right(4), 20, 1)]
    assert names(p.prompt for p in front(points, "prompt_tokens")) == ["a", "b"]
    assert names(p.prompt for p in front(points, "output_tokens")) == ["c", "b"]
    assert names(p.prompt for p in front(points, "usd", Price(0.0, 1.0))) == ["c", "b"]


def test_what_is_not_comparable_is_not_on_the_front():
    prompt, evaluation = scored("half lost", right(9), 1)
    failed = Cell(prompt.id, "x", status="failed")
    lossy = replace(
        evaluation, cells=(*evaluation.cells[:5], *[replace(failed, example=str(i)) for i in range(5)])
    )
    assert front([(prompt, lossy)], "prompt_tokens") == ()


def test_the_front_goes_to_the_finals_first_then_the_front_of_the_rest():
    ranked = [
        scored("best", right(9), 50),
        scored("beaten by best", right(8), 60),
        scored("beaten twice", right(7), 70),
        scored("cheap", right(6), 10),
        scored("few rows", right(10)[:5], 1),
    ]
    by_reward = ["best", "beaten by best", "beaten twice", "cheap", "few rows"]
    assert names(Objective().order(ranked)) == by_reward
    weighed = Objective("pareto").order(ranked)
    assert names(weighed) == ["best", "cheap", "beaten by best", "beaten twice", "few rows"]
    assert Objective("pareto").order([]) == []


def test_cheap_takes_the_cheapest_within_one_standard_error_of_the_best():
    seed = scored("seed", [0] * 40, 90)
    best = scored("best", [1] * 30 + [0] * 10, 50)
    near = scored("near", [1] * 29 + [0] * 10 + [1], 20)  # one lost, one won
    far = scored("far", [1] * 20 + [0] * 20, 5)
    cheap = Objective("pareto", prefer="cheap")

    def winner(objective, *finalists):
        prompts, evaluations = zip(seed, *finalists, strict=True)
        costs, unit = objective.costs(prompts, evaluations)
        return decide(prompts, evaluations, seed=0, costs=costs, unit=unit)

    assert winner(cheap, best, near, far).winner == near[0].id
    assert "cheapest (20 prompt tokens an answer)" in winner(cheap, best, near, far).why
    assert winner(cheap, best, far).winner == best[0].id
    assert winner(cheap, best, scored("dearer", [1] * 30 + [0] * 10, 60)).winner == best[0].id
    dear_but_short = scored("b", [1] * 30 + [0] * 10, 60)
    assert winner(Objective("pareto"), best, dear_but_short).winner == dear_but_short[0].id
    assert winner(cheap, best, dear_but_short).winner == best[0].id


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "paretoo"}, "objective.name: no such choice; got 'paretoo'; did you mean 'pareto'?"),
        ({"name": "pareto", "cost": "tokens"}, "objective.cost: no such choice"),
        ({"prefer": "cheap"}, "set objective.name to pareto"),
    ],
)
def test_an_objective_that_is_none_is_refused(given, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        Objective(**given)


def test_dollars_are_weighed_only_where_there_are_any():
    dollars = Objective("pareto", "usd")
    dollars.check(Price(1.0, 2.0))
    for price, said in ((None, "is not known"), (Price(), "is 0")):
        with pytest.raises(ConfigError, match=said):
            dollars.check(price)
        Objective("pareto").check(price)


LONG = "Please be so kind as to write it in capitals for me, if you can and if you do not mind."
SHORT = "Use capitals."


class Wordy(TryAll):
    """Score a long prompt that obeys, a short one too, and one that does not."""

    def search(self, session):
        seed = session.task.seed_prompt
        session.score([seed, *(seed.child(instruction=t, origin="x") for t in (LONG, SHORT, "No"))])


def test_a_run_tells_its_front_from_metered_tokens_and_a_resumed_one_the_same(tmp_path):
    folder = RunFolder(tmp_path / "run")
    setup = make_setup(searcher=Wordy(), prices={"target": Price(1.0, 1.0)})
    study = execute(setup, folder)
    assert names(point.prompt for point in study.front) == ["No", SHORT]
    words = len(
        setup.task.seed_prompt.child(origin="x", instruction=SHORT)
        .render(setup.task.splits.select[0])[0]
        .content.split()
    )
    assert study.front[1].cost == Cost(words, 1.0, pytest.approx((words + 1) / 1000))
    again = execute(make_setup(searcher=Wordy(), prices={"target": Price(1.0, 1.0)}), folder)
    assert again.front == study.front
    result = folder.result()
    assert [point["instruction"] for point in result["front"]] == ["No", SHORT]
    assert result["objective"] == {"name": "reward", "cost": "prompt_tokens", "prefer": "reward"}
    lines = [json.loads(line) for line in (folder.path / "candidates.jsonl").read_text().splitlines()]
    assert [line["scores"]["search"]["output_tokens"] for line in lines] == [1.0] * 4


def test_all_calls_of_a_program_are_on_the_bill_of_an_answer():
    setup = make_setup(searcher=Wordy(), prompt=Prompt("Do something.", program=ChainOfThought()))
    study = execute(replace(setup, models={**setup.models, "target": fake(lambda _: "three words long")}))
    assert study.front[0].cost.output_tokens == 6.0  # the reasoning, then the answer


def test_a_target_that_counts_no_tokens_has_no_front_and_the_reward_decides():
    silent = fake(lambda request: Completion(target_reply(request)))
    setup = make_setup(searcher=Wordy(), objective=Objective("pareto", prefer="cheap"))
    study = execute(replace(setup, models={**setup.models, "target": silent}))
    assert study.front == ()
    assert "capitals" in study.best.instruction


def test_the_objective_decides_who_goes_to_the_finals():
    class Three(TryAll):
        def search(self, session):
            seed = session.task.seed_prompt
            texts = ("Use capitals.", "Use upper case letters, which takes more words.", "Go")
            session.score([seed, *(seed.child(instruction=t, origin="x") for t in texts)])

    def finalists(objective):
        study = execute(make_setup(searcher=Three(), finalists=2, objective=objective))
        return {c.prompt.instruction for c in study.candidates if c.select} - {"Do something."}

    assert finalists(Objective()) == {"Use capitals.", "Use upper case letters, which takes more words."}
    assert finalists(Objective("pareto")) == {"Use capitals.", "Go"}


def test_cheap_decides_the_winner_of_a_run():
    def best(objective):
        return execute(make_setup(searcher=Alike(), objective=objective)).best.instruction

    class Alike(TryAll):
        def search(self, session):
            seed = session.task.seed_prompt
            texts = ("USE CAPITALS, I ASK, I, I, I", "Unmistakeably: write-everything-in-capitals")
            session.score([seed, *(seed.child(instruction=t, origin="x") for t in texts)])

    # Alike in reward; the first is shorter in characters, the second in tokens (the fake counts words).
    assert best(Objective()).startswith("USE")
    assert best(Objective("pareto", prefer="cheap")).startswith("Unmistakeably")
