from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt import strict_yaml
from promptopt.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("007", "007"), ("1.10", "1.10"), ("NO", "NO"), ("yes", "yes"), ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("1e3", "1e3"), ("0x1F", "0x1F"), ("1_000", "1_000"), (".5", ".5"), ("+1", "+1"), ("-0", "-0"),
        ("-0.0", -0.0),
        ("NaN", "NaN"), (".inf", ".inf"), ("2024-01-01", "2024-01-01"), ("True", "True"), ("<<", "<<"),
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("5", 5), ("-5", -5), ("0", 0), ("0.25", 0.25), ("2.0", 2.0),
        ("12345678901234567890", "12345678901234567890"), ("0.1234567890123456789", "0.1234567890123456789"),
    ],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2_and_numbers_only_when_they_survive(text: str, value: object) -> None:
    for read in (strict_yaml.scalar(text), strict_yaml.parse(f"key: {text}\n").value["key"]):
        assert read == value
        assert type(read) is type(value)


@pytest.mark.parametrize("quoted", ['"5"', "'5'", "|-\n  5"])
def test_a_quoted_scalar_is_text(quoted: str) -> None:
    assert strict_yaml.parse(f"key: {quoted}\n").value == {"key": "5"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "job.yaml line 3: key 'a' appears twice; first on line 1"),
        ("a: &x [1]\nb: 2\n", "job.yaml line 1: anchors and aliases are not allowed; got '&x'"),
        ("a: 1\nb: *x\n", "job.yaml line 2: anchors and aliases are not allowed; got '*x'"),
        ("a: !!python/object:os.system x\n", "job.yaml line 1: tags are not allowed"),
        ("a: 1\n---\nb: 2\n", "job.yaml line 2: not valid YAML: a second document"),
        ("a: 1\nb: c: d\n", "job.yaml line 2: not valid YAML: mapping values are not allowed here"),
        (
            "a:\n\tb: 1\n",
            "job.yaml line 2: not valid YAML: found character '\\t' that cannot start any token",
        ),
        ("a: 1\nb: \x00\n", "job.yaml line 2: a control character"),
        ("a: 1\nprompt: {{question}}\n", "job.yaml line 2: a key must be a word"),
        ("a: " + "[" * 200 + "]" * 200, "job.yaml line 1: nested deeper than"),
        ("a: [1, 2\n", "job.yaml line"),
        ("a: 'open\n", "job.yaml line"),
    ],
)
def test_what_is_refused_says_where_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        strict_yaml.parse(text, "job.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_lines_are_known_for_every_key_and_item() -> None:
    document = strict_yaml.parse("a: 1\nb:\n  c: 2\n  d:\n    - x\n    - y: 1\n", "job.yaml")
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "d", 1)] == 6
    assert document.where(("b", "d", 1, "y")) == "job.yaml line 6"
    assert document.where(("b", "missing")) == "job.yaml line 2"
    assert document.where(("missing",)) == "job.yaml"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*promptopt init"):
        strict_yaml.load(tmp_path / "missing.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.yaml line 2: not UTF-8"):
        strict_yaml.load(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: " + b"x" * strict_yaml.MAX_BYTES)
    with pytest.raises(ConfigError, match="larger than"):
        strict_yaml.load(large)
    with pytest.raises(ConfigError, match="cannot be read"):
        strict_yaml.load(tmp_path)


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert strict_yaml.load(file).value == {"a": 1}


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | texts | st.sampled_from(
    ["NO", "1.10", "007", "1e5", "1e+16", "true", "~", "", "=", "<<", "{{x}}", "- a", "a: b", "# c"]
)  # fmt: skip
keys = texts.filter(lambda key: len(key) < 100 and "\n" not in key)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, trees, max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, object]) -> None:
    assert strict_yaml.parse(strict_yaml.dump(value)).value == value


@given(st.text(max_size=200))
def test_any_text_parses_or_raises_a_config_error(text: str) -> None:
    problem = ""
    try:
        strict_yaml.parse(text)
    except ConfigError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize("character", ["\r", "\x85", "\u2028", "\u2029"])
def test_line_breaks_that_yaml_folds_are_kept(character: str) -> None:
    for text in (f"a{character}b", f"{character} a\n", f"a\n{character}"):
        value = {"prompt": text, "list": [text]}
        assert strict_yaml.parse(strict_yaml.dump(value)).value == value
