"""The benchmark of rl: what its tasks want, and what its tables say."""

import pytest

from benchmarks.embedded.families import FAMILIES, rows
from benchmarks.rl.contenders import CONDITIONAL, CONTENDERS, TASKS
from benchmarks.rl.table import by_task, conditional
from promptopt.plugins import build


@pytest.mark.parametrize(
    ("task", "message", "reply", "worth"),
    [
        ("last word", "Mei was in the tower.", "The answer is tower.", 1.0),
        ("last word", "Mei was in the tower.", "tower", 0.5),
        ("last word", "Mei was in the tower.", "The answer is in the tower.", 0.5),
        ("last word", "Mei was in the tower.", "Mei was in the tower.", 0.0),
        ("count of words", "Mei was in the tower.", "5", 0.5),
        ("first item", "bed, bicycle", "The answer is bed, bicycle.", 0.5),
        ("first item", "bed, bicycle", "bed, bicycle", 0.0),
        ("reversed word", "brave", "evarb", 0.5),
        ("number in words", "763", "the answer is seven hundred and sixty-three.", 0.5),
        ("number in words", "763", "The answer is 763.", 0.5),
        ("odd or even", "763", "odd", 0.5),
        ("odd or even", "763", "The answer is even.", 0.5),
    ],
)
def test_what_the_tasks_want(task, message, reply, worth):
    assert TASKS[task].worth(message, reply) == worth


@pytest.mark.parametrize("task", TASKS)
def test_a_task_can_be_met_on_every_message(task):
    wish = TASKS[task]
    for message, _ in rows(wish.messages, "test", 50, 7):
        answer = FAMILIES[wish.answer].solve(message)
        assert wish.worth(message, f"The answer is {answer}.") == 1
        assert wish.worth(message, message) <= 0.5


def test_every_contender_can_be_built():
    pytest.importorskip("trl")
    for given in (*CONTENDERS.values(), CONDITIONAL):
        options = dict(given)
        build("searchers", options.pop("name"), options)
    assert {name: its.get("training", {}).get("learning_rate") for name, its in CONTENDERS.items()}[
        "untrained"
    ] == 0


def record(contender, task, seed, score):
    return {
        "contender": contender,
        "task": task,
        "seed": seed,
        "seed_score": 0.1,
        "score": score,
        "target_calls": 9,
    }


def test_differences_are_paired_and_wins_counted():
    scores = {
        ("rl", "long"): (0.8, 0.6),
        ("ape", "long"): (0.5, 0.5),
        ("rl", "capitals"): (0.2, 0.2),
        ("ape", "capitals"): (0.3, 0.3),
    }
    records = [record(*names, seed, score) for names, its in scores.items() for seed, score in enumerate(its)]
    failed = {"contender": "ape", "task": "figures", "seed": 0, "error": "no proposals"}
    head, _, long, capitals, total, failure = by_task([*records, failed])
    assert head.startswith("| task | prompt to beat | rl | ape | rl minus ape |")
    assert "| 0.70 | 0.50 | +0.20 [" in long
    assert "| 0.20 | 0.30 | -0.10 [" in capitals
    assert "rl minus ape, all tasks: +0.05 [" in total
    assert "ahead on 1 of 2" in total
    assert failure == "failed: ape figures 0: no proposals"


def test_an_unpaired_run_is_no_difference():
    lines = by_task([record("rl", "long", 0, 0.8), record("ape", "long", 1, 0.5)])
    assert "| - |" in lines[2]


def test_one_seed_has_a_difference_and_no_interval():
    lines = by_task([record("rl", "long", 0, 0.8), record("ape", "long", 0, 0.5)])
    assert "| +0.30 |" in lines[2]


def test_the_conditional_table_says_how_many_times_more():
    one = {"seed": 0, "rows": 30, "seed_score": 0.2, "score": 0.5}
    lines = conditional([one, one | {"seed": 1, "score": 0.6}, one | {"seed": 2, "seed_score": 0.0}])
    assert "| 0 | 30 | 0.20 | 0.50 | 2.50 |" in lines
    assert "| 2 | 30 | 0.00 | 0.50 | - |" in lines
    assert "\n2.50 to 3.00 times the untrained" in lines
