from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import Example, FrozenMap, Score
from promptopt.contracts.reward import Output
from promptopt.rewards.json_field import JsonField

prose = st.text(max_size=40).map(lambda text: text.replace("{", "").replace("}", ""))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3)
)


def score(text: str, *answers: str, **options: Any) -> Score:
    return JsonField(**options)(Example("r1", FrozenMap(), answers), Output(text))


@given(
    prose,
    prose,
    values,
    st.sampled_from(["{}", "```json\n{}\n```", "```\n{}```", "Here: {} done"]),
    st.booleans(),
)
def test_a_value_is_found_in_any_prose(
    before: str, after: str, value: Any, form: str, ascii_only: bool
) -> None:
    dumped = json.dumps({"why": "because", "answer": value}, ensure_ascii=ascii_only)
    reply = before + form.replace("{}", dumped) + after
    expected = value if isinstance(value, str) else json.dumps(value)
    assert score(reply, expected).value == 1
    assert score(reply, expected + "x").value == 0


@pytest.mark.parametrize(
    ("reply", "answer", "value"),
    [
        ('{"answer": 42}', "42.0", 1),
        ('{"answer": "42"}', "42", 1),
        ('{"answer": 4.20}', "4.2", 1),
        ('{"answer": 43}', "42", 0),
        ('{"answer": true}', "True", 1),
        ('{"answer": true}', "1", 0),
        ('{"answer": null}', "null", 1),
        ('{"answer": " Blue "}', "blue", 1),
        ('{"answer": {"b": 1, "a": [2]}}', '{"a": [2], "b": 1}', 1),
        ('{"answer": ["cafe\u0301"]}', '["caf\\u00e9"]', 1),
        ('{"answer": 1} then {"answer": 2}', "2", 1),
        ('{"answer": 1} then {"note": 2}', "1", 1),
        ('{ not json } {"answer": "x"}', "x", 1),
        ('{"answer": "has } and { in it"}', "has } and { in it", 1),
    ],
)
def test_comparison(reply: str, answer: str, value: int) -> None:
    assert score(reply, answer).value == value


def test_paths() -> None:
    reply = '{"result": {"items": [{"name": "x"}, {"name": "y"}]}}'
    assert score(reply, "y", field="result.items.1.name").value == 1
    assert not score(reply, "y", field="result.items.2.name").parsed
    assert not score(reply, "y", field="result.items.-1.name").parsed
    assert not score(reply, "y", field="result.name").parsed


def test_case_can_count() -> None:
    assert score('{"answer": "Blue"}', "blue", ignore_case=False).value == 0


def test_unparsed_replies_say_why() -> None:
    assert score("blue", "blue") == Score(
        0.0, "no JSON object in the reply 'blue'; expected 'blue'", parsed=False
    )
    missing = score('{"colour": "blue"}', "blue")
    assert missing == Score(0.0, "the JSON object has no field 'answer', its keys: 'colour'", parsed=False)


def test_extract_gives_equal_values_one_text() -> None:
    assert JsonField().extract('x {"answer": {"b": 1, "a": 2}}') == JsonField().extract(
        '{"answer": {"a":2,"b":1}}'
    )
    assert JsonField().extract("none") is None
