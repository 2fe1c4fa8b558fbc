"""Slots are filled in one pass, prompts read back byte for byte, and Jinja stays in its sandbox."""

import builtins
import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from promptopt import template
from promptopt.errors import MissingExtra, TemplateError
from promptopt.template import Template, fill, label, parse_prompt, render_jinja, slots

# Pieces of which troublesome texts are made: slots, halves of slots, white space of every kind.
pieces = st.sampled_from(
    [
        "{{a}}",
        "{{ b }}",
        "{{first name}}",
        "{{",
        "}}",
        "{",
        "}",
        "\n",
        "\n\n",
        " ",
        "\t",
        "\r\n",
        "\u2028",
        "Do it.",
        "x:",
    ]
)
values = st.dictionaries(
    st.sampled_from(["a", "b", "first name", "instruction", "demonstrations"]),
    st.lists(pieces, max_size=4).map("".join),
)
everything = {"a": "A", "b": "B", "first name": "F", "instruction": "", "demonstrations": ""}


@given(st.lists(pieces, max_size=8).map("".join), values)
def test_values_are_never_scanned_again(text, given_values):
    assume(set(slots(text)) <= set(everything))
    filled = {name: f"<{given_values.get(name, '')}>" for name in everything}
    expected = text
    marks = {name: f"\x00{index}\x00" for index, name in enumerate(filled)}
    for name, mark in marks.items():
        for written in ("{{" + name + "}}", "{{ " + name + " }}"):
            expected = expected.replace(written, mark)
    for name, mark in marks.items():
        expected = expected.replace(mark, filled[name])
    assert fill(text, filled) == expected


def test_a_slot_in_a_value_stays_text():
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": "{{a}}"}) == "{{b}} {{a}}"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{instruction}}\n\n{{demonstrations}}\n\nInput: {{a}}", "Input: A"),
        ("{{instruction}} {{a}}", "A"),
        ("{{instruction}}\n\n  {{a}}", "  A"),
        ("Task: {{instruction}}\n{{a}}", "Task: A"),
        ("{{a}}\n\n{{instruction}}", "A\n\n"),
        ("{{ instruction }}\r\n\r\n{{a}}", "A"),
    ],
)
def test_an_empty_slot_of_the_prompt_takes_the_line_breaks_behind_it(text, filled):
    assert fill(text, everything) == filled


def test_an_empty_field_takes_nothing():
    assert fill("{{a}}\n\nEnd", {"a": ""}) == "\n\nEnd"


def test_an_unknown_slot_is_an_error_with_a_suggestion():
    with pytest.raises(TemplateError, match=r"no value for \{\{questoin\}\}; did you mean 'question'\?"):
        fill("{{questoin}}", {"question": "x"})


def test_what_is_no_slot_stays():
    for text in ("{a}", "{{}}", "{{ }}", "{{a}", "{ {a}}", "{{a\nb}}", "%s {0}", "{{{}}}"):
        assert fill(text, {"a": "A"}) == text
    assert fill("{{{a}}}", {"a": "A"}) == "{A}"


def test_slots_are_found_in_linear_time():
    hostile = "{{" + " " * 100_000 + "{{a" + " " * 100_000 + "{{" * 50_000
    assert slots(hostile) == []


def test_the_rendered_size_is_capped(monkeypatch):
    monkeypatch.setattr(template, "MAX_RENDERED", 100)
    assert fill("{{a}}", {"a": "x" * 90})
    with pytest.raises(TemplateError, match="more than 100 characters"):
        fill("{{a}}{{a}}", {"a": "x" * 60})
    with pytest.raises(TemplateError, match="more than 100 characters"):
        render_jinja("{{ a }}{{ a }}", {"a": "x" * 60})


# --- a prompt written as one text -------------------------------------------------------------------


@given(st.lists(pieces, max_size=8).map("".join))
@example("Do it.\n\n\n   x: {{a}}\n\n\n")
@example("   {{a}}")
@example("\n\n{{a}} Do it.\n\n{{ b }}")
@example("Do it.{{a}}")
@example("\u2028{{a}}")
@example("{{{{a}}}}")
def test_a_text_with_fields_is_rendered_back_byte_for_byte(text):
    assume(slots(text) and set(slots(text)) <= set(everything))
    instruction, layout = parse_prompt(text, ["a", "b", "first name"])
    rendered = layout.render(layout.user, everything | {"instruction": instruction})
    assert rendered == fill(text, everything)
    layout.check(["a", "b", "first name"])


@pytest.mark.parametrize(
    ("text", "instruction", "user"),
    [
        ("Answer: {{a}}", "Answer:", "{{demonstrations}}\n\n{{instruction}} {{a}}"),
        ("Do it.\n\nQ: {{a}}\nA:", "Do it.", "{{instruction}}\n\n{{demonstrations}}\n\nQ: {{a}}\nA:"),
        ("{{a}}\nDo it.", "", "{{instruction}}\n\n{{demonstrations}}\n\n{{a}}\nDo it."),
        ("Do.\n{{demonstrations}}\n{{a}}", "Do.", "{{instruction}}\n{{demonstrations}}\n{{a}}"),
        ("{{instruction}}\n{{a}}", "", "{{instruction}}\n{{demonstrations}}\n\n{{a}}"),
    ],
)
def test_where_the_instruction_ends_and_demonstrations_go(text, instruction, user):
    found, layout = parse_prompt(text, ["a"])
    assert (found, layout.user) == (instruction, user)


def test_a_text_without_slots_is_an_instruction_in_the_default_layout():
    assert parse_prompt(" Do it. ", ["a"]) == ("Do it.", Template.for_fields(["a"]))


@pytest.mark.parametrize(
    ("text", "demonstration"),
    [
        ("Do it.\n\nQ: {{a}}\nA:", "Q: {{a}}\nA: {{output}}"),
        ("Answer: {{a}}", "{{a}}\n{{output}}"),
        ("Do.\n{{ demonstrations }}\nQ: {{a}}", "Q: {{a}}\n{{output}}"),
    ],
)
def test_demonstrations_take_the_layout_of_the_input(text, demonstration):
    assert parse_prompt(text, ["a"])[1].demonstration == demonstration


# --- checks -----------------------------------------------------------------------------------------


def test_the_default_layouts():
    one = Template.for_fields(["text"])
    assert one.user == "{{instruction}}\n\n{{demonstrations}}\n\nInput: {{text}}\nOutput:"
    assert one.demonstration == "Input: {{text}}\nOutput: {{output}}"
    two = Template.for_fields(["question", "user_name"])
    assert two.demonstration == "Question: {{question}}\nUser name: {{user_name}}\nOutput: {{output}}"
    assert label("user_name") == "User name"
    for layout, fields in ((one, ["text"]), (two, ["question", "user_name"])):
        layout.check(fields)
        assert layout.names() == set(fields)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Template(user="{{inptu}}"), r"template.user: no column for \{\{inptu\}\}; did you mean 'input'\?"),
        (Template(system="{{x}}"), r"template.system: no column for \{\{x\}\}"),
        (Template(demonstration="{{answer}}"), r"template.demonstration: no column for \{\{answer\}\}"),
        (Template(user="{{instruction}}"), r"no input field in it; .* add \{\{input\}\}"),
    ],
)
def test_a_layout_that_does_not_fit_the_columns_is_an_error(layout, message):
    with pytest.raises(TemplateError, match=message):
        layout.check(["input"])


@pytest.mark.parametrize("name", ["instruction", "demonstrations", "output"])
def test_a_column_cannot_have_the_name_of_a_slot(name):
    with pytest.raises(TemplateError, match=rf"got \['{name}'\]; rename it"):
        Template.for_fields([name]).check([name, "input"])


# --- Jinja ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ a }}", "cat"),
        ("{% if a == 'cat' %}yes{% else %}no{% endif %}\n", "yes\n"),
        ("{{ a|upper|replace('C', 'B') }} {{ a[:2] }} {{ a|length * 2 + 1 }}", "BAT ca 7"),
        ("{% for c in a %}{{ loop.index }}{{ c }}{% endfor %}", "1c2a3t"),
        ("{% if b is defined %}1{% else %}0{% endif %}{{ b|default('-') }}", "0-"),
        ("{% set x = a + a %}{{ x }}", "catcat"),
        ("{% raw %}{{a}}{% endraw %}", "{{a}}"),
    ],
)
def test_jinja_does_conditions_filters_and_flat_loops(text, rendered):
    assert Template(user=text, engine="jinja").render(text, {"a": "cat"}) == rendered


def test_jinja_never_renders_a_value_as_a_template():
    assert render_jinja("{{ a }}", {"a": "{{ b }}{% for %}<b>&"}) == "{{ b }}{% for %}<b>&"


@pytest.mark.parametrize(
    "text",
    [
        "{{ b }}",
        "{{ a.__class__ }}",
        "{{ a['__class__'] }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ a.upper }}",
        "{{ a.upper() }}",
        "{{ a['upper'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__ }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{% for x in a %}{% for y in a %}{% endfor %}{% endfor %}",
        "{% for x in a recursive %}{{ loop(x) }}{% endfor %}",
        "{{ 'a' * 50_000_000 }}",
        "{{ [0] * 50_000_000 }}",
        "{{ [0] + [1] }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ 2 ** 99 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{% set x = a ~ a %}{{ x }}",
        "{% set x %}{{ a }}{{ a }}{% endset %}{{ x }}",
        "{% filter upper %}{{ a }}{% endfilter %}",
        "{% macro m() %}{{ a }}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ 1 / 0 }}",
        "{{ a + 1 }}",
        "{{ a|nofilter }}",
        "{{ a|",
        "{% if a %}",
        "{{" * 1_500,
    ],
)
def test_jinja_refuses_what_is_dangerous_or_broken(text):
    with pytest.raises(TemplateError, match="template: jinja: "):
        render_jinja(text, {"a": "cat"})


@pytest.mark.parametrize(
    "text",
    [
        "{% for c in a %}{{ a }}{% endfor %}",
        "{{ a|replace('a', a)|replace('a', a) }}",
        "{% set x = a + a %}" + "".join("{% set x = x + x %}" for _ in range(40)) + "{{ x }}",
    ],
)
def test_jinja_cannot_grow_past_the_cap(text):
    with pytest.raises(TemplateError, match="renders to more than 1000000 characters"):
        render_jinja(text, {"a": "a" * 2000})


def test_jinja_missing_names_its_extra(monkeypatch):
    real = builtins.__import__

    def without_jinja(name, *args, **kwargs):
        if name.startswith("jinja2"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("jinja2")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_jinja)
    with pytest.raises(MissingExtra, match=r'pip install "promptopt\[text\]"'):
        render_jinja("{{ a }}", {"a": "x"})
