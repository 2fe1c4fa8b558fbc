"""Prompts: content hash without lineage, rendering, saving and reading back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import BadInput, DataError, TemplateError
from promptopt.programs import ChainOfThought, LeastToMost, SelfConsistency, Single
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Example, FrozenMap, Message
from promptopt.template import Template

ROW = Example("1", FrozenMap(input="cat"), ("CAT",))
DEMO = Demonstration(FrozenMap(input="dog"), "DOG")

texts = st.text(max_size=30)
demonstrations = st.lists(
    st.builds(Demonstration, st.dictionaries(texts, texts, max_size=3).map(FrozenMap), texts), max_size=3
).map(tuple)
programs = st.one_of(
    st.just(Single()),
    st.builds(ChainOfThought, texts, texts),
    st.builds(SelfConsistency, st.integers(1, 99), st.floats(0, 2), texts),
    st.builds(LeastToMost, st.integers(1, 9), texts),
)
templates = st.builds(Template, texts, texts, texts, texts, st.sampled_from(["plain", "jinja"]))
prompts = st.builds(
    Prompt, texts, demonstrations, templates, programs, st.lists(texts, max_size=2).map(tuple), texts
)


def content(messages):
    return [tuple(message) for message in messages]


def test_the_default_layout():
    assert content(Prompt("Do it.").render(ROW)) == [("user", "Do it.\n\nInput: cat\nOutput:")]
    assert content(Prompt().render(ROW)) == [("user", "Input: cat\nOutput:")]
    with_demo = Prompt("Do it.", (DEMO, DEMO))
    assert with_demo.render(ROW)[0].content == (
        "Do it.\n\nInput: dog\nOutput: DOG\n\nInput: dog\nOutput: DOG\n\nInput: cat\nOutput:"
    )
    assert with_demo.length == len("Do it.") + 2 * len("dogDOG")


def test_a_system_message_is_sent_unless_it_is_empty():
    layout = Template(user="{{input}}", system="{{instruction}}")
    assert content(Prompt("Do it.", template=layout).render(ROW)) == [("system", "Do it."), ("user", "cat")]
    assert content(Prompt("", template=layout).render(ROW)) == [("user", "cat")]


def test_nothing_in_rows_instruction_or_demonstrations_is_expanded():
    row = Example("1", FrozenMap(input="{{instruction}} {{output}} {{secret}}"))
    demo = Demonstration(FrozenMap(input="{{output}}"), "{{input}}")
    rendered = Prompt("Use {{input}}.", (demo,)).render(row)[0].content
    assert rendered == (
        "Use {{input}}.\n\nInput: {{output}}\nOutput: {{input}}\n\n"
        "Input: {{instruction}} {{output}} {{secret}}\nOutput:"
    )


def test_parse_checks_the_columns():
    prompt = Prompt.parse("Answer: {{question}}", ["question"])
    assert content(prompt.render(Example("1", FrozenMap(question="2+2?")))) == [("user", "Answer: 2+2?")]
    shown = Prompt.parse("Be brief.\n\nQ: {{question}}\nA:", ["question"]).child(
        origin="x", demonstrations=(Demonstration(FrozenMap(question="1+1?"), "2"),)
    )
    assert shown.render(Example("1", FrozenMap(question="2+2?")))[0].content == (
        "Be brief.\n\nQ: 1+1?\nA: 2\n\nQ: 2+2?\nA:"
    )
    with pytest.raises(TemplateError, match="did you mean 'question'"):
        Prompt.parse("Answer: {{questoin}}", ["question"])
    with pytest.raises(TemplateError, match="no input field"):
        Prompt.parse("Here: {{demonstrations}}", ["question"])


def test_jinja_prompts_see_the_parts():
    layout = Template(
        user="{% if demonstrations %}{{ demonstrations }}\n{% endif %}{{ instruction }} {{ input }}",
        engine="jinja",
    )
    layout.check(["input"])
    assert Prompt("Do.", template=layout).render(ROW)[0].content == "Do. cat"
    jinja_demo = Template(user=layout.user, demonstration="{{ input|upper }}={{ output }}", engine="jinja")
    assert Prompt("Do.", (DEMO,), jinja_demo).render(ROW)[0].content == "DOG=DOG\nDo. cat"


def test_a_child_names_its_parent():
    parent = Prompt("Do it.")
    child = parent.child(instruction="Do that.", origin="ape/forward")
    assert (child.instruction, child.parents, child.origin) == ("Do that.", (parent.id,), "ape/forward")
    assert parent.instruction == "Do it."


@given(prompts, st.lists(texts, max_size=2).map(tuple), texts)
def test_lineage_is_no_part_of_what_a_prompt_is(prompt, parents, origin):
    other = Prompt(
        prompt.instruction,
        prompt.demonstrations,
        prompt.template,
        prompt.program,
        parents=parents,
        origin=origin,
    )
    assert other == prompt
    assert hash(other) == hash(prompt)
    assert other.id == prompt.id
    assert len(prompt.id) == 16


@given(prompts, prompts)
def test_prompts_are_equal_exactly_when_their_ids_are(one, other):
    assert (one == other) == (one.id == other.id)


def test_the_id_holds_every_part():
    variants = [
        Prompt("Do it."),
        Prompt("Do it. "),
        Prompt("Do it.", (DEMO,)),
        Prompt("Do it.", (DEMO, DEMO)),
        Prompt("Do it.", (Demonstration(FrozenMap(input="dog"), "dog"),)),
        Prompt("Do it.", template=Template(separator="\n")),
        Prompt("Do it.", template=Template(engine="jinja")),
        Prompt("Do it.", program=ChainOfThought()),
        Prompt("Do it.", program=SelfConsistency(3)),
        Prompt("Do it.", program=SelfConsistency(4)),
    ]
    assert len({prompt.id for prompt in variants}) == len(variants)
    assert len(set(variants)) == len(variants)


def test_the_id_never_changes_between_versions():
    assert Prompt("Do it.", (DEMO,)).id == "b26ed9dcb4617b21"


def test_numbers_that_are_equal_give_the_same_id():
    assert (
        Prompt(program=SelfConsistency(temperature=1)).id
        == Prompt(program=SelfConsistency(temperature=1.0)).id
    )


@given(prompts)
def test_a_prompt_is_read_back_as_it_was_written(prompt):
    again = Prompt.from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert again == prompt
    assert (again.parents, again.origin, again.id) == (prompt.parents, prompt.origin, prompt.id)


def test_save_and_load(tmp_path):
    prompt = Prompt(
        "Übersetze:\r\n„ja“\u2028", (DEMO,), program=SelfConsistency(3), parents=("abc",), origin="x"
    )
    path = prompt.save(tmp_path / "deep" / "prompt.json")
    assert Prompt.load(path) == prompt
    assert "Übersetze" in path.read_text(encoding="utf-8")


def test_a_saved_prompt_may_leave_out_what_has_a_default():
    assert Prompt.from_dict({"instruction": "Do it."}) == Prompt("Do it.")


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        "Do it.",
        {"instruction": 5},
        {"instruction": None},
        {"instruction": "x", "demonstrations": [{"inputs": {"a": "b"}}]},
        {"instruction": "x", "demonstrations": [{"inputs": {"a": 1}, "output": "b"}]},
        {"instruction": "x", "demonstrations": [{"inputs": "ab", "output": "b"}]},
        {"instruction": "x", "demonstrations": 3},
        {"instruction": "x", "template": {"usr": "{{input}}"}},
        {"instruction": "x", "template": {"engine": "mako"}},
        {"instruction": "x", "template": "{{input}}"},
        {"instruction": "x", "program": "single"},
        {"instruction": "x", "program": {"name": "tree_of_thought"}},
        {"instruction": "x", "program": {"name": "self_consistency", "n": "many"}},
        {"instruction": "x", "program": {"name": "self_consistency", "n": 0}},
        {"instruction": "x", "parents": [1]},
    ],
)
def test_what_is_not_a_saved_prompt_is_one_clear_error(data):
    with pytest.raises(BadInput):
        Prompt.from_dict(data)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_a_broken_file_is_an_error_that_names_it_or_its_content(tmp_path, text):
    path = tmp_path / "prompt.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match="prompt"):
        Prompt.load(path)
    with pytest.raises(DataError, match="nowhere"):
        Prompt.load(tmp_path / "nowhere.json")


def test_messages_are_what_the_models_take():
    assert Prompt("Do it.").render(ROW) == (Message("user", "Do it.\n\nInput: cat\nOutput:"),)
