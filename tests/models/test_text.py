"""What models do to text."""

from hypothesis import given
from hypothesis import strategies as st

from promptopt.contracts.model import LikelihoodRequest
from promptopt.models._text import cut, joined, spaced
from promptopt.records import Message


@given(st.lists(st.text(), min_size=1, max_size=3), st.text())
def test_prompt_and_continuation_never_touch_and_nothing_else_changes(contents, continuation):
    messages = tuple(Message("user", content) for content in contents)
    request = spaced(LikelihoodRequest(messages, continuation))
    assert request.messages == messages
    assert request.continuation in (continuation, f" {continuation}")
    before, after = joined(messages), request.continuation
    assert not before or not after or before[-1].isspace() or after[0].isspace()


@given(st.text(alphabet="ab "), st.lists(st.text(alphabet="ab", min_size=1), max_size=3))
def test_a_cut_text_holds_no_stop_string_and_is_a_beginning(text, stops):
    kept = cut(text, stops)
    assert text.startswith(kept)
    assert not any(stop in kept for stop in stops)
