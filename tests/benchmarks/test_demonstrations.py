"""The study of demonstrations: what each condition shows, and what is made of the scores."""

import random
from itertools import pairwise

import pytest
from toys import fake, user_text

from benchmarks.demonstrations import COUNTS, Condition, Figures, Task, conditions, lines, measure, together
from promptopt.journal import Journal
from promptopt.records import Example, FrozenMap


def task(name="capitals", n=30, answer=str.upper):
    rows = [Example(f"{name}{i}", FrozenMap(input=f"{name}{i}"), (answer(f"{name}{i}"),)) for i in range(n)]
    return Task(name, "exact_match", rows[:20], rows[20:])


FOREIGN = task("foreign", answer=lambda text: "no")
SHOWN = conditions(task(), FOREIGN, random.Random(0), sets=4, orders=5)


def test_right_demonstrations_are_beginnings_of_one_another():
    sets = [SHOWN[Condition("right", count)] for count in COUNTS]
    for shorter, longer in pairwise(sets):
        for less, more in zip(shorter, longer, strict=True):
            assert more[: len(less)] == less
    assert [len(its[0]) for its in sets] == list(COUNTS)
    assert all(demo.output == demo.inputs["input"].upper() for demo in sets[-1][0])
    assert len(set(sets[-1])) == 4


def test_wrong_answers_are_wrong_and_inputs_stay():
    pairs = zip(SHOWN[Condition("wrong", 8)], SHOWN[Condition("right", 8)], strict=True)
    for wrong, right in pairs:
        assert [demo.inputs for demo in wrong] == [demo.inputs for demo in right]
        assert all(demo.output != demo.inputs["input"].upper() for demo in wrong)
        assert all(demo.output.startswith("CAPITALS") for demo in wrong)
    assert {demo.output for its in SHOWN[Condition("random", 8)] for demo in its} <= {
        row.answer for row in task().pool
    }
    assert {demo.output for its in SHOWN[Condition("foreign", 8)] for demo in its} == {"no"}


def test_orders_are_of_the_first_set():
    orders = SHOWN[Condition("orders", 8)]
    assert len(orders) == 5
    assert {frozenset(its) for its in orders} == {frozenset(SHOWN[Condition("right", 8)][0])}


def test_a_target_that_learns_from_what_is_shown():
    """It writes capitals if every demonstration it is shown does, and otherwise repeats the last answer."""

    def learn(request):
        *blocks, (asked, _) = [
            part.removeprefix("Input: ").split("\nOutput:") for part in user_text(request).split("\n\n")
        ]
        shown = [(x, y.strip()) for x, y in blocks]
        if shown and all(y == x.upper() for x, y in shown):
            return asked.upper()
        return shown[-1][1] if shown else f"{asked}?"

    found = measure(fake(learn), Journal(":memory:"), task(), SHOWN)
    means = {str(condition): its.means for condition, its in found.items()}
    assert means["1"] == means["16"] == [1.0] * 4
    assert means["8, orders"] == [1.0] * 5
    assert means["8, wrong"] == means["8, foreign"] == [0.0] * 4
    table = list(lines(found, 0))
    assert len(table) == 1 + len(found)
    (wrong,) = [line for line in table if line.startswith("8, wrong")]
    assert "-1.00 [" in wrong
    assert wrong.split()[2] == "0.00"


def test_tasks_are_put_together_row_by_row():
    one, two = Condition("right", 1), Condition("right", 2)
    found = [
        {one: Figures([1.0, 0.0], {"a": 0.5}), two: Figures([1.0], {"a": 1.0})},
        {one: Figures([0.0, 0.0], {"a": 0.0, "b": 0.0})},
    ]
    whole = together([task("x"), task("y")], found)
    assert list(whole) == [one]
    assert whole[one].means == [0.5, 0.0]
    assert whole[one].by_row == {"x/a": 0.5, "y/a": 0.0, "y/b": 0.0}


def test_an_unknown_task_is_named_with_its_cure(tmp_path, monkeypatch):
    from benchmarks import demonstrations
    from promptopt.errors import DataError

    monkeypatch.setattr(demonstrations, "DATA", tmp_path)
    with pytest.raises(DataError, match="PROMPTOPT_DATA"):
        demonstrations.read_task("a/b", 5, 0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(
        '{"tasks": [{"suite": "ii", "name": "antonyms", "metric": "bleu_chrf", "file": "x"}]}'
    )
    with pytest.raises(DataError, match="did you mean 'ii/antonyms'"):
        demonstrations.read_task("ii/antonym", 5, 0)
    with pytest.raises(DataError, match="no reward here"):
        demonstrations.read_task("ii/antonyms", 5, 0)
