"""Paired comparisons of evaluations: against values by hand, against the verdict, and the gate's promise."""

import json
import random

import pytest

from promptopt.errors import ConfigError, ContractError
from promptopt.prompt import Prompt
from promptopt.proof.comparison import Contender, contrast
from promptopt.proof.multiplicity import holm
from promptopt.proof.stats import mcnemar_exact, paired_interval
from promptopt.proof.verdict import judge
from promptopt.records import Cell, Evaluation, Score


def contender(name, values, reward="r", prompt=None):
    """Return a contender with these values row by row; None is a failed cell."""
    prompt = prompt or Prompt(name)
    cells = tuple(
        Cell(prompt.id, str(row), status="failed", reason="timeout")
        if value is None
        else Cell(prompt.id, str(row), score=Score(float(value)))
        for row, value in enumerate(values)
    )
    return Contender(name, prompt, Evaluation(prompt.id, reward, cells))


def binary(right, of):
    return [1] * right + [0] * (of - right)


def test_two_prompts_get_the_numbers_that_the_verdict_of_a_run_would_give_them():
    a, b = contender("a", binary(10, 40)), contender("b", [0] * 5 + binary(20, 35))
    (pair,) = contrast([a, b], split="test").pairs
    verdict = judge(a.evaluation, b.evaluation, seed=0)
    assert (pair.baseline, pair.name, pair.n, pair.test) == ("a", "b", 40, "mcnemar")
    assert (pair.gain, pair.interval, pair.p) == (verdict.difference, verdict.interval, verdict.p)
    assert pair.gain == pytest.approx(0.25)
    assert pair.p == pair.adjusted == mcnemar_exact(5, 15)
    assert pair.words == "better"


def test_the_more_pairs_the_more_each_must_show():
    base = contender("base", [0] * 40)
    good = contender("good", binary(6, 40))  # 6 against 0: p = 2 / 64
    assert contrast([base, good], split="test").pairs[0].words == "better"
    result = contrast([base, good, contender("same", [0] * 40)], split="test")
    assert [pair.p for pair in result.pairs] == [2 / 64, 1.0]
    assert [pair.adjusted for pair in result.pairs] == [4 / 64, 1.0]
    assert [pair.words for pair in result.pairs] == ["no reliable difference"] * 2


def test_all_pairs_are_compared_later_against_earlier_and_adjusted_together():
    three = [contender("a", binary(5, 60)), contender("b", binary(40, 60)), contender("c", binary(20, 60))]
    result = contrast(three, split="test", all_pairs=True)
    assert [(p.baseline, p.name) for p in result.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p.adjusted for p in result.pairs] == holm([p.p for p in result.pairs])
    assert [p.words for p in result.pairs] == ["better", "better", "worse"]
    assert result.gate(0.1).line.startswith("gate passed: c gains +0.25")


def test_rows_without_both_scores_are_left_out_and_said():
    result = contrast([contender("a", [1, 0, 0, 1]), contender("b", [None, 1, 1, 1])], split="test")
    assert (result.pairs[0].n, result.pairs[0].gain) == (3, pytest.approx(2 / 3))
    assert result.pairs[0].words == "not comparable"  # one cell in four failed
    assert "b is not comparable: 1 of 4 cells failed" in result.notes
    assert any(note.startswith("as few as 3 of 4 rows are compared") for note in result.notes)
    assert "with 3 independent rows no difference can be reliable" in result.notes
    assert not result.gate(-1.0).passed


def test_no_row_in_common_is_plain_data_too():
    result = contrast([contender("a", [1, None]), contender("b", [None, 1])], split="test")
    assert result.pairs[0].gain is None
    assert not result.gate(-1.0).passed
    assert json.loads(json.dumps(result.to_dict()))["pairs"][0]["interval"] is None


def test_rows_that_share_a_group_count_once():
    a, b = contender("a", [0] * 40), contender("b", binary(20, 40))
    alone = contrast([a, b], split="test")
    groups = {str(row): str(row // 20) for row in range(40)}
    grouped = contrast([a, b], split="test", groups=groups)
    assert alone.pairs[0].words == "better"
    assert grouped.pairs[0].words == "no reliable difference"
    assert grouped.pairs[0].test == "permutation"
    assert "rows share groups: 40 rows are 2 independent units" in grouped.notes


def test_scores_of_two_rewards_and_odd_confidences_are_refused():
    with pytest.raises(ContractError, match="two rewards"):
        contrast([contender("a", [1]), contender("b", [1], reward="other")], split="test")
    for odd in (0, 1, 95, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            contrast([contender("a", [1]), contender("b", [1])], split="test", confidence=odd)


def test_the_gate_is_the_lower_end_of_the_interval_of_the_last_against_the_first():
    three = [contender("a", [0] * 50), contender("b", [0] * 50), contender("c", binary(30, 50))]
    result = contrast(three, split="test")
    low = paired_interval(binary(30, 50), seed=0).low
    assert 0.4 < low < 0.6
    assert result.gate(low - 1e-6).passed
    assert not result.gate(low).passed
    assert result.gate(0.4).line == (
        f"gate passed: c gains +0.60 {result.pairs[1].interval} over a: the lower end is above the bar +0.40"
    )
    assert "the lower end is not above the bar +0.60" in result.gate(0.6).line
    surer = contrast(three, split="test", confidence=0.999)
    assert surer.pairs[1].interval.low < low
    assert not surer.gate(low - 1e-6).passed
    with pytest.raises(ConfigError, match="min_gain"):
        result.gate(float("nan"))


def test_a_prompt_against_itself_passes_bars_up_to_zero():
    prompt = Prompt("p")
    result = contrast(
        [contender("old", binary(3, 9), prompt=prompt), contender("new", binary(3, 9), prompt=prompt)],
        split="test",
    )
    assert result.pairs[0].words == "the same prompt"
    assert [result.gate(bar).passed for bar in (-0.02, 0.0, 0.01)] == [True, True, False]
    other = contrast([contender("old", binary(3, 9)), contender("new", binary(3, 9))], split="test")
    assert not other.gate(0.0).passed  # two prompts that happened to agree: that is an estimate


def test_a_gate_at_zero_lets_equal_prompts_through_as_rarely_as_its_confidence_says():
    rng = random.Random(5)
    passed = 0
    for _ in range(300):
        shared = [rng.random() for _ in range(80)]
        draws = [[float(rng.random() < ease) for ease in shared] for _ in range(2)]
        result = contrast([contender("a", draws[0]), contender("b", draws[1])], split="test")
        passed += result.gate(0.0).passed
    assert passed <= 300 * 0.025 + 3 * (300 * 0.025 * 0.975) ** 0.5
