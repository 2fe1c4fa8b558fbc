"""How instructions are read out of replies, and which prompts are let through."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import SEED, Scripted

from promptopt.errors import ModelError, TemplateError
from promptopt.prompt import Prompt
from promptopt.records import Cell, Evaluation, Score
from promptopt.search._author import Author, need_slots, read_proposal
from promptopt.search._fitness import fitness, roulette


def author(session, **changes):
    return Author(session, "searcher x", 1.0, 1.0, 50, changes.pop("max_chars", 100), **changes)


@pytest.mark.parametrize(
    ("reply", "instruction"),
    [
        ("Write it.", "Write it."),
        ("1. Crossover Prompt: One.\n2. <prompt>Write it.</prompt>", "Write it."),
        ("<prompt>First.</prompt>\n<PROMPT>\nWrite it.\n</PROMPT>", "Write it."),
        ("<INS>Write it.</INS>", "Write it."),
        ("2. <prompt>Write it and", None),
        ("[Write it.]", "Write it."),
        ("Here is the new text:\n\n[Write it.]", "Write it."),
        ("[Write it and", None),
        ("Write [it] twice.", "Write [it] twice."),
        ("1. Write it.\n2. Say it.", "Write it."),
        ("Here are some hints:\n\n1) Write it.\n\n2) Say it.", "Write it."),
        ("- Write it.", "Write it."),
        ("**1.** Write it.\n**2.** Say it.", "Write it."),
        ("3 letters are enough.", "3 letters are enough."),
        ("Do this:\n1. Write it.\n2. Stop.", "Do this:\n1. Write it.\n2. Stop."),
        ("```\n1. Write it.\n```", "Write it."),
        ("<think>[Hm</think>Write it.", "Write it."),
        ("[]", None),
        ("1. ", None),
        ("<prompt></prompt>", None),
        ("x" * 101, None),
        ("", None),
    ],
)
def test_one_instruction_is_read_out_of_a_reply(reply, instruction):
    assert read_proposal(reply, 100) == instruction


@given(st.text(alphabet=st.sampled_from("ab 1.)-[]<>/\n*`prompt"), max_size=60))
def test_reading_survives_anything_and_gives_trimmed_text(reply):
    text = read_proposal(reply, 40)
    if text is not None:
        assert text == text.strip()
        assert 0 < len(text) <= 40


def test_replies_stay_with_what_was_asked():
    session = Scripted(lambda text, i: {"a": "One.", "b": "...", "c": None, "d": "Four."}[text])
    one = author(session)
    assert one.draw_each(["a", None, "b", "c", "d"]) == ["One.", None, None, None, "Four."]
    assert session.proposals == [["a", "b", "c", "d"]]
    assert (one.replies, one.unusable) == (3, 1)
    assert session.options == [{"n": 1, "temperature": 1.0, "top_p": 1.0, "max_tokens": 50}]


def test_nothing_is_asked_when_nothing_is_to_be_asked():
    session = Scripted()
    assert author(session).draw_each([None, None]) == [None, None]
    assert session.proposals == []


def test_quoted_rows_and_what_is_not_allowed_are_held_back():
    session = Scripted(lambda text, i: ["Say in1 becomes out1.", "Say no.", "Say yes."][i])
    one = author(session, allows=lambda text: "no" not in text)
    assert one.draw(["ask"], 3) == [["Say yes."]]
    assert (one.replies, one.unusable) == (3, 2)


def test_a_prompt_is_let_through_once_with_all_its_parents():
    one = author(Scripted())
    assert one.know(SEED)
    mate = Prompt("Other.")
    child = one.child("Write  it.", [SEED, mate, SEED], "x")
    assert (child.instruction, child.parents, child.origin) == ("Write  it.", (SEED.id, mate.id), "x")
    assert one.child("Write it.", [mate], "x") is None
    assert one.child("Do it.", [mate], "x") is None
    assert one.child(None, [mate], "x") is None
    assert (one.passed, one.repeated) == (1, 2)


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
