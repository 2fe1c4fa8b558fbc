"""The leak check and the drift of the output format."""

import json

from promptopt.prompt import Demonstration, Prompt
from promptopt.proof.guards import format_drift, overlap
from promptopt.records import Cell, Evaluation, Example, FrozenMap, Score

SEED = Prompt("Answer the question.")
LONG = "the quick brown fox jumps over the lazy dog near the river"
ROWS = (
    Example("a", FrozenMap(input="What is two plus two?"), ("four",)),
    Example("b", FrozenMap(input=LONG), ("fox",)),
)


def check(instruction, seed=SEED, rows=ROWS):
    return overlap(Prompt(instruction), seed, rows)


def test_a_long_run_of_a_row_is_a_leak_whatever_its_case_and_punctuation():
    found = check("Answer. For example: The QUICK brown fox, jumps over the lazy cat.")
    assert (found.shared, found.pairs, found.example) == (3, 0, "b")
    assert found.text == "the quick brown fox jumps over"
    assert found.note == (
        "leak check: the best prompt repeats search rows, 3 of its 7 runs of 6 words "
        "(row b: 'the quick brown fox jumps over')"
    )


def test_a_short_row_leaks_as_a_pair_of_input_and_answer():
    assert check("If asked what is two plus two, say four.").pairs == 1
    assert "input and answer of 1 row" in check("If asked what is two plus two, say four.").note
    assert not check("If asked what is two plus two, say it.").note
    # `four` inside the input is not an answer beside it.
    rows = (Example("c", FrozenMap(input="four"), ("four",)),)
    assert check("Write four words.", rows=rows).pairs == 0


def test_what_the_seed_prompt_says_is_no_leak():
    text = f"Continue: {LONG}."
    assert check(f"{text} Be brief.").shared > 0
    assert check(f"{text} Be brief.", seed=Prompt(text)).shared == 0
    pair = "What is two plus two? four"
    assert check(f"{pair} Now answer.", seed=Prompt(pair)).pairs == 0


def test_demonstrations_are_rows_and_no_leak():
    shown = Prompt("Answer.", (Demonstration(ROWS[1].inputs, "fox"),))
    assert overlap(shown, SEED, ROWS).note == ""


def test_scripts_without_spaces_are_read_sign_by_sign():
    rows = (Example("z", FrozenMap(input="今天天气很好我们去公园"), ("好",)),)
    assert check("请回答:今天天气很好", rows=rows).shared == 1
    assert check("请回答问题", rows=rows).note == ""


def test_an_honest_prompt_has_no_note():
    found = check("Answer with one number and nothing else, please.")
    assert found.note == ""
    assert found.grams == 3
    assert json.loads(json.dumps(found.to_dict()))["shared"] == 0


def unreadable(prompt, n, of, failed=0):
    cells = [Cell(prompt, str(row), score=Score(0.0, parsed=row >= n)) for row in range(of)]
    cells += [Cell(prompt, f"f{row}", status="failed", reason="timeout") for row in range(failed)]
    return Evaluation(prompt, "exact", tuple(cells))


def test_drift_of_the_format_is_a_rate_over_answered_cells():
    drift = format_drift(unreadable("s", 1, 20), unreadable("b", 4, 16, failed=4))
    assert (drift.baseline, drift.best) == (0.05, 0.25)
    assert drift.note == ("output format: replies without a readable answer 5% -> 25% (1 of 20 -> 4 of 16)")
    assert format_drift(unreadable("s", 2, 20), unreadable("b", 1, 10)).note == ""
    assert format_drift(unreadable("s", 0, 0), unreadable("b", 0, 0)).note == ""
