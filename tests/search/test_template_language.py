"""The template part of a job file: what it means, and how its mistakes are said."""

import pytest
from worlds import make_world

from promptopt import strict_yaml
from promptopt.config import load_job
from promptopt.errors import BadInput, ConfigError
from promptopt.search._template_language import in_order, read_axes, read_forbidden
from promptopt.search._template_space import LEFT_OUT, Condition, Number, Order, Slot
from promptopt.search.template import TemplateSearch


def axes(text):
    given = strict_yaml.parse(text).value
    return read_axes(*(given.get(part, {}) for part in ("slots", "order", "parameters")))


def by_name(text):
    return {axis.name: axis for axis in axes(text)}


def test_a_slot_is_a_list_or_a_mapping_and_an_empty_text_leaves_it_out():
    found = by_name(
        "slots:\n"
        '  role: ["", A clerk.]\n'
        "  form: {alternatives: {word: One word., json: As JSON.}, optional: true, paraphrases: 3, grow: 2}\n"
    )
    assert found["role"] == Slot("role", {LEFT_OUT: "", "A clerk.": "A clerk."})
    assert found["form"] == Slot(
        "form", {"word": "One word.", "json": "As JSON.", LEFT_OUT: ""}, paraphrases=3, grow=2
    )


def test_numbers_are_whole_or_real_and_demonstrations_come_in_sets():
    found = by_name(
        "parameters:\n"
        "  words: {low: 1, high: 9}\n"
        "  temperature: {low: 0, high: 1, step: 0.25}\n"
        "  demonstrations: {low: 0, high: 4, sets: 3}\n"
        "  max_tokens: {low: 8, high: 64, log: true}\n"
    )
    assert found["words"] == Number("words", 1, 9, whole=True)
    assert found["temperature"].values == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert found["demonstrations.set"].values == ("1", "2", "3")
    assert found["demonstrations.set"].when == (Condition("demonstrations", low=1),)
    assert (found["max_tokens"].whole, found["max_tokens"].log) == (True, True)


def test_conditions_name_alternatives_by_label_or_text_and_ranges_of_numbers():
    found = by_name(
        "slots:\n"
        "  a: {alternatives: {x: Do it., y: ''}}\n"
        "  b: {alternatives: [One, Two], when: {a: Do it., n: {at_least: 2}}}\n"
        "parameters:\n"
        "  n: {low: 0, high: 5}\n"
    )
    assert found["b"].when == (Condition("a", ("x",)), Condition("n", low=2))
    (together,) = read_forbidden([{"a": ["x", "y"], "n": 3}], found.values())
    assert together == (Condition("a", ("x", "y")), Condition("n", (3,)))


def test_axes_stand_behind_those_that_they_depend_on():
    order = [
        axis.name
        for axis in axes(
            "slots:\n"
            "  last: {alternatives: [l, m], when: {first: p}}\n"
            "  inner: [i, j]\n"
            "  first: [p, 'q {{inner}}']\n"
            "  one: [1]\n"
            "order:\n"
            "  all: [one, last]\n"
        )
    ]
    assert order.index("first") < order.index("last")
    assert order.index("first") < order.index("inner")
    assert order.index("all") < min(order.index("one"), order.index("last"))
    assert in_order([Slot("a", {"b": "b"}), Order("c", ("a", "a"))])[0].name == "c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slots: {a: []}", "search.slots.a: is empty; write at least one text"),
        ("slots: {a: {alternatives: {}}}", "search.slots.a.alternatives: is empty"),
        ("slots: {a: {}}", "search.slots.a: has no alternatives"),
        ("slots: {a: text}", "search.slots.a: must be a list of texts, or `alternatives"),
        ("slots: {a: [x, [y]]}", "search.slots.a.1: must be text; got ['y']"),
        ("slots: {a: [x, y, x]}", "search.slots.a: holds a text twice; got 'x'"),
        ("slots: {a: {alternatives: {p: x, q: x}}}", "search.slots.a.alternatives: holds a text twice"),
        ("slots: {a: {alternative: [x]}}", "search.slots.a.alternative: unknown key 'alternative'"),
        ("slots: {a b: [x]}", "search.slots.a b: a name must be letters"),
        ("slots: {output: [x]}", "search.slots.output: the name has a meaning"),
        ("slots: {temperature: [x]}", "search.slots.temperature: the name has"),
        ("slots: {a: {alternatives: [x], paraphrases: -1}}", "a.paraphrases: must be a whole number"),
        ("slots: {a: {alternatives: [''], grow: 1}}", "search.slots.a: has no text that"),
        ("slots: {a: {alternatives: [x], optional: maybe}}", "must be true or false"),
        ("slots: {a: [x]}\nparameters: {a: {low: 1, high: 2}}", "search.parameters.a: the name is taken"),
        ("slots: {a: {alternatives: [x], when: {b: y}}}", "search.slots.a.when.b: no slot or parameter 'b'"),
        (
            "slots: {ab: [x, y], c: {alternatives: [z], when: {ab: w}}}",
            "search.slots.c.when.ab: 'ab' has no such alternative; got 'w'; choose from x, y",
        ),
        ("slots: {a: [x], b: {alternatives: [z], when: {a: {at_least: 1}}}}", "'a' is no number"),
        ("slots: {a: [x], b: {alternatives: [z], when: x}}", "search.slots.b.when: must hold `slot: value`"),
        (
            "slots: {a: {alternatives: [x], when: {b: y}}, b: {alternatives: [y], when: {a: x}}}",
            "search.slots.a: depends on itself: a -> b -> a; cut the circle",
        ),
        ("slots: {a: ['{{b}}'], b: ['{{a}}']}", "depends on itself: a -> b -> a"),
        ("slots: {a: [x]}\norder: {o: [a]}", "search.order.o: needs two slots or more"),
        ("slots: {a: [x]}\norder: {o: [a, b]}", "search.order.o: no slot 'b'"),
        ("slots: {a: [x]}\norder: {o: [a, a]}", "search.order.o: names a slot twice"),
        ("order: {o: [a, b, c, d, e, f]}", "search.order.o: has 720 orders"),
        ("parameters: {n: {low: 3, high: 1}}", "search.parameters.n: low is above high; got [3, 1]"),
        ("parameters: {n: {low: 3}}", "search.parameters.n.high: must be a number"),
        ("parameters: {n: {low: 1, high: two}}", "search.parameters.n.high: must be a number; got 'two'"),
        ("parameters: {n: {low: 0, high: 1, step: 0}}", "search.parameters.n.step: must be above 0"),
        ("parameters: {n: {low: 0, high: 1, log: true}}", "search.parameters.n.log: needs a low above 0"),
        ("parameters: {temperature: {low: 0, high: 3}}", "no temperature can be that; got [0, 3]"),
        ("parameters: {max_tokens: {low: 0, high: 3}}", "no max_tokens can be that"),
        ("parameters: {demonstrations: {low: 0, high: 1.5}}", "must be whole numbers"),
        ("parameters: {demonstrations: {low: 0, high: 2, sets: 0}}", "sets: must be a whole number"),
        ("parameters: {n: 5}", "search.parameters.n: must be `{low: ..., high: ...}`; got 5"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(text, message):
    with pytest.raises(ConfigError) as caught:
        axes(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at_most": {"tokens": 3}}, "search.at_most: cannot cap 'tokens'"),
        ({"at_most": {"characters": 0}}, "search.at_most.characters: must be a number above 0; got 0"),
        ({"forbid": [{"b": "x"}]}, "search.forbid.0.b: no slot or parameter 'b'"),
        ({"sampler": "cmaes"}, "search.sampler: cmaes needs numbers"),
        ({"sampler": "grid", "slots": {"a": {"alternatives": ["x"], "grow": 1}}}, "a grid cannot grow"),
        ({"storage": "postgresql://me:secret@host/db"}, "search.storage: holds a password"),
        ({"text": ["x", "y"], "slots": {"text": ["z"]}}, "search.slots.text: the name is taken by the list"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(options, message):
    with pytest.raises(ConfigError) as caught:
        TemplateSearch(**{"slots": {"a": ["x", "y"]}, **options})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_line_of_the_job_file_is_that_of_the_mistake(tmp_path):
    job = (
        "name: t\ndata: rows.jsonl\nprompt: Write the word.\ntarget: python/models.py:target\n"
        "reward: exact_match\nsearch:\n  name: template\n  slots:\n    good: [x, y]\n    bad:\n"
        "      alternatives: [x]\n      when: {goods: x}\n"
    )
    with pytest.raises(BadInput) as caught:
        load_job(make_world(tmp_path, job))
    assert str(caught.value) == (
        "promptopt.yaml line 12: search.slots.bad.when.goods: no slot or parameter 'goods'; "
        "did you mean 'good'?"
    )
