"""Records: immutability, and the numbers derived from cells."""

import dataclasses
import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.records import (
    Budget,
    Cell,
    Evaluation,
    Example,
    FrozenMap,
    Price,
    Score,
    Usage,
    canonical_json,
    digest,
)

finite = st.floats(-1e6, 1e6, allow_nan=False)


def ok(example, value, sample=0, parsed=True):
    return Cell("p", example, sample, score=Score(value, parsed=parsed))


def failed(example):
    return Cell("p", example, status="failed", reason="timeout")


@given(st.lists(finite, min_size=2, max_size=30))
def test_mean_and_standard_error_are_those_of_the_values(values):
    evaluation = Evaluation("p", "r", tuple(ok(str(i), v) for i, v in enumerate(values)))
    assert evaluation.n == len(values)
    assert evaluation.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    expected = statistics.stdev(values) / math.sqrt(len(values))
    assert evaluation.standard_error == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_row_values_keep_the_places_of_failed_rows():
    evaluation = Evaluation("p", "r", (ok("a", 1.0), ok("a", 0.0, 1), failed("b"), ok("c", 0.25)))
    assert evaluation.row_values == (0.5, pytest.approx(math.nan, nan_ok=True), 0.25)
    assert Evaluation("p", "r").row_values == ()


def test_samples_of_a_row_are_averaged_first_so_that_rows_weigh_alike():
    cells = (ok("a", 1.0, 0), ok("a", 0.0, 1), ok("a", 0.0, 2), ok("b", 1.0))
    evaluation = Evaluation("p", "r", cells)
    assert evaluation.values == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert evaluation.n == 2
    assert evaluation.mean == pytest.approx(2 / 3)
    assert not evaluation.binary


def test_a_failed_cell_counts_neither_as_right_nor_as_wrong():
    evaluation = Evaluation("p", "r", (ok("a", 1.0), failed("b")))
    assert evaluation.mean == 1.0
    assert evaluation.values == {"a": 1.0}
    assert evaluation.failed == 1
    assert math.isnan(failed("b").value)


@pytest.mark.parametrize(
    ("good", "bad", "comparable"), [(9, 1, True), (8, 1, False), (0, 1, False), (1, 0, True)]
)
def test_more_than_a_tenth_failed_is_not_comparable(good, bad, comparable):
    cells = [ok(f"g{i}", 1.0) for i in range(good)] + [failed(f"b{i}") for i in range(bad)]
    assert Evaluation("p", "r", tuple(cells)).comparable is comparable


def test_no_cells_give_no_numbers():
    evaluation = Evaluation("p", "r")
    assert math.isnan(evaluation.mean)
    assert math.isnan(evaluation.standard_error)
    assert evaluation.n == 0
    assert not evaluation.comparable
    assert math.isnan(Evaluation("p", "r", (ok("a", 1.0),)).standard_error)


def test_unparsed_outputs_are_counted_apart_from_wrong_ones():
    evaluation = Evaluation("p", "r", (ok("a", 0.0, parsed=False), ok("b", 0.0), failed("c")))
    assert evaluation.unparsed == 1
    assert evaluation.binary


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example("1", FrozenMap(x="a")).id = "2"
    with pytest.raises(TypeError):
        FrozenMap(x="a")["x"] = "b"


@given(st.text(), st.dictionaries(st.text(), st.text()), st.lists(st.text()), st.none() | st.text())
def test_an_example_survives_as_plain_data(name, inputs, texts, group):
    example = Example(name, FrozenMap(inputs), tuple(texts), tuple(texts[:1]), group)
    assert Example.from_dict(json.loads(json.dumps(example.to_dict()))) == example


def test_the_first_answer_is_the_main_one():
    assert Example("1", FrozenMap(), ("a", "b")).answer == "a"
    assert Example("1", FrozenMap()).answer == ""


@given(st.dictionaries(st.text(), st.text()))
def test_a_frozen_map_is_a_mapping_that_hashes_and_keeps_order(items):
    frozen = FrozenMap(items)
    turned = FrozenMap(dict(reversed(items.items())))
    assert dict(frozen) == items
    assert list(frozen) == list(items)
    assert frozen == turned
    assert hash(frozen) == hash(turned)
    assert len(frozen) == len(items)


def test_a_frozen_map_keeps_its_own_copy_and_takes_any_column_name():
    source = {"self": "a", "items": "b"}
    frozen = FrozenMap(source, more="c")
    source["self"] = "changed"
    assert dict(frozen) == {"self": "a", "items": "b", "more": "c"}
    assert repr(FrozenMap(x="a")) == "FrozenMap({'x': 'a'})"


def test_usage_and_price():
    usage = Usage(1000, 500) + Usage(0, 500)
    assert usage == Usage(1000, 1000)
    assert usage.tokens == 2000
    assert Price(0.15, 0.6).usd(usage) == pytest.approx(0.00075)
    assert Budget() == Budget(None, None, None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values | st.floats(allow_nan=False))
def test_canonical_json_is_what_the_standard_library_writes(value):
    settings = {"sort_keys": True, "ensure_ascii": False, "separators": (",", ":")}
    assert canonical_json(value) == json.dumps(value, **settings)
    assert canonical_json(FrozenMap(b="é", a='"')) == '{"a":"\\"","b":"é"}'


@given(json_values, json_values)
def test_digests_are_equal_exactly_when_the_values_are(a, b):
    assert (digest(a) == digest(b)) == (canonical_json(a) == canonical_json(b))
    assert len(digest(a)) == 16
    assert len(digest(a, 32)) == 32


def test_the_digest_ignores_the_order_of_keys_and_the_kind_of_mapping_only():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(FrozenMap(x="1")) == digest({"x": "1"})
    assert digest([1, 2]) != digest([2, 1])
    assert digest("1") != digest(1)
    assert digest("\ud800") != digest("\ud801")


def test_the_digest_refuses_what_is_not_json():
    with pytest.raises(TypeError, match="not JSON: object"):
        digest(object())
    with pytest.raises(TypeError):
        digest({"a": {1, 2}})


def test_the_digest_never_changes_between_versions():
    assert digest({"instruction": "Schätze", "n": [1, 2.5, None, True]}) == "6db801fbc6a7a880"
