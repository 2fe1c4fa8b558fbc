from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from promptopt.report.diff import MOST, word_diff


def test_words_that_changed_are_told_from_those_that_stayed() -> None:
    assert word_diff("Write the second letter.", "Write only the last letter.") == (
        ("same", "Write"), ("new", " only"), ("same", " the "), ("gone", "second"), ("new", "last"),
        ("same", " letter."),
    )  # fmt: skip


@given(st.text("ab .\n", max_size=40), st.text("ab .\n", max_size=40))
def test_both_texts_can_be_read_off(old: str, new: str) -> None:
    runs = word_diff(old, new)
    assert "".join(run.text for run in runs if run.kind != "new") == old
    assert "".join(run.text for run in runs if run.kind != "gone") == new
    assert all(run.text for run in runs)


def test_long_texts_are_shown_whole() -> None:
    old, new = "a " * MOST, "b " * MOST
    began = time.monotonic()
    assert word_diff(old, new) == (("gone", old), ("new", new))
    assert time.monotonic() - began < 5
