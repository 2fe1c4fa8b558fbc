"""What the generator is asked: the slots of each form, rows shown, rows to write for."""

import random

import pytest
from scripted import numbered

from promptopt.contracts.searcher import SearchTask
from promptopt.errors import ConfigError, TemplateError
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search._rl_asks import DEFAULTS, PREWRITE, Asker, show_input

ROWS = numbered(6)
TASK = SearchTask(ROWS, Prompt("Do it."), ("input",), "Numbers.")


def asker(form, meta_prompt=None, task=TASK):
    return Asker(task, form, meta_prompt or DEFAULTS[form], demos=2, score=0.256)


def test_from_scratch_it_sees_rows_and_not_the_prompt_to_beat():
    first, second = asker("scratch").draw(random.Random(0), 1, 2, ROWS)
    assert first.text.count("Output: out") == 2
    assert "and two inputs" in first.text
    assert "Do it." not in first.text
    assert first.text != second.text
    assert first.row is None


def test_a_rewriter_sees_the_prompt_its_score_and_rows():
    (ask,) = asker("rewrite").draw(random.Random(0), 1, 1, ROWS)
    assert "Instruction: Do it.\nScore: 26" in ask.text
    assert ask.text.count("Output: out") == 2


def test_the_paper_s_rewriter_needs_no_rows():
    bare = SearchTask((Example("0", FrozenMap(input="in"), ()),), Prompt("Do it."), ("input",))
    made = asker("rewrite", PREWRITE, bare)
    made.check()
    assert made.ask(random.Random(0)).text.endswith("Instruction: Do it.")


def test_a_conditional_ask_shows_its_row_without_the_answer_and_all_rows_have_their_turn():
    asks = asker("conditional").draw(random.Random(0), 4, 2, ROWS[:4])
    assert [ask.row in ROWS[:4] for ask in asks] == [True] * 8
    assert {ask.row.id for ask in asks[:4]} == {ask.row.id for ask in asks[4:]} == {"0", "1", "2", "3"}
    for ask in asks:
        assert f"Input: {ask.row.inputs['input']}\n" in ask.text
        assert ask.row.answer not in ask.text


def test_an_input_of_several_fields_is_a_line_each():
    row = Example("0", FrozenMap(user_name="Ann", text="hi"), ("yo",))
    assert show_input(row, ("user_name", "text")) == "User name: Ann\nText: hi"


@pytest.mark.parametrize(
    ("form", "meta_prompt", "problem"),
    [
        ("conditional", "Write.", "needs {{row}}"),
        ("rewrite", "{{demonstrations}}", "needs {{instruction}} or {{scored}}"),
        ("scratch", "For {{row}}.", "set form: conditional"),
    ],
)
def test_a_meta_prompt_must_show_what_its_form_is_about(form, meta_prompt, problem):
    with pytest.raises(TemplateError) as caught:
        asker(form, meta_prompt).check()
    assert problem in str(caught.value)


def test_rows_without_answers_cannot_be_shown():
    bare = SearchTask((Example("0", FrozenMap(input="in"), ()),), Prompt("Do it."), ("input",))
    with pytest.raises(ConfigError, match="no search row has an answer"):
        asker("scratch", task=bare).check()
    asker("conditional", task=bare).check()
