"""The verdict: its numbers, its last line, its refusals, and that it does not cry wolf."""

import json

import numpy as np
import pytest
from evaluations import evaluation
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.errors import ContractError
from promptopt.prompt import Prompt
from promptopt.proof import stats
from promptopt.proof.finals import decide
from promptopt.proof.stats import Interval, mcnemar_exact, mean_interval, paired_interval, permutation_test
from promptopt.proof.verdict import Verdict, judge, judge_reused
from promptopt.records import Cell, Evaluation, Score


def compare(before, after, **options):
    return judge(evaluation("seed", before), evaluation("best", after), seed=0, **options)


def test_a_reliable_improvement_has_its_numbers_in_one_line():
    before, after = [1] * 46 + [0] * 104, [1] * 40 + [0] * 6 + [1] * 47 + [0] * 57
    verdict = compare(before, after)
    assert verdict.n == 150
    assert verdict.baseline == pytest.approx(46 / 150)
    assert verdict.baseline_interval == mean_interval(before)
    assert verdict.best == pytest.approx(87 / 150)
    assert verdict.difference == pytest.approx(41 / 150)
    differences = [b - a for a, b in zip(before, after, strict=True)]
    assert verdict.interval == paired_interval(differences, seed=0)
    assert verdict.p == mcnemar_exact(6, 47)
    assert verdict.test == "mcnemar"
    assert verdict.reliable
    assert verdict.notes == ()
    assert verdict.line == (
        "baseline 0.31 [.24,.38] -> best 0.58 [.50,.66] on 150 held-out rows; paired +0.27 [.19,.36], p<.001"
    )


def test_an_unreliable_improvement_shows_its_numbers_and_says_so():
    verdict = compare([0] * 20 + [1] * 20, [1] * 3 + [0] * 17 + [1] * 19 + [0])
    assert not verdict.reliable
    assert verdict.p == mcnemar_exact(1, 3)
    assert verdict.line.startswith(
        "baseline 0.50 [.35,.65] -> best 0.55 [.40,.69] on 40 held-out rows; paired +0.05 ["
    )
    assert verdict.line.endswith("], p=.625: no reliable improvement; keep your prompt")


def test_a_worse_winner_is_never_reliable():
    verdict = compare([1] * 50, [0] * 50)
    assert verdict.p < 0.001
    assert not verdict.reliable
    assert "paired -1.00 [-1.00," in verdict.line


def test_the_seed_prompt_as_winner_has_the_short_line():
    same = evaluation("seed", [1] * 46 + [0] * 104)
    verdict = judge(same, same, seed=0)
    assert verdict.same_prompt
    assert not verdict.reliable
    assert (verdict.difference, verdict.interval, verdict.p) == (0.0, Interval(0.0, 0.0), 1.0)
    assert verdict.line == (
        "baseline 0.31 [.24,.38] on 150 held-out rows: no reliable improvement; keep your prompt"
    )


def test_log_likelihoods_meet_the_permutation_test():
    rng = np.random.default_rng(0)
    before = rng.normal(-1.23, 0.3, 60)
    after = before + rng.normal(0.2, 0.2, 60)
    verdict = compare(before, after)
    assert verdict.test == "permutation"
    assert verdict.p == permutation_test(after - before, seed=0)
    assert verdict.reliable
    assert verdict.line.startswith("baseline -1.2")
    assert " [-1." in verdict.line
    assert "paired +0.2" in verdict.line


def test_rows_without_both_scores_are_left_out_and_noted():
    before = [0] * 18 + [None, None]
    after = [1] * 19 + [None]
    verdict = compare(before, after)
    assert verdict.n == 18
    assert verdict.comparable
    assert verdict.baseline == 0
    assert verdict.notes == ("2 of 20 rows left out: a prompt has no score there",)


def test_too_many_failures_are_not_compared():
    verdict = compare([0] * 40, [1] * 30 + [None] * 10)
    assert not verdict.comparable
    assert not verdict.reliable
    assert verdict.p < 0.001
    assert "best prompt not comparable: 10 of 40 cells failed" in verdict.notes
    assert verdict.line.endswith(
        "p<.001; not comparable, too many failed cells: no reliable improvement; keep your prompt"
    )


@pytest.mark.parametrize(("before", "after"), [([], []), ([None] * 5, [1] * 5), ([None] * 5, [None] * 5)])
def test_no_scored_row_is_a_verdict_too(before, after):
    verdict = compare(before, after)
    assert verdict.n == 0
    assert verdict.baseline is None
    assert verdict.interval is None
    assert not verdict.reliable
    assert verdict.line.startswith("no held-out row has both scores")
    assert verdict.line.endswith("no reliable improvement; keep your prompt")
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict


def test_one_row_proves_nothing():
    verdict = compare([0], [1])
    assert verdict.p == 1
    assert not verdict.reliable
    assert "on 1 held-out row;" in verdict.line
    assert verdict.notes == ("fewer than 6 independent rows: no improvement can be reliable",)


@pytest.mark.parametrize("level", [0, 1, 0.5, -3.7])
def test_all_ties_have_an_interval_around_zero(level):
    verdict = compare([level] * 30, [level] * 30)
    assert verdict.difference == 0
    assert verdict.interval.low < 0 < verdict.interval.high
    assert verdict.p == 1
    assert not verdict.reliable


def test_rows_that_share_a_group_count_as_one():
    before, after = [0] * 12, [1] * 12
    groups = {str(row): f"g{row // 6}" for row in range(12)}
    verdict = compare(before, after, groups=groups)
    assert compare(before, after).reliable
    assert verdict.test == "permutation"
    assert verdict.p == 0.5
    assert not verdict.reliable
    assert verdict.notes == (
        "rows share groups: 12 rows are 2 independent units",
        "fewer than 6 independent rows: no improvement can be reliable",
    )
    alone = {str(row): None if row % 2 else f"g{row}" for row in range(12)}
    assert compare(before, after, groups=alone) == compare(before, after)


def test_lost_answers_are_noted():
    cells = tuple(Cell("best", str(row), score=Score(0.0, parsed=row > 3)) for row in range(10))
    verdict = judge(evaluation("seed", [0] * 10), Evaluation("best", "exact_match", cells), seed=0)
    assert verdict.notes == (
        "output format: replies without a readable answer 0% -> 40% (0 of 10 -> 4 of 10)",
    )


# --- without a test split --------------------------------------------------------------------------


def reuse(*scores, **options):
    """Judge the finals of a seed prompt and others on the rows they met."""
    prompts = [Prompt("x" * (place + 5)) for place in range(len(scores))]
    evaluations = [evaluation(p.id, values) for p, values in zip(prompts, scores, strict=True)]
    finals = decide(prompts, evaluations, seed=0, **options)
    return judge_reused(finals, evaluations[0], seed=0, **options)


def test_reused_rows_are_labelled_and_prove_nothing():
    verdict = reuse([0] * 40, [1] * 30 + [0] * 10)
    assert not verdict.held_out
    assert verdict.likely
    assert not verdict.reliable
    assert (verdict.n, verdict.baseline, verdict.difference) == (40, 0, pytest.approx(0.75))
    plain = paired_interval([1.0] * 30 + [0.0] * 10, seed=0)
    assert verdict.interval.low <= plain.low < plain.high <= verdict.interval.high
    # One finalist, better on every row that tells them apart: nothing depends on the choice.
    assert verdict.interval.high - verdict.interval.low < 1.1 * (plain.high - plain.low)
    assert verdict.line.startswith("baseline 0.00 [.00,.09] -> best 0.75 [.60,.86] on 40 reused rows; paired")
    assert verdict.line.endswith("; estimated on reused rows; not a held-out proof: likely better")
    assert verdict.notes[0].startswith("no test split")
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))) == verdict


def test_a_narrow_gain_on_reused_rows_is_not_even_likely():
    verdict = reuse([0] * 20 + [1] * 20, [1] * 3 + [0] * 17 + [1] * 19 + [0])
    assert not verdict.likely
    assert verdict.line.endswith(
        "estimated on reused rows; not a held-out proof: no reliable improvement; keep your prompt"
    )


def test_the_gain_on_reused_rows_is_not_that_of_the_luckiest():
    flattered, told = [], []
    for seed in range(60):
        table = np.random.default_rng(seed).random((6, 40)) < 0.5
        verdict = reuse(*table.tolist())
        if not verdict.same_prompt:
            flattered.append(max(table.mean(axis=1)) - table[0].mean())
            told.append(verdict.difference)
    assert np.mean(told) < np.mean(flattered) / 2


def test_a_seed_prompt_kept_on_reused_rows():
    verdict = reuse([1] * 30 + [0] * 10, [1] * 20 + [0] * 20)
    assert verdict.same_prompt
    assert verdict.interval == Interval(0.0, 0.0)
    assert verdict.line == (
        "baseline 0.75 [.60,.86] on 40 reused rows; estimated on reused rows; not a held-out proof: "
        "no reliable improvement; keep your prompt"
    )
    assert reuse([1] * 30 + [0] * 10).same_prompt


def test_reused_rows_of_a_group_count_as_one():
    groups = {str(row): f"g{row // 10}" for row in range(40)}
    assert reuse([0] * 40, [1] * 30 + [0] * 10).likely
    grouped = reuse([0] * 40, [1] * 30 + [0] * 10, groups=groups)
    assert not grouped.likely
    assert "rows share groups: 40 rows are 4 independent units" in grouped.notes


def test_reused_rows_without_scores_are_a_verdict_too():
    verdict = reuse([None] * 10, [1] * 10)
    assert (verdict.n, verdict.likely) == (0, False)
    assert verdict.line.startswith("no select row has both scores; estimated on reused rows")


def test_scores_of_two_rewards_are_refused():
    with pytest.raises(ContractError, match="two rewards"):
        judge(evaluation("seed", [0, 1]), evaluation("best", [0, 1], "token_f1"), seed=0)


values = st.none() | st.sampled_from([0.0, 1.0]) | st.floats(-20, 20).map(lambda x: round(x, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(values, values), max_size=30), st.booleans())
def test_every_verdict_is_finite_consistent_and_survives_json(pairs, grouped):
    groups = {str(row): f"g{row % 7}" for row in range(len(pairs))} if grouped else None
    verdict = compare([a for a, _ in pairs], [b for _, b in pairs], groups=groups)
    plain = json.dumps(verdict.to_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(plain)) == verdict
    assert json.loads(plain)["line"] == verdict.line
    assert "\n" not in verdict.line
    assert "nan" not in verdict.line
    assert verdict.n == sum(a is not None and b is not None for a, b in pairs)
    if verdict.n:
        assert verdict.difference in verdict.interval
        assert verdict.difference == pytest.approx(verdict.best - verdict.baseline, abs=1e-9)
    if verdict.reliable:
        assert verdict.comparable
        assert verdict.interval.low > 0
        assert verdict.p < 0.05
    else:
        assert verdict.line.endswith("no reliable improvement; keep your prompt")
    assert 0 < verdict.p <= 1


@pytest.mark.parametrize("kind", ["independent", "correlated", "real"])
def test_equal_prompts_are_called_better_in_at_most_five_percent(monkeypatch, kind):
    monkeypatch.setattr(stats, "RESAMPLES", 1_000)
    cried = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        level = rng.random(60)
        if kind == "real":
            before, after = (level + rng.normal(0, 0.2, 60) for _ in range(2))
        else:
            difficulty = level if kind == "correlated" else 0.5
            before, after = (rng.random(60) < difficulty for _ in range(2))
        verdict = judge(evaluation("seed", before), evaluation("best", after), seed=seed)
        cried += verdict.reliable
    assert cried / 400 <= 0.05


def test_a_clear_gain_is_found():
    found = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        before, after = rng.random(150) < 0.4, rng.random(150) < 0.65
        found += judge(evaluation("seed", before), evaluation("best", after), seed=seed).reliable
    assert found >= 48
