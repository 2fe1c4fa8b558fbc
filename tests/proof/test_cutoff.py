"""What replies lose that the token limit ends, and when it is told."""

import json

from hypothesis import given
from hypothesis import strategies as st

from promptopt.proof.cutoff import Cut, Cutoff, cut_notes
from promptopt.records import Cell, Evaluation, Score

SETTING = "target.decoding.max_tokens"


def evaluation(cut=(), whole=(), *, parsed=True, limit=16, failed=0):
    """Return cells with these values, those that were cut and the others."""
    values = [(value, limit) for value in cut] + [(value, 0) for value in whole]
    cells = [
        Cell("p", str(row), score=Score(value, parsed=parsed), cut=at)
        for row, (value, at) in enumerate(values)
    ]
    cells += [Cell("p", f"f{row}", status="failed", reason="timeout", cut=limit) for row in range(failed)]
    return Evaluation("p", "r", tuple(cells))


def told(*evaluations):
    return cut_notes([Cut(f"prompt {i}", SETTING, Cutoff.of(one)) for i, one in enumerate(evaluations)])


def test_replies_that_are_all_cut_and_all_wrong_are_told_with_number_limit_and_cure():
    assert told(evaluation(cut=[0.0] * 44)) == (
        "target.decoding.max_tokens: seems to end replies before they have answered; got 44 of 44 answers of "
        "prompt 0 cut at 16 tokens, 100% of their score lost; raise it",
    )


def test_those_that_lose_more_than_the_others_are_told_beside_them():
    (note,) = told(evaluation(cut=[0.0] * 9 + [1.0], whole=[1.0] * 15 + [0.0] * 5))
    assert (
        "got 10 of 30 answers of prompt 0 cut at 16 tokens, 90% of their score lost (25% of the others')"
        in note
    )


def test_cutting_what_comes_after_the_answer_is_not_told():
    assert told(evaluation(cut=[1.0] * 40)) == ()
    assert told(evaluation(cut=[1.0] * 24 + [0.0] * 16)) == ()
    assert told(evaluation(cut=[1.0] * 6 + [0.0] * 4, whole=[1.0] * 6 + [0.0] * 4)) == ()


def test_a_few_that_are_cut_among_many_are_not_told():
    assert told(evaluation(cut=[0.0] * 4, whole=[1.0] * 46)) == ()
    assert told(evaluation(cut=[0.0] * 6, whole=[1.0] * 44)) != ()


def test_where_the_others_are_as_wrong_the_cut_is_not_to_blame():
    assert told(evaluation(cut=[0.0] * 10, whole=[0.0] * 30)) == ()


def test_one_reply_that_happens_to_be_whole_does_not_silence_it():
    assert told(evaluation(cut=[0.0] * 29, whole=[0.0])) != ()


def test_nothing_is_said_where_nothing_was_cut_or_nothing_answered():
    assert told(evaluation(whole=[0.0] * 9), evaluation(), evaluation(failed=5)) == ()


def test_rewards_without_a_scale_lose_what_cannot_be_read():
    assert told(evaluation(cut=[-3.0] * 9)) == ()
    assert told(evaluation(cut=[-3.0] * 9, parsed=False)) != ()


def test_prompts_that_one_setting_cuts_share_a_line_the_worst_first():
    mild, bad = Cutoff.of(evaluation(cut=[0.0] * 9 + [1.0])), Cutoff.of(evaluation(cut=[0.0] * 10, limit=8))
    other = Cut("the program least_to_most", "target.decoding.reasoning_tokens", bad)
    first, second = cut_notes(
        [Cut("your prompt", SETTING, mild), Cut("the best prompt", SETTING, bad), other]
    )
    assert (
        "10 of 10 answers of the best prompt cut at 8 tokens, 100% of their score lost; your prompt likewise"
        in first
    )
    assert second.startswith("target.decoding.reasoning_tokens: ")


def test_failed_cells_are_no_answers():
    assert Cutoff.of(evaluation(cut=[0.0], failed=3)) == Cutoff(1, 1, 16, 1.0, 0.0)


def test_it_comes_back_from_plain_data():
    cut = Cut("your prompt", SETTING, Cutoff.of(evaluation(cut=[0.0, 0.5], whole=[0.25])))
    assert Cut.from_dict(json.loads(json.dumps(cut.to_dict()))) == cut
    assert cut.to_dict()["harmful"] == cut.counts.harmful


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), max_size=30), st.integers(0, 30))
def test_sums_over_parts_are_those_of_the_whole(cells, at):
    def counts(some):
        return Cutoff.of(evaluation([v for v, cut in some if cut], [v for v, cut in some if not cut]))

    assert counts(cells[:at]) + counts(cells[at:]) == counts(cells)
