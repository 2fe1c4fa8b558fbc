"""The author: what is held back, which prompts are let through, what is told; and fitness."""

import random
from dataclasses import replace

import pytest
from scripted import SEED, Scripted

from promptopt.errors import BudgetExhausted, ModelError, TemplateError
from promptopt.prompt import Prompt
from promptopt.records import Cell, Evaluation, Score
from promptopt.search._author import Author, Known, need_slots
from promptopt.search._fitness import fitness, roulette
from promptopt.template import Template


def author(session, **changes):
    return Author(session, "x", 1.0, 1.0, 50, changes.pop("max_chars", 100), **changes)


def test_replies_stay_with_what_was_asked():
    session = Scripted(lambda text, i: {"a": "One.", "b": "...", "c": None, "d": "Four."}[text])
    one = author(session)
    assert one.draw_each(["a", None, "b", "c", "d"]) == ["One.", None, None, None, "Four."]
    assert session.proposals == [["a", "b", "c", "d"]]
    assert (one.asked, one.replies, one.usable, one.held) == (4, 3, 2, {"unreadable": 1})
    assert session.options == [{"n": 1, "temperature": 1.0, "top_p": 1.0, "max_tokens": 50}]


def test_nothing_is_asked_when_nothing_is_to_be_asked():
    session = Scripted()
    assert author(session).draw_each([None, None]) == [None, None]
    assert session.proposals == []


def test_quoted_rows_and_what_is_not_allowed_are_held_back():
    session = Scripted(lambda text, i: ["Say in1 becomes out1.", "Say no.", "Say yes."][i])
    one = author(session, allows=lambda text: "no" not in text)
    assert one.draw(["ask"], 3) == [["Say yes."]]
    assert (one.replies, one.held) == (3, {"quoting a row": 1, "not allowed": 1})


def test_a_prompt_is_let_through_once_with_all_its_parents():
    one = author(Scripted())
    assert one.known.add(SEED)
    mate = Prompt("Other.")
    child = one.child("Write  it.", [SEED, mate, SEED], "x")
    assert (child.instruction, child.parents, child.origin) == ("Write  it.", (SEED.id, mate.id), "x")
    assert one.child("Write it.", [mate], "x") is None
    assert one.child("Do it.", [mate], "x") is None
    assert one.child(None, [mate], "x") is None
    assert (one.passed, one.held) == (1, {"repeated": 2})


def test_an_author_without_a_usable_word_is_an_error():
    one = author(Scripted(lambda text, i: "..."))
    one.draw(["ask"], 4)
    with pytest.raises(
        ModelError, match=r"searcher x: the proposer's 4 replies hold no usable .* got '\.\.\.'"
    ):
        one.check()
    mute = author(Scripted(lambda text, i: None))
    mute.draw(["ask"], 4)
    with pytest.raises(ModelError, match="0 replies"):
        mute.check()
    able = author(Scripted(lambda text, i: ["...", "Say it."][i]))
    able.draw(["ask"], 2)
    able.check()


def test_several_instructions_of_a_reply_are_counted_one_by_one():
    one = author(Scripted(lambda text, i: ["a|...|b", "c"][i]))

    def read(reply):
        return [None if text == "..." else text for text in reply.split("|")]

    assert one.draw(["ask"], 2, read) == [["a", "b", "c"]]
    assert (one.usable, one.held) == (3, {"unreadable": 1})


def test_nothing_asked_is_no_error():
    author(Scripted()).check()


def test_white_space_makes_no_new_prompt_and_other_parts_do():
    known = Known()
    assert known.add(SEED)
    assert not known.add(Prompt(" Do\n it. "))
    assert known.add(replace(SEED, template=Template(system="Be brief.")))


def test_what_was_held_back_is_told_when_the_search_ends():
    session = Scripted(lambda text, i: ["Say it.", "...", "Say it.", "Do in2 -> out2."][i])
    with author(session) as one:
        for text in one.draw(["ask"], 4)[0]:
            one.child(text, [SEED], "x")
        assert session.notes == []
    assert session.notes == ["x: 3 of 4 proposals held back: 1 unreadable, 1 quoting a row, 1 repeated"]


@pytest.mark.parametrize(
    ("error", "told"), [(BudgetExhausted("budget", "is used up"), 1), (ModelError("x", "y"), 0)]
)
def test_it_is_told_at_the_end_of_the_budget_and_not_beside_an_error(error, told):
    session = Scripted()
    one = author(session)
    one.hold("unreadable", "...")
    with pytest.raises(type(error)), one:
        raise error
    assert len(session.notes) == told


def test_nothing_is_told_when_there_is_nothing_to_tell():
    session = Scripted()
    with author(session) as one:
        one.child(one.draw(["ask"])[0][0], [SEED], "x")
    assert session.notes == []


def test_steps_in_a_row_without_news_end_a_search_which_is_told():
    session = Scripted()
    one = author(session)
    assert [one.is_over(new, 2) for new in (False, True, False, True, False)] == [False] * 5
    assert session.notes == []
    assert one.is_over(False, 2)
    assert session.notes == ["x: ends here, after 2 steps in a row without a new prompt"]


def test_a_meta_prompt_that_lacks_a_slot_is_an_error():
    need_slots("here", "{{a}} {{ b }}", "a", "b")
    with pytest.raises(TemplateError, match=r"here: has no {{c}}"):
        need_slots("here", "{{a}}", "a", "c")


# --- fitness ----------------------------------------------------------------------------------------


def evaluation(*values):
    cells = [
        Cell("p", str(i), status="failed") if v is None else Cell("p", str(i), score=Score(v))
        for i, v in enumerate(values)
    ]
    return Evaluation("p", "task", tuple(cells))


def test_fitness_is_the_mean_or_nothing_at_all():
    assert fitness(evaluation(1.0, 0.0)) == 0.5
    assert fitness(evaluation(1.0, None)) == float("-inf")


def shares(scores, n=4000):
    rng = random.Random(0)
    drawn = [roulette(rng, scores) for _ in range(n)]
    return [drawn.count(place) / n for place in range(len(scores))]


def test_the_wheel_turns_in_proportion_to_the_scores():
    assert shares([0.1, 0.3, 0.6]) == pytest.approx([0.1, 0.3, 0.6], abs=0.03)
    assert shares([0.0, 0.5, float("-inf")]) == [0, 1, 0]


def test_the_wheel_counts_negative_scores_from_the_lowest():
    assert shares([-3.0, -2.0, -1.0]) == pytest.approx([0, 1 / 3, 2 / 3], abs=0.03)


def test_the_wheel_is_fair_where_nothing_has_merit():
    assert shares([0.0, 0.0, float("-inf")]) == pytest.approx([0.5, 0.5, 0], abs=0.03)
    assert shares([float("-inf")] * 2) == pytest.approx([0.5, 0.5], abs=0.03)
