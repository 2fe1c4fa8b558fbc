"""Secrets are read from the environment and replaced wherever text leaves the program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.redact import conceal, redact, secret

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=40)


@pytest.fixture(autouse=True, scope="module")
def _forget() -> Iterator[None]:
    """Keep what is remembered here out of other tests' messages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptopt.redact._remembered", set())
        yield


@given(KEYS, st.text(), st.text())
def test_a_secret_that_was_read_appears_in_no_text(key: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptopt.redact._remembered", set())
        patch.setenv("SOME_KEY", key)
        assert secret("SOME_KEY") == key
        redacted = redact(f"{before}{key}{after}")
    assert key not in redacted or key.strip("*") == ""


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_an_unset_or_blank_variable_is_no_secret(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    assert secret("SOME_KEY") is None
    assert redact("plain text") == "plain text"


def test_a_trailing_line_break_is_no_part_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "line-break-key-1\n")
    assert secret("SOME_KEY") == "line-break-key-1"
    assert redact("got line-break-key-1.") == "got ***."


def test_of_two_secrets_the_longer_is_replaced_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "qwertz")
    monkeypatch.setenv("LONG", "qwertz-uiop-asdf")
    secret("SHORT"), secret("LONG")
    assert redact("a qwertz-uiop-asdf b qwertz c") == "a *** b *** c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect API key provided: sk-proj-aB3_x9-Zz12345.", "Incorrect API key provided: ***"),
        ("Authorization: Bearer abc.def-123==", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwdw==", "authorization: basic ***"),
        ("https://ann:geheim@host/v1 refused", "https://***@host/v1 refused"),
        ("token hf_abcdefghijkl", "token ***"),
        ("a task-oriented, risk-averse desk", "a task-oriented, risk-averse desk"),
        (
            "Missing bearer or basic authentication in header",
            "Missing bearer or basic authentication in header",
        ),
        ("the bearer of the ring", "the bearer of the ring"),
    ],
)
def test_what_looks_like_a_key_is_replaced_and_words_are_not(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_a_reply_loses_the_secrets_that_were_read_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "geheim-4711")
    secret("SOME_KEY")
    assert (
        conceal("geheim-4711, Bearer abc123== and sk-abcdefghij") == "***, Bearer abc123== and sk-abcdefghij"
    )
