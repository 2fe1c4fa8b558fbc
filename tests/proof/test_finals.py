"""The finals: who wins, why, on which rows; and what became of it on the test rows."""

import json

import pytest
from evaluations import evaluation

from promptopt.prompt import Prompt
from promptopt.proof.finals import decide
from promptopt.proof.gap import validation_gap
from promptopt.proof.verdict import judge

SEED, SHORT, LONG = Prompt("Do it."), Prompt("Do it well."), Prompt("Do it as well as you can, please.")


def ones(n, of=40):
    return [1] * n + [0] * (of - n)


def meet(*scores, prompts=(SEED, SHORT, LONG), **options):
    pairs = zip(prompts, scores, strict=False)
    evaluations = [evaluation(prompt.id, values) for prompt, values in pairs]
    return decide(prompts[: len(scores)], evaluations, seed=0, **options)


def test_a_clear_winner_says_why():
    finals = meet(ones(10), ones(12), ones(30))
    assert finals.winner == LONG.id
    assert finals.rows == 40
    assert finals.gain == pytest.approx(0.5)
    assert finals.why == (
        "highest mean on 40 select rows: 0.75, nothing else above your prompt is within the noise"
    )


def test_inside_the_band_the_shorter_wins_and_the_reason_has_the_numbers():
    finals = meet(ones(10), ones(29), ones(30))
    assert finals.winner == SHORT.id
    assert finals.why == (
        "shortest (11 characters) of 2 prompts within the noise on 40 select rows (one paired standard "
        "error): 0.72, only 0.025 behind a prompt of 33 characters, with a standard error of 0.025"
    )
    assert [standing.inside for standing in finals.standings] == [False, True, True]


def test_level_prompts_and_the_shorter_is_the_leader():
    finals = meet(ones(10), ones(30), ones(30))
    assert finals.winner == SHORT.id
    assert finals.why.startswith("highest mean (0.75) and the shortest (11 characters) of 2 prompts within")


def test_the_seed_prompt_stays_on_a_tie():
    tie = meet(ones(30), ones(30), ones(12))
    assert tie.winner == SEED.id
    assert tie.gain == 0
    assert tie.why == (
        "your prompt stays: no finalist is above its 0.75 on 40 select rows; a tie does not move it"
    )
    assert "tie" not in meet(ones(30), ones(20)).why


def test_finalists_are_compared_on_the_rows_all_of_them_have():
    # On its own rows LONG has .78; where both have scores, SHORT is ahead on every second row.
    finals = meet(ones(0, 20), [1] * 16 + [0] * 4, [None, None] + [1] * 14 + [0] * 4)
    assert finals.rows == 18
    assert finals.standings[1].mean == pytest.approx(14 / 18)
    assert finals.winner == SHORT.id


def test_a_prompt_with_too_many_failures_is_out():
    finals = meet(ones(10), ones(12), [1] * 30 + [None] * 10)
    assert finals.winner == SHORT.id
    assert finals.rows == 40
    assert finals.standings[2].mean is None


def test_finals_without_a_rival():
    assert "nothing else was scored" in meet(ones(10)).why
    assert meet(ones(10), [None] * 40).winner == SEED.id
    lost = meet([None] * 40, ones(5), ones(9))
    assert lost.winner == LONG.id
    assert lost.why.startswith("too many cells of your prompt failed")
    assert meet([None] * 40, [None] * 40).winner == SEED.id
    assert lost.corrected_gain is None


def test_groups_reach_the_band_and_the_correction():
    scores = (ones(5), ones(20), ones(24))
    groups = {str(row): f"g{row // 4}" for row in range(40)}
    assert meet(*scores).winner == LONG.id
    assert meet(*scores, groups=groups).winner == SHORT.id


def test_the_plain_data_is_json():
    data = json.loads(json.dumps(meet(ones(10), ones(29), ones(30)).to_dict(), allow_nan=False))
    assert data["winner"] == SHORT.id
    assert [standing["inside"] for standing in data["standings"]] == [False, True, True]
    assert data["corrected_gain"] <= data["gain"]


# --- the gap ---------------------------------------------------------------------------------------


def test_the_gap_is_select_minus_test_of_the_winner_and_of_its_gain():
    finals = meet(ones(10), ones(12), ones(30))
    verdict = judge(evaluation(SEED.id, ones(20, 50)), evaluation(LONG.id, ones(35, 50)), seed=0)
    gap = validation_gap(finals, verdict)
    assert gap.mean == pytest.approx(0.75 - 0.70)
    assert gap.gain == pytest.approx(0.5 - 0.3)
    assert gap.line == (
        "on the rows it was chosen on, the best of 3 had 0.75, a gain of +0.50 (+0.50 corrected for the "
        "choice); on the test rows 0.70, +0.30: a validation-test gap of +0.05 (+0.20 of the gain)"
    )
    assert json.loads(json.dumps(gap.to_dict()))["line"] == gap.line


def test_a_seed_prompt_that_stays_has_no_gap():
    finals = meet(ones(30), ones(12))
    same = evaluation(SEED.id, ones(20, 50))
    assert validation_gap(finals, judge(same, same, seed=0)) is None
