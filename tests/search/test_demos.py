"""Demonstrations: what each method shows, to whom, and which sets and orders survive."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted, numbered
from toys import Exact, HighestMean, fake, make_setup, read_input, user_text

from promptopt import Sizes, optimize
from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError, PluginError
from promptopt.plugins import build
from promptopt.programs import ChainOfThought, LeastToMost, SelfConsistency, Single
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Budget, Cell, Example, FrozenMap, fold_inputs
from promptopt.run import execute
from promptopt.search._bootstrap import clusters, diverse, worked
from promptopt.search._demos import draw, part_rows, powers, reorder
from promptopt.search.baselines import RandomDemos
from promptopt.search.demos import Demos
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

METHODS = ("random", "greedy", "knn", "bootstrap")


def shown(prompt):
    return [demo.inputs["input"] for demo in prompt.demonstrations]


def constant(prompt, row):
    return 0.0


ROWS = numbered(20)


def scripted(value, rows=ROWS, **changes):
    return Scripted(value=value, rows=rows, **changes)


# --- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_it_keeps_the_contract(method):
    prompt = Prompt("Write the word in upper case.") if method == "bootstrap" else None
    check_searcher(Demos(method, most=3, sets=3, width=2, orders=2, keep=2), prompt=prompt, cuts=3)


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "demos", {"method": "knn", "most": 4}) == Demos("knn", most=4)
    assert isinstance(Demos(), Searcher)
    for options in ({"method": "best"}, {"most": 0}, {"pool": 1.0}, {"orders": -1}, {"demos": 3}):
        with pytest.raises(PluginError):
            build("searchers", "demos", options)


# --- nothing is scored on what it shows -------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(["a", "A ", "b", "c", "d", "e", "f", "g", "h"]), min_size=4, max_size=14),
    st.sampled_from(METHODS),
    st.floats(0.05, 0.95),
    st.integers(0, 9),
)
def test_no_row_is_ever_scored_by_a_prompt_that_shows_it(texts, method, share, seed):
    rows = [Example(str(i), FrozenMap(input=text), (text.upper(),)) for i, text in enumerate(texts)]
    session = scripted(lambda p, row: len(p.demonstrations), rows=rows, seed=seed)
    try:
        Demos(method, most=4, sets=4, width=3, pool=share).search(session)
    except ConfigError:
        return
    for prompts, ids in session.met:
        for prompt in prompts:
            for row in (row for row in rows if row.id in ids):
                assert fold_inputs(row.inputs) not in [fold_inputs(d.inputs) for d in prompt.shown(row)]


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(1, 20))
def test_rows_are_parted_into_a_scored_beginning_and_a_shown_end(n, share, most):
    rows = numbered(n)
    parted = part_rows(rows, share, most, "here")
    assert (*rows[: parted.scored], *parted.pool) == rows
    assert parted.scored >= 1
    assert len(parted.pool) >= min(most, n // 2, n - 1)


def test_a_task_without_a_row_to_show_is_an_error():
    bare = [Example(str(i), FrozenMap(input=f"in{i}")) for i in range(9)]
    for method in METHODS:
        with pytest.raises(ConfigError, match="search rows hold none that can be shown"):
            Demos(method).search(scripted(constant, rows=bare))
    layout = Prompt("x", template=Template(user="{{instruction}} {{input}}"))
    with pytest.raises(ConfigError, match="no place for demonstrations"):
        Demos().search(scripted(constant, seed_prompt=layout))


# --- random -----------------------------------------------------------------------------------------


def test_random_keeps_the_best_sets_then_tries_orders_of_the_best():
    """Worth of a set: in17 helps, in15 harms, a bit more when in17 stands last."""

    def value(prompt, row):
        its = shown(prompt)
        return ("in17" in its) - ("in15" in its) + 0.5 * (its[-1:] == ["in17"]) - 0.01 * len(its)

    session = scripted(value)
    demos = Demos(most=4, sets=12, orders=9, keep=2)
    demos.search(session)
    (sets, rows), (orders, again), *finals = session.met
    assert rows == again == [str(i) for i in range(14)]
    assert sets[0] == session.task.seed_prompt
    assert all(1 <= len(shown(p)) <= 4 for p in sets[1:])
    assert {text for p in sets for text in shown(p)} <= {f"in{i}" for i in range(14, 20)}
    assert {(p.origin, p.parents, p.instruction) for p in sets[1:]} == {
        ("demos/random", (sets[0].id,), "Do it.")
    }
    ranked = sorted(sets, key=lambda p: -value(p, None))
    assert orders[:2] == ranked[:2]
    assert {frozenset(shown(p)) for p in orders[2:]} == {frozenset(shown(ranked[0]))}
    assert {p.origin for p in orders[2:]} == {"demos/order"}
    kept = sorted(orders, key=lambda p: -value(p, None))[:2]
    assert [prompts for prompts, _ in finals] == [[kept[0]], [kept[1]]]
    for (prompt,), ids in finals:
        assert sorted(ids) == sorted(str(i) for i in range(20) if f"in{i}" not in shown(prompt))
    assert shown(kept[0])[-1] == "in17"


def test_sets_differ_in_size_and_order_and_by_seed():
    pool = [Demonstration(FrozenMap(input=str(i)), "x") for i in range(9)]
    sets = draw(random.Random(0), pool, 200, 3)
    assert {len(its) for its in sets} == {1, 2, 3}
    assert len({frozenset(its) for its in sets}) < len(set(sets))
    assert draw(random.Random(0), pool, 200, 3) == sets != draw(random.Random(1), pool, 200, 3)
    assert {len(its) for its in draw(random.Random(0), pool[:2], 20, 8)} == {1, 2}


def test_no_order_of_few_is_drawn_twice():
    for n in (2, 3, 4):
        pool = [Demonstration(FrozenMap(input=str(i)), "x") for i in range(n)]
        orders = reorder(random.Random(0), pool, 99)
        assert len({tuple(pool), *orders}) == math.factorial(n) == len(orders) + 1
    pool = [Demonstration(FrozenMap(input=str(i)), "x") for i in range(12)]
    orders = reorder(random.Random(0), pool, 5)
    assert [sorted(map(pool.index, order)) for order in orders] == [[*range(12)]] * 5


def test_the_seed_prompts_own_demonstrations_compete_and_are_replaced():
    own = Prompt("Do it.", (Demonstration(FrozenMap(input="mine"), "x"),))
    session = scripted(lambda p, row: float("mine" in shown(p)), seed_prompt=own)
    Demos(sets=3, orders=0, keep=1).search(session)
    assert session.met[0][0][0] == own
    assert all("mine" not in shown(p) for p in session.met[0][0][1:])
    assert session.met[-1][0] == [own]


# --- greedy -----------------------------------------------------------------------------------------


def test_greedy_adds_the_row_that_helps_most_until_none_helps():
    worth = {"in14": 0.1, "in15": 0.5, "in16": 0.0, "in17": 0.3, "in18": -1.0, "in19": 0.5}
    session = scripted(lambda p, row: sum(worth[text] for text in shown(p)))
    Demos("greedy", width=99, most=6, orders=0, keep=3).search(session)
    steps = [prompts for prompts, ids in session.met if len(ids) == 14]
    winners = [max(step, key=lambda p: (sum(worth[t] for t in shown(p)), -step.index(p))) for step in steps]
    assert [len(step) for step in steps] == [7, 6, 5, 4, 3]
    for winner, step in zip(winners, steps[1:], strict=False):
        assert step[0] == winner
        assert all(p.demonstrations[:-1] == winner.demonstrations for p in step[1:])
        assert all(p.parents == (winner.id,) for p in step[1:])
        assert not {shown(p)[-1] for p in step[1:]} & set(shown(winner))
    assert [set(shown(p)) for p in winners[1:4]] == [
        {"in15", "in19"},
        {"in15", "in19", "in17"},
        {"in15", "in19", "in17", "in14"},
    ]
    assert winners[4] == winners[3]  # in16 adds nothing: the shorter prompt stays
    finals = [prompts[0] for prompts, ids in session.met if len(prompts) == 1]
    assert [len(shown(p)) for p in finals] == [4, 3, 2]


def test_greedy_stays_with_the_seed_where_nothing_helps():
    session = scripted(lambda p, row: -float(len(p.demonstrations)))
    Demos("greedy", width=2).search(session)
    assert [len(prompts) for prompts, _ in session.met] == [3, 1]
    assert session.met[-1] == ([session.task.seed_prompt], [str(i) for i in range(20)])


# --- nearest neighbours -----------------------------------------------------------------------------


def test_knn_puts_all_answered_rows_into_the_prompt_and_finds_k():
    rows = (*numbered(9), Example("bare", FrozenMap(input="bare")))
    session = scripted(lambda p, row: -abs(len(p.shown(row)) - 4), rows=rows)
    Demos("knn", most=6, keep=2).search(session)
    (candidates, ids), *finals = session.met
    assert ids == [row.id for row in rows]
    assert [p.retriever and p.retriever.k for p in candidates] == [None, 1, 2, 4, 6]
    assert {p.retriever.pool for p in candidates[1:]} == {
        tuple(Demonstration(row.inputs, row.answer) for row in rows[:9])
    }
    assert [p.retriever.k for (p,), _ in finals] == [4, 2]
    assert {tuple(ids) for _, ids in finals} == {tuple(row.id for row in rows)}


def test_powers_end_at_the_most():
    assert [powers(most) for most in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]
    assert powers(9) == [1, 2, 4, 8, 9]


def test_a_run_with_retrieval_wins_where_the_nearest_row_tells_the_answer(tmp_path):
    """The answer is the kind of the word; the target copies the output of what stands last."""
    kinds = ("bird", "fish", "tree")
    rows = [
        {"id": str(i), "input": f"{kinds[i % 3]}{i:02} {kinds[i % 3]}", "output": kinds[i % 3].upper()}
        for i in range(60)
    ]

    def copy(request):
        before = user_text(request).rsplit("Input: ", 1)[0]
        return before.rsplit("Output: ", 1)[1].split("\n")[0] if "Output: " in before else "?"

    models = {"target": fake(copy, "target")}
    study = execute(make_setup(rows=rows, models=models, searcher=Demos("knn", most=2)))
    assert study.best.retriever is not None
    assert study.verdict.reliable
    assert study.candidates[1].search.mean == 1.0
    loaded = Prompt.load(study.best.save(tmp_path / "prompt.json"))
    row = Example("new", FrozenMap(input="fish99 fish"))
    assert loaded.render(row) == study.best.render(row)
    assert [d.output for d in loaded.shown(row)] == ["FISH"] * study.best.retriever.k


# --- bootstrap --------------------------------------------------------------------------------------


def right_for_even(prompt, row):
    return float(int(row.id) % 2 == 0)


def test_bootstrap_shows_the_programs_own_right_replies():
    seed = Prompt("Do it.", program=ChainOfThought())
    session = scripted(
        right_for_even, seed_prompt=seed, trace=lambda row: (f" Because {row.id}.", f"{row.answer} ")
    )
    Demos("bootstrap", most=4, sets=6, orders=0).search(session)
    (teacher, taught), (sets, scored), *_ = session.met
    assert (teacher, taught) == ([seed], [str(i) for i in range(14, 20)])
    assert scored == [str(i) for i in range(14)]
    seen = {demo for p in sets for demo in p.demonstrations}
    assert {demo.inputs["input"] for demo in seen} == {"in14", "in16", "in18"}
    assert {demo.output for demo in seen if demo.inputs["input"] == "in14"} == {
        "Let's think step by step. Because 14. Therefore, the answer is out14"
    }
    assert {p.program for p in sets} == {ChainOfThought()}


def test_where_no_reply_is_right_the_rows_own_answers_are_shown():
    session = scripted(constant, trace=lambda row: ("wrong",))
    Demos("bootstrap", orders=0).search(session)
    outputs = {d.output for prompts, _ in session.met for p in prompts for d in p.demonstrations}
    assert outputs
    assert all(output.startswith("out") for output in outputs)


@pytest.mark.parametrize(
    ("program", "trace", "reply"),
    [
        (Single(), ("It is so. Answer: 4",), "It is so. Answer: 4"),
        (ChainOfThought("Think.", "So:"), (" 2 and 2. ", " 4\n"), "Think. 2 and 2. So: 4"),
        (LeastToMost(), ("1. What?", "2", "2 and 2 is 4"), "2 and 2 is 4"),
        (Single(), (), ""),
        (SelfConsistency(3), ("It is 5", "2 and 2 make 4", "So 4"), "2 and 2 make 4"),
    ],
)
def test_a_worked_reply_holds_the_reasoning(program, trace, reply):
    assert worked(program, Cell("p", "1", output="4", trace=trace)) == reply


def test_a_cell_knows_the_replies_of_all_its_calls():
    def reply(request):
        text = user_text(request)
        return "SO BE IT" if text == "Therefore, the answer is" else f"about {read_input(text)}"

    class Watch:
        def search(self, session):
            (self.evaluation,) = session.score([session.task.seed_prompt], 1)

    watch = Watch()
    prompt = Prompt("Do it.", program=ChainOfThought())
    execute(make_setup(models={"target": fake(reply, "target")}, searcher=watch, prompt=prompt))
    (cell,) = watch.evaluation.cells
    assert cell.trace[1] == cell.output == "SO BE IT"
    assert cell.trace[0].startswith("about ")


def topics():
    words = {"sea": "fish wave salt boat", "sky": "cloud bird wind star", "wood": "tree leaf moss fern"}
    return [f"{topic} {a} {b}" for topic, its in words.items() for a, b in pairwise(its.split())]


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_the_topics(seed):
    texts = topics()
    found = clusters(random.Random(seed), texts, 3)
    assert {frozenset(texts[i].split()[0] for i in its) for its in found} == {
        frozenset({"sea"}),
        frozenset({"sky"}),
        frozenset({"wood"}),
    }


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet="ab ", max_size=6), min_size=1, max_size=9), st.integers(1, 12), st.integers()
)
def test_clusters_divide_the_texts(texts, k, seed):
    found = clusters(random.Random(seed), texts, k)
    assert sorted(place for its in found for place in its) == list(range(len(texts)))
    assert 1 <= len(found) <= k
    assert all(found)


def test_diverse_takes_the_right_reply_nearest_to_each_centre():
    rows = [Example(str(i), FrozenMap(input=text), ("x",)) for i, text in enumerate(topics())]
    kept = [Demonstration(row.inputs, "why") for row in rows if "sea" not in row.inputs["input"]]
    chosen = diverse(random.Random(0), rows, kept, 3)
    assert {demo.inputs["input"].split()[0] for demo in chosen} == {"sky", "wood"}
    places = [its for its in clusters(random.Random(0), topics(), 3) if "sea" not in topics()[its[0]]]
    assert [demo.inputs["input"] for demo in chosen] == [topics()[its[0]] for its in places]


# --- in a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("searcher", [Demos(sets=3, orders=0), RandomDemos(n=3)], ids=["demos", "random"])
def test_the_jobs_selector_chooses_on_the_rows_that_are_not_shown(searcher):
    asked = []

    class Watched(HighestMean):
        def select(self, score, candidates, rows, k):
            asked.append((candidates, rows))
            return super().select(score, candidates, rows, k)

    study = execute(make_setup(searcher=searcher, selector=Watched()))
    (candidates, rows), *_ = asked
    assert candidates in (3, 4)  # two sets may be the same
    assert rows == (12 if isinstance(searcher, Demos) else 14)
    assert study.verdict


def test_the_end_of_the_budget_leaves_a_verdict():
    study = execute(make_setup(searcher=Demos(method="greedy"), budget=Budget(calls=160)))
    assert study.stopped == "budget"
    assert study.total.calls <= 160


def test_a_kept_set_is_no_worse_off_than_a_prompt_that_met_every_row():
    """Rows that a prompt shows cannot be scored on; among finalists they count as met."""

    class Two:
        def search(self, session):
            seed, rows = session.task.seed_prompt, session.task.rows
            poor = seed.child(instruction="Say hello.", origin="x")
            good = seed.child(
                instruction="Write it in capitals.",
                demonstrations=(Demonstration(rows[-1].inputs, rows[-1].answer),),
                origin="x",
            )
            session.score([poor])
            session.score([good], rows[:-1])

    study = execute(make_setup(searcher=Two(), reward=Exact(), finalists=1))
    assert study.best.instruction == "Write it in capitals."


PLURALS = {
    "cat": "cats", "dog": "dogs", "box": "boxes", "baby": "babies", "leaf": "leaves", "car": "cars",
    "glass": "glasses", "city": "cities", "wolf": "wolves", "tree": "trees", "bus": "buses", "lady": "ladies",
    "knife": "knives", "book": "books", "dish": "dishes", "party": "parties", "pen": "pens", "fox": "foxes",
    "cup": "cups", "army": "armies", "shelf": "shelves", "lamp": "lamps", "bench": "benches", "duck": "ducks",
}  # fmt: skip


def test_it_runs_by_name_with_the_embedded_model():
    study = optimize(
        prompt="Do it.",
        train=[{"input": one, "output": many} for one, many in PLURALS.items()],
        target="embedded/small",
        reward="exact_match",
        search={"name": "demos", "sets": 2, "most": 3, "orders": 1, "keep": 1},
        selector="full",
        sizes=Sizes(search=8, select=3, test=12),
    )
    assert study.stopped == "finished"
    taught = [candidate for candidate in study.candidates if candidate.prompt.demonstrations]
    assert {candidate.prompt.origin for candidate in taught} <= {"demos/random", "demos/order"}
    assert max(candidate.search.mean for candidate in taught) >= 0.2
    assert "proposer" not in study.spent
