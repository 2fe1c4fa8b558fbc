"""The space of a template: which points there are, and the prompts they make."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.errors import ConfigError
from promptopt.programs import Single
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search._template_language import read_axes, read_forbidden
from promptopt.search._template_space import Space, allows_any, check_slots, expand, random_value
from promptopt.template import Template

SEED = Prompt("Do it.")
ROW = Example("0", FrozenMap(input="in0"), ("out0",))
DEMOS = tuple(Demonstration(FrozenMap(input=f"d{i}"), f"o{i}") for i in range(4))


def make(text, slots=None, order=None, parameters=None, forbid=(), **layout):
    axes = read_axes(slots or {}, order or {}, parameters or {})
    template = Template(user=text, **layout)
    forbidden = read_forbidden(forbid, axes)
    return Space(template, axes, ("input",), forbidden, own_demonstration="demonstration" in layout)


def rendered(space, point, seed=SEED, sets=None):
    return space.compose(point, seed, sets or {}).render(ROW)[-1].content


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("{{a}}\n\n{{b}}", {"a": "", "b": "x"}, "x"),
        ("{{a}} {{b}}.", {"a": "", "b": "x"}, "x."),
        ("x {{a}}\n\ny", {"a": ""}, "x\n\ny"),
        ("x {{a}} y", {"a": ""}, "x y"),
        ("x{{a}} y", {"a": ""}, "x y"),
        ("x\n{{a}}\n{{b}}\ny", {"a": "", "b": ""}, "x\ny"),
        ("{{a}} {{b}}\ny", {"a": "", "b": ""}, "y"),
        ("x\n  {{a}}\n  y", {"a": ""}, "x\n  y"),
        ("x\n\n{{a}}", {"a": ""}, "x\n\n"),
        ("{{a}} {{other}}", {"a": "{{a}}"}, "{{a}} {{other}}"),
    ],
)
def test_an_empty_slot_takes_its_line_or_its_space_along(text, values, expected):
    assert expand(text, values) == expected


@given(st.text("ab {}\n", max_size=30), st.dictionaries(st.sampled_from("ab"), st.text("xy", min_size=1)))
def test_filled_slots_change_nothing_else(text, values):
    expected = text
    for name, value in values.items():
        expected = expected.replace("{{" + name + "}}", value)
    if "{{ " not in text and " }}" not in text:
        assert expand(text, values) == expected


def test_all_points_are_the_product_of_what_matters():
    space = make(
        "{{a}} {{c}} {{input}}",
        {
            "a": ["x", "y {{b}}"],
            "b": ["1", "2", "3"],
            "c": {"alternatives": ["p", "q"], "when": {"b": ["1", "2"]}},
        },
    )
    points = list(space.points())
    assert points[0] == {"a": "x"}
    assert len(points) == 1 + 2 * 2 + 1
    assert {rendered(space, p) for p in points} >= {"x in0", "y 1 p in0", "y 2 q in0", "y 3 in0"}
    assert space.conditional


def test_forbidden_combinations_are_no_points():
    space = make("{{a}} {{input}}", {"a": ["x", "y"]}, None, {"n": {"low": 0, "high": 2}},
                 [{"a": "x", "n": {"at_least": 1}}], system="{{n}}")  # fmt: skip
    assert [tuple(p.values()) for p in space.points()] == [("x", 0), ("y", 0), ("y", 1), ("y", 2)]
    assert allows_any(space)
    nothing = make("{{a}} {{input}}", {"a": ["x", "y"]}, forbid=[{"a": ["x", "y"]}])
    assert not allows_any(nothing)


def test_the_words_above_the_input_become_the_instruction():
    space = make(
        "{{a}}\n{{b}}\n\nQ: {{input}}\n{{cue}}", {"a": ["", "You are X."], "b": ["Do."], "cue": ["A:"]}
    )
    made = space.compose({"a": "You are X.", "b": "Do.", "cue": "A:"}, SEED, {})
    assert made.instruction == "You are X.\nDo."
    assert made.template.demonstration == "Q: {{input}}\nA: {{output}}"
    assert made.render(ROW)[0].content == "You are X.\nDo.\n\nQ: in0\nA:"
    assert made.parents == (SEED.id,)


def test_an_instruction_slot_stays_the_instruction_and_may_be_a_whole_layout():
    layout = Template()
    space = make(layout.user, {"instruction": ["Do A.", "Say {{input}} loudly."]}, demonstration="{{output}}")
    plain, whole = (space.compose(point, SEED, {}) for point in space.points())
    assert (plain.instruction, plain.template.user) == ("Do A.", layout.user)
    assert whole.render(ROW)[0].content == "Say in0 loudly.\n\nInput: in0\nOutput:"


def test_order_groups_show_their_slots_one_a_line():
    space = make("{{rules}}\n\n{{input}}", {"a": ["A."], "b": {"alternatives": ["B."], "optional": True}},
                 {"rules": ["a", "b"]})  # fmt: skip
    assert [rendered(space, point) for point in space.points()] == [
        "A.\nB.\n\nin0", "A.\n\nin0", "B.\nA.\n\nin0", "A.\n\nin0",
    ]  # fmt: skip


def test_settings_choose_demonstrations_and_decoding():
    space = make("{{demonstrations}}\n\nInput: {{input}}\nOutput:", None, None, {
        "demonstrations": {"low": 0, "high": 2, "sets": 2}, "temperature": {"low": 0, "high": 1},
        "max_tokens": {"low": 1, "high": 9},
    })  # fmt: skip
    sets = {"1": DEMOS[:2], "2": DEMOS[2:]}
    point = {"demonstrations": 1, "demonstrations.set": "2", "temperature": 0.5, "max_tokens": 7}
    made = space.compose(point, SEED, sets)
    assert made.program == Single(0.5, 7)
    assert made.render(ROW)[0].content == "Input: d2\nOutput: o2\n\nInput: in0\nOutput:"
    assert space.compose({**point, "demonstrations": 0}, SEED, sets).demonstrations == ()


@pytest.mark.parametrize(
    ("text", "parts", "message"),
    [
        (
            "{{rol}} {{input}}",
            {"slots": {"role": ["x"]}},
            "search.text: neither a slot nor a column is called",
        ),
        ("{{a}} {{input}}", {"slots": {"a": ["{{bb}}"]}}, "search.slots.a: neither a slot nor a column"),
        ("{{input}}", {"slots": {"a": ["x"]}}, "search.slots.a: no text shows it; write {{a}} into `text`"),
        ("{{input}}", {"parameters": {"n": {"low": 1, "high": 2}}}, "search.parameters.n: no text shows it"),
        ("{{input}}", {"slots": {"input": ["x"]}}, "search.slots.input: an input column has the same name"),
    ],
)
def test_slots_that_do_not_fit_the_rows_are_one_line(text, parts, message):
    with pytest.raises(ConfigError) as caught:
        check_slots(make(text, **parts))
    assert message in str(caught.value)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_random_points_are_points(seed):
    space = make(
        "{{a}} {{o}} {{input}}",
        {"a": ["", "x {{b}}"], "b": ["1", "2"], "p": ["P"], "q": {"alternatives": ["Q"], "when": {"a": ""}}},
        {"o": ["p", "q"]},
        {"n": {"low": 0, "high": 1, "step": 0.5}, "demonstrations": {"low": 0, "high": 1}},
        [{"a": "", "n": 0.5}],
        system="{{n}}",
    )
    rng = random.Random(seed)
    point = space.draw(lambda axis: random_value(axis, rng))
    assert (point in list(space.points())) == space.allows(point)
