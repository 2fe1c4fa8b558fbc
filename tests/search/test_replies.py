"""Reading replies (tags, brackets, lists, fences), and showing traces."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.records import Cell, Evaluation, Example, FrozenMap, Score
from promptopt.search._replies import read_block, read_items, read_one, read_reasons, read_several
from promptopt.search._traces import errors, show_traces, traces

ALPHABET = st.sampled_from(
    [
        "a",
        "B",
        " ",
        "\n",
        "```",
        "<START>",
        "<END>",
        "<prompt>",
        "</prompt>",
        "[",
        "]",
        "1. ",
        "- ",
        "**",
        ":",
        ".",
        "{{x}}",
    ]
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
        ("<START>Say it.<END> <START>Write it.<END>", "Write it."),
        ("", None),
    ],
)
def test_one_instruction_is_read_out_of_a_reply(reply, instruction):
    assert read_one(reply, 100) == instruction


def test_reasons_are_different_short_lines_with_words_in_them():
    reply = "1. It is\n   vague.\n2. 42\n3. It is vague.\n4. " + "x" * 51 + "\n5. It is short.\n6. It is odd."
    assert read_reasons(reply, 2, 50) == ["It is vague.", "It is short."]


def test_a_list_is_one_instruction_unless_several_were_asked_for():
    reply = "1. Write it.\n2. Say it."
    assert read_several(reply, 1, 50) == [reply]
    assert read_several(reply, 3, 50) == ["Write it.", "Say it."]
    assert read_several("<START>to write it<END>", 1, 50) == ["write it"]
    assert read_several("...", 1, 50) == read_several("", 3, 50) == [None]
    assert read_several("<START>cut", 1, 50) == [None]


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
    assert 1 <= len(read_several(reply, most, 20)) <= most or "<START>" in reply
    for text in (read_block(reply, 20), read_one(reply, 20)):
        assert text is None or (0 < len(text) <= 20 and text == text.strip())


@settings(deadline=None)
@given(st.lists(st.text("abc .", min_size=1, max_size=9).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_tagged_texts_come_back_as_they_were(texts):
    assert read_items("Here:\n" + "\n".join(f"<START>{text}<END>" for text in texts)) == texts


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


TAGS = st.lists(
    st.sampled_from(("<start>", "</START>", "<ins>", "</ins>", "<end>", "</end>", "<prompt>", "a ", "\n"))
)


@given(TAGS.map("".join))
def test_tags_are_read_as_the_plain_expression_reads_them(text):
    plain = re.findall(
        r"<(start|ins|prompt|instruction)>(.*?)(?:</(?:\1|end)>|<end>)", text, re.DOTALL | re.IGNORECASE
    )
    if re.search(r"<(start|ins|prompt)>", text, re.IGNORECASE):
        assert read_items(text) == [stripped for _, found in plain if (stripped := found.strip())]
    else:
        assert plain == []


def test_tags_that_are_never_closed_are_read_in_linear_time():
    taken = []
    for size in (4_000, 40_000):
        begun = time.process_time()
        assert read_items("<ins>a" * size) == []
        taken.append(time.process_time() - begun)
    assert taken[1] < 60 * taken[0] + 0.1  # a hundred times, where it is quadratic
