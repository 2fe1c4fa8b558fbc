"""Reading replies (tags, lists, fences), showing traces, and holding back what is not new."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import SEED, numbered

from promptopt.errors import ConfigError
from promptopt.prompt import Prompt
from promptopt.records import Cell, Evaluation, Example, FrozenMap, Score
from promptopt.search._parts import SYSTEM, parts_of
from promptopt.search._replies import Sieve, read_block, read_instructions, read_items, read_reasons
from promptopt.search._traces import errors, show_traces, traces
from promptopt.template import Template

ALPHABET = st.sampled_from(
    ["a", "B", " ", "\n", "```", "<START>", "<END>", "1. ", "- ", "**", ":", ".", "{{x}}"]
)
REPLIES = st.lists(ALPHABET, max_size=30).map("".join)


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("It is vague.", ["It is vague."]),
        ("Here is why:\n\nIt is vague.\n\nHope this helps!", ["It is vague."]),
        ("<START>one<END> and <START> two\nlines <END>", ["one", "two\nlines"]),
        ("<start>one</START><START>two</END>", ["one", "two"]),
        ("<START>one<END><START>cut of", ["one"]),
        ("<START>cut of", []),
        ("Reasons:\n1. It is vague.\n2) It is short.\n\nHope this helps!", ["It is vague.", "It is short."]),
        ("- first\n  goes on\n* second", ["first\n  goes on", "second"]),
        ("**1.** Bold.\n(2) Braced.", ["Bold.", "Braced."]),
        ("```\n1. fenced\n```", ["fenced"]),
        ("<think>\n1. hm\n</think>\nIt is vague.", ["It is vague."]),
        ("2.5 is wrong", ["2.5 is wrong"]),
        ("", []),
        (" \n\n ", []),
        ("The reasons are:", []),
    ],
)
def test_a_reply_is_taken_apart(reply, items):
    assert read_items(reply) == items


def test_reasons_are_different_short_lines_with_words_in_them():
    reply = "1. It is\n   vague.\n2. 42\n3. It is vague.\n4. " + "x" * 51 + "\n5. It is short.\n6. It is odd."
    assert read_reasons(reply, 2, 50) == ["It is vague.", "It is short."]


def test_a_list_is_one_instruction_unless_several_were_asked_for():
    reply = "1. Write it.\n2. Say it."
    assert read_instructions(reply, 1, 50) == [reply]
    assert read_instructions(reply, 3, 50) == ["Write it.", "Say it."]
    assert read_instructions("<START>to write it<END>", 1, 50) == ["write it"]
    assert read_instructions("...", 1, 50) == read_instructions("", 3, 50) == [None]
    assert read_instructions("<START>cut", 1, 50) == [None]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Sure:\n```\nWrite it.\n\n- well\n```\nDone.", "Write it.\n\n- well"),
        ("```\nfirst\n```\nBetter:\n```text\nsecond\n```", "second"),
        ("```Write it.```", "Write it."),
        ("Write `it` now.\n\nBecause.", "Write `it` now."),
        ("<START>Write it.<END>", "Write it."),
        ("```\nWrite it, and th", None),
        ("<START>Write it, and th", None),
        ("```\n...\n```", None),
        ("```\n" + "x" * 61 + "\n```", None),
        ("", None),
    ],
)
def test_a_block_is_read_whole(reply, text):
    assert read_block(reply, 60) == text


@settings(deadline=None)
@given(REPLIES, st.integers(1, 4))
def test_reading_survives_anything(reply, most):
    for item in read_items(reply):
        assert item == item.strip()
        assert item
    assert len(read_reasons(reply, most, 20)) <= most
    assert all(len(reason) <= 20 and "\n" not in reason for reason in read_reasons(reply, most, 20))
    assert 1 <= len(read_instructions(reply, most, 20)) <= most or "<START>" in reply
    block = read_block(reply, 20)
    assert block is None or (0 < len(block) <= 20 and block == block.strip())


@settings(deadline=None)
@given(st.lists(st.text("abc .", min_size=1, max_size=9).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_tagged_texts_come_back_as_they_were(texts):
    assert read_items("Here:\n" + "\n".join(f"<START>{text}<END>" for text in texts)) == texts


# --- what is held back ------------------------------------------------------------------------------


def test_the_sieve_lets_a_text_through_once_and_counts_the_rest():
    sieve = Sieve(SEED, numbered(3))
    assert sieve.child(SEED, "Try it.", "x").parents == (SEED.id,)
    for text in (None, "Do  it.", "Try\nit.", "write in1 -> out1", "Try it."):
        assert sieve.child(SEED, text, "x") is None
    assert sieve.held == {"unreadable": 1, "repeated": 3, "quoting a row": 1}
    assert sieve.passed == 1
    sieve.check_readable("x", [])


def test_a_template_part_takes_no_slots_from_a_model():
    seed = Prompt("Do it.", template=Template(system="Be brief."))
    assert parts_of(seed, ("system", "instruction", "system"), "x")[0] is SYSTEM
    sieve = Sieve(seed)
    assert sieve.child(seed, "Use {{input}}.", "x", SYSTEM) is None
    child = sieve.child(seed, "Be kind.", "x", SYSTEM)
    assert (child.template.system, child.instruction) == ("Be kind.", "Do it.")
    jinja = Prompt("Do it.", template=Template(system="Be brief.", engine="jinja"))
    assert Sieve(jinja).child(jinja, "{% if x %}", "x", SYSTEM) is None


@pytest.mark.parametrize(
    ("system", "names", "message"),
    [
        ("", ("system",), "is empty"),
        ("{{instruction}}", ("system",), "not plain text"),
        ("Be brief.", ("sytem",), "did you mean 'system'"),
        ("Be brief.", (), "no part to change"),
    ],
)
def test_parts_that_cannot_be_changed_are_an_error(system, names, message):
    with pytest.raises(ConfigError, match=message):
        parts_of(Prompt("Do it.", template=Template(system=system)), names, "x")


# --- traces -----------------------------------------------------------------------------------------


def cell(row, value, output="o", feedback="", sample=0):
    return Cell("p", row, sample, output=output, score=Score(value, feedback))


def test_a_rows_worst_sample_is_its_trace_and_failed_cells_have_none():
    failed = Cell("p", "b", status="failed", reason="down")
    cells = (cell("a", 1.0), cell("a", 0.0, "bad", sample=1), failed, cell("c", 1.0))
    found = traces(Evaluation("p", "r", cells))
    assert [(its.example, its.output) for its in found] == [("a", "bad"), ("c", "o")]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ([1.0, 0.0, 0.5], [1, 2]),
        ([1.0, 1.0], []),
        ([-2.0, -0.1], [0, 1]),
        ([7.0, 9.0, 1.0], [0, 2]),
        ([5.0, 5.0], [0, 1]),
    ],
)
def test_errors_are_what_could_have_scored_more(values, wrong):
    cells = tuple(cell(str(i), value) for i, value in enumerate(values))
    assert [its.example for its in errors(Evaluation("p", "r", cells))] == [str(i) for i in wrong]


def test_a_trace_shows_every_field_and_leaves_out_lines_with_nothing_to_say():
    rows = {
        "a": Example("a", FrozenMap(user_name="Ann", text="{{text}}"), ("yes",)),
        "b": Example("b", FrozenMap(user_name="Bob", text="hi")),
    }
    cells = [cell("a", 0.0, "no", "too short"), cell("b", 0.0, "")]
    assert show_traces(cells, rows, ("user_name", "text")) == (
        "Input: User name: Ann\nText: {{text}}\nOutput: no\nExpected: yes\nFeedback: too short\n\n"
        "Input: User name: Bob\nText: hi\nOutput: "
    )
    assert show_traces(cells[:1], rows, ("user_name", "text"), "{{text}}={{output}}") == "{{text}}=no"


@pytest.mark.parametrize(
    ("feedback", "shown"),
    [
        ("expected 'Yes' but the reply was 'no'", False),
        ("correct", False),
        ("", False),
        ("expected 'yes' but the reply was 'no' (case counts)", True),
    ],
)
def test_feedback_that_repeats_output_and_answer_is_left_out(feedback, shown):
    row = Example("a", FrozenMap(input="x"), ("yes",))
    text = show_traces([cell("a", 0.0, "no", feedback)], {"a": row}, ("input",))
    assert ("Feedback: " in text) is shown
