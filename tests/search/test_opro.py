"""OPRO: what the proposer is shown step by step, what is held back, and when the search ends."""

import re

import pytest
from scripted import SEED, Scripted, numbered

from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search.opro import OPRO, OPRO_PAPER, SCORED_PAPER
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

VALUES = {"Do it.": 0.25, "Bad.": 0.0, "Good.": 0.5, "Better.": 0.75, "Best.": 1.0}


def value(prompt, row):
    return VALUES.get(prompt.instruction, 0.1)


def script(*steps, **changes):
    """Reply to each step, told apart by its number, from its list."""
    seen = []

    def reply(text, i):
        if text not in seen:
            seen.append(text)
        its = steps[seen.index(text)] if seen.index(text) < len(steps) else ("Bad.",)
        return its[i % len(its)]

    return Scripted(reply, changes.pop("value", value), **changes)


def shown(text):
    return re.findall(r"Instruction: (.+)\nScore: (-?\d+)", text)


def names(prompts):
    return [prompt.instruction for prompt in prompts]


@pytest.mark.parametrize("opro", [OPRO(steps=3, proposals=4, rows=6), OPRO(steps=2, rows=99, keep=1, top=1)])
def test_it_keeps_the_contract(opro):
    check_searcher(opro, cuts=3)


def test_two_steps_of_the_paper():
    session = script(("Good.", "Bad."), ("Best.", "Good."), rows=numbered(8))
    OPRO(steps=2, proposals=2, rows=4, keep=2).search(session)
    first, second = session.texts
    # The trajectory is ascending, with scores from 0 to 100 (section 5.1).
    assert shown(first) == [("Do it.", "25")]
    assert shown(second) == [("Bad.", "0"), ("Do it.", "25"), ("Good.", "50")]
    # Three exemplars, drawn anew for each step.
    exemplars = [set(re.findall(r"Input: (in\d)\nOutput: out\d", text)) for text in (first, second)]
    assert [len(its) for its in exemplars] == [3, 3]
    assert exemplars[0] != exemplars[1]
    assert session.options == [{"n": 2, "temperature": 1.0, "top_p": 1.0, "max_tokens": 100}] * 2
    # New proposals alone are scored, on shared rows; in the end the best on all, first who leads.
    assert [(names(prompts), len(rows)) for prompts, rows in session.scored] == [
        (["Do it."], 4),
        (["Good.", "Bad."], 4),
        (["Best."], 4),
        (["Best.", "Good."], 8),
    ]
    (best,) = session.scored[2][0]
    parents = {prompt.id for prompts, _ in session.scored[:2] for prompt in prompts}
    assert (set(best.parents), best.origin) == (parents, "opro")


def test_only_the_best_are_shown():
    session = script(("Good.", "Bad.", "Better."), ("Best.",))
    OPRO(steps=2, proposals=3, top=2).search(session)
    assert shown(session.texts[1]) == [("Good.", "50"), ("Better.", "75")]


def test_long_and_repeated_proposals_are_not_scored():
    session = script(("Good.", "Good.", " Do  it. ", "x" * 21, "..."))
    OPRO(steps=1, proposals=5, max_chars=20).search(session)
    assert [names(prompts) for prompts, _ in session.scored[:-1]] == [["Do it."], ["Good."]]


@pytest.mark.parametrize(
    ("answers", "digits", "kept"),
    [
        ("17", "auto", ["Use 2 digits.", "Say it."]),
        ("$1,024.50", "auto", ["Use 2 digits.", "Say it."]),
        ("17 apples", "auto", ["Use 2 digits.", "Say 17.", "Say it."]),
        ("17", "allow", ["Use 2 digits.", "Say 17.", "Say it."]),
        ("apples", "drop", ["Use 2 digits.", "Say it."]),
    ],
)
def test_numbers_are_held_back_where_they_give_answers_away(answers, digits, kept):
    rows = tuple(Example(str(i), FrozenMap(input=f"in{i}"), (answers,)) for i in range(4))
    session = script(
        ("Use 2 digits.", "Say 17.", "Say it."), rows=rows, seed_prompt=Prompt("Round to 2 digits.")
    )
    OPRO(steps=1, proposals=3, digits=digits).search(session)
    assert names(session.scored[1][0]) == kept


def test_steps_that_bring_nothing_new_end_the_search():
    session = script(("Good.",), rows=numbered(8))
    OPRO(steps=50, proposals=1, patience=4).search(session)
    # One step brings "Good.", one "Bad."; then nothing is new.
    assert len(session.texts) == 2 + 4


def test_a_silent_step_halves_what_is_shown():
    def reply(text, i):
        return None if len(shown(text)) > 2 else f"Try {len(shown(text))}{'abcd'[i]}."

    session = Scripted(reply, value)
    OPRO(steps=4, proposals=4).search(session)
    assert [len(shown(text)) for text in session.texts] == [1, 5, 2, 2]


def test_prompts_that_cannot_be_compared_are_not_shown():
    session = script(("Good.", "Bad."), value=lambda p, row: None if p.instruction == "Good." else 0.5)
    OPRO(steps=2, proposals=2).search(session)
    assert [text for text, _ in shown(session.texts[1])] == ["Do it.", "Bad."]


def test_the_papers_own_wording_shows_where_the_instruction_goes():
    session = script(("[Good.]",))
    OPRO(steps=1, proposals=1, exemplars=1, meta_prompt=OPRO_PAPER, scored=SCORED_PAPER).search(session)
    (text,) = session.texts
    assert "\n\ntext:\nDo it.\nscore:\n25\n\n" in text
    assert re.search(r"\n\ninput:\n<INS>\n\nInput: in(\d)\nOutput:\noutput:\nout\1\n\n", text)
    assert names(session.scored[1][0]) == ["Good."]


BARE = (Example("1", FrozenMap(input="x")),)


@pytest.mark.parametrize(
    ("opro", "session", "error", "message"),
    [
        (OPRO(), Scripted(rows=BARE), ConfigError, "no search row has an answer"),
        (OPRO(), Scripted(seed_prompt=Prompt(template=Template("{{input}}"))), ConfigError, "add {{instruct"),
        (
            OPRO(meta_prompt="{{demonstrations}}"),
            Scripted(),
            TemplateError,
            "opro.meta_prompt: has no {{scor",
        ),
        (OPRO(scored="{{instruction}}"), Scripted(), TemplateError, "opro.scored: has no {{score}}"),
        (OPRO(), Scripted(lambda text, i: "..."), ModelError, "24 replies hold no usable instruction"),
        (OPRO(), Scripted(lambda text, i: None), ModelError, "0 replies"),
    ],
)
def test_what_cannot_work_is_a_clear_error(opro, session, error, message):
    with pytest.raises(error) as caught:
        opro.search(session)
    assert message in str(caught.value)


def test_rows_need_no_answers_when_none_are_shown():
    session = script(("Good.",), rows=BARE)
    OPRO(steps=1, exemplars=0).search(session)
    assert SEED.instruction in session.texts[0]


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "opro", {"steps": 3, "digits": "drop"}) == OPRO(steps=3, digits="drop")
    for options in ({"steps": 0}, {"digits": "no"}, {"top_p": 0}, {"temperature": -1}, {"step": 3}):
        with pytest.raises(PluginError):
            build("searchers", "opro", options)
