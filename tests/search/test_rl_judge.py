"""Rewards of the generator: who is held back, how values are shaped, and how the archive ranks."""

import math

import pytest
from scripted import Scripted, numbered

from promptopt.records import Cell, Evaluation, Score
from promptopt.search._rl_asks import Ask
from promptopt.search._rl_judge import PRIOR_ROWS, Archive, Judge, repetition
from promptopt.search._rl_options import Shaping

ASKS = [Ask("a"), Ask("b")]
PLAIN = Shaping(repetition_penalty=0.0)


def judge(value, shaping=PLAIN, n=4, block=2):
    session = Scripted(value=value, rows=numbered(n))
    return Judge(session, shaping, session.task.rows, block, max_chars=40), session


def by_text(prompt, row):
    return {"Good.": 1.0, "Fair.": 0.5, "Bad.": 0.0}[prompt.instruction]


def test_rewards_are_the_means_group_by_group_and_one_purchase_a_step():
    made, session = judge(by_text)
    judged = made.judge(1, ASKS, ["Good.", "Bad.", "Fair.", "Good."])
    assert judged.rewards == (1.0, 0.0, 0.5, 1.0)
    ((prompts, rows),) = session.scored
    assert [prompt.instruction for prompt in prompts] == ["Good.", "Bad.", "Fair."]
    assert rows == ["2", "3"]
    assert all(prompt.parents == (session.task.seed_prompt.id,) for prompt in prompts)
    assert judged.curves == {
        "score": 0.625, "best": made.archive.estimate(prompts[0]), "usable": 1.0, "unique": 0.75,
        "spread": 1.0, "words": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", [None, "", "...", "x" * 41, "in1 is out1 of course"], ids=["cut", "empty", "dots", "long", "row"]
)
def test_what_cannot_be_used_earns_less_than_the_worst_of_its_group_and_is_not_scored(text):
    made, session = judge(by_text)
    judged = made.judge(0, ASKS, ["Fair.", text, "Bad.", text])
    assert judged.rewards == (0.5, 0.0, 0.0, -0.5)
    assert {p.instruction for prompts, _ in session.scored for p in prompts} == {"Fair.", "Bad."}
    assert judged.curves["usable"] == 0.5


def test_a_group_without_a_usable_text_says_nothing():
    made, session = judge(by_text)
    judged = made.judge(0, ASKS, [None, "", "...", None])
    assert len(set(judged.rewards)) == 1
    assert judged.curves["spread"] == 0.0
    assert session.scored == []


def test_too_many_failed_cells_are_no_reward():
    made, _ = judge(lambda prompt, row: None if prompt.instruction == "Bad." else 1.0)
    assert made.judge(0, ASKS[:1], ["Good.", "Bad."]).rewards == (1.0, None)


def test_a_signal_is_added_with_its_weight():
    class Signalled(Scripted):
        def score(self, prompts, rows=None, reward=None):
            if reward is None:
                return super().score(prompts, rows)
            assert reward == "log_likelihood"
            return [
                Evaluation(
                    p.id, reward, tuple(Cell(p.id, r.id, score=Score(-len(p.instruction))) for r in rows)
                )
                for p in prompts
            ]

    session = Signalled(value=by_text)
    shaping = Shaping(signal="log_likelihood", signal_weight=0.1, repetition_penalty=0.0)
    made = Judge(session, shaping, session.task.rows, 2, max_chars=40)
    assert made.judge(0, ASKS[:1], ["Good.", "Bad."]).rewards == pytest.approx((0.5, -0.4))


def test_values_can_be_scored_row_by_row():
    values = {("Good.", "0"): 1.0, ("Bad.", "0"): 0.8, ("Good.", "1"): 0.0, ("Bad.", "1"): 1.0}
    made, _ = judge(
        lambda p, row: values[p.instruction, row.id], Shaping(per_input=True, repetition_penalty=0.0)
    )
    # Each row's two values are one standard deviation from their mean, however far apart they are.
    assert made.judge(0, ASKS[:1], ["Good.", "Bad."]).rewards == pytest.approx((0.0, 0.0))
    plain, _ = judge(lambda p, row: values[p.instruction, row.id])
    assert plain.judge(0, ASKS[:1], ["Good.", "Bad."]).rewards == pytest.approx((0.5, 0.9))


def test_only_the_top_share_is_told_apart():
    made, _ = judge(by_text, Shaping(top=0.5, repetition_penalty=0.0))
    judged = made.judge(0, ASKS[:1], ["Good.", "Bad.", "Fair.", "Bad."])
    assert judged.rewards == (1.0, 0.5, 0.5, 0.5)
    assert made.judge(0, ASKS[:1], ["Good.", None, "Bad.", "Bad."]).rewards == (1.0, -0.5, 0.0, 0.0)


def test_length_and_repetition_cost():
    made, _ = judge(lambda p, row: 1.0, Shaping(length_penalty=0.4, repetition_penalty=1.0))
    short, long = made.judge(0, ASKS[:1], ["Go on now.", "go on now go on now"]).rewards
    assert short == pytest.approx(1 - 0.4 * 10 / 40)
    assert long == pytest.approx(1 - 0.4 * 19 / 40 - 0.25)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("one two", 0.0), ("a b c d", 0.0), ("a b c a b c", 0.25), ("a a a a", 0.5)],
)
def test_repetition_is_the_share_of_runs_seen_before(text, share):
    assert repetition(text) == pytest.approx(share)


def test_a_text_that_talks_the_judge_into_scores_earns_what_cannot_be_used_does_and_is_kept_nowhere():
    made, session = judge(by_text)
    session.suspicious = {"Good."}
    judged = made.judge(0, ASKS[:1], ["Good.", "Fair.", "Bad.", "Good."])
    assert judged.rewards == (-0.5, 0.5, 0.0, -0.5)
    assert judged.curves["usable"] == 0.5
    assert [prompt.instruction for prompt in session.ruled_out] == ["Good."]
    assert {prompt.instruction for prompt in made.archive.prompts.values()} == {"Fair.", "Bad."}
    session.suspicious = set()
    assert made.judge(1, ASKS[:1], ["Good.", "Fair."]).rewards == (0.0, 0.5)
    assert "Good." not in {
        prompt.instruction for prompt in session.scored[-1][0]
    }  # it is not asked about again


def test_a_conditional_step_scores_each_group_on_its_own_row():
    made, session = judge(by_text)
    rows = session.task.rows
    made.judge(0, [Ask("a", rows[3]), Ask("b", rows[0])], ["Good.", "Bad.", "Fair.", "Fair."])
    assert [(len(prompts), its) for prompts, its in session.scored] == [(2, ["3"]), (1, ["0"])]


def test_worth_falls_back_on_the_prompt_to_beat():
    made, session = judge(lambda p, row: {"Good.": 1.0, "Do it.": 0.2}[p.instruction])
    assert made.worth(Ask("a", session.task.rows[0]), ["Good.", None]) == pytest.approx(0.6)


def test_the_archive_draws_small_samples_to_the_mean():
    archive, rows = Archive(), numbered(20)
    seed = Scripted().task.seed_prompt
    lucky, poor, steady = (seed.child(instruction=t, origin="rl") for t in ("Lucky.", "Poor.", "Steady."))

    def evaluation(prompt, values):
        cells = tuple(Cell(prompt.id, r.id, score=Score(v)) for r, v in zip(rows, values, strict=False))
        return Evaluation(prompt.id, "task", cells)

    archive.add(lucky, evaluation(lucky, [1.0]))
    archive.add(poor, evaluation(poor, [0.0] * 9))
    assert archive.mean == pytest.approx(1 / 10)
    assert archive.best(1) == [lucky]
    archive.add(steady, evaluation(steady, [0.9] * 20))
    assert archive.best(3) == [steady, lucky, poor]
    assert archive.estimate(lucky) == pytest.approx((1 + PRIOR_ROWS * archive.mean) / (1 + PRIOR_ROWS))
    assert not math.isnan(Archive().mean)


def test_the_archive_also_shows_who_is_ahead_on_hard_rows():
    made, _ = judge(lambda p, row: {"0": 0.9, "1": 0.0}[row.id] + (p.instruction == "Good.") * 0.1, block=1)
    made.judge(0, ASKS[:1], ["Fair.", "Bad.", "Poor."])
    made.judge(1, ASKS[:1], ["Good.", "Base.", "Dull."])
    good = next(p for p in made.archive.prompts.values() if p.instruction == "Good.")
    assert made.archive.estimate(good) < made.archive.mean < made.archive.estimate(made.archive.best(1)[0])
    assert made.archive.best(2)[1] == good
    assert made.archive.lead(good) > 0
    assert len(set(made.archive.best(9))) == 6
