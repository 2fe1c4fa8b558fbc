from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.visible import JUMPY, KEPT, escape, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümlaut, 日本語, 한국어, emoji 🎉", None),
        ("family 👩\u200d👩\u200d👧 and Persian می\u200cخواهم", None),
        ("two\nlines\tand a tab", None),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\\x0db"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("\u2066x\u2069\u200b\ufeff", "\\u2066x\\u2069\\u200b\\ufeff"),
        ("tag \U000e0041\U000e0101", "tag \\U000e0041\\U000e0101"),
        ("half \ud800", "half \\ud800"),
        ("line\u2028end\x85", "line\\u2028end\\x85"),
        ("soft\u00adhyphen\u3164", "soft\\xadhyphen\\u3164"),
    ],
)
def test_what_acts_is_shown_and_what_stands_is_left(text: str, shown: str | None) -> None:
    assert visible(text) == (text if shown is None else shown)


@given(st.text())
def test_nothing_that_acts_is_left_and_nothing_is_lost(text: str) -> None:
    shown = visible(text)
    assert all(c in KEPT or unicodedata.category(c) not in JUMPY for c in shown)
    assert visible(shown) == shown
    assert visible(text, lambda _: "") == "".join(c for c in text.replace("\r\n", "\n") if visible(c) == c)


def test_escapes_can_be_dressed_up_and_one_line_is_one() -> None:
    assert visible("a\x07b", lambda written: f"<{written}>") == "a<\\x07>b"
    assert one_line(" a\n\tb\x1b[31mc\u202e ") == "a b\\x1b[31mc\\u202e"
    assert [escape(c) for c in "\x00\u200e\U000e0020"] == ["\\x00", "\\u200e", "\\U000e0020"]
