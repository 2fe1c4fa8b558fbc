"""How requests are packed into batches."""

from hypothesis import given
from hypothesis import strategies as st

from promptopt.contracts.model import Decoding
from promptopt.models import _batch
from promptopt.models._batch import Job, Pair, pack, shared

prompts = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(tuple)
jobs = st.builds(Job, prompts, st.builds(Decoding, st.integers(1, 20)), st.just(frozenset()))
pairs = st.builds(Pair, prompts, prompts)


@given(st.lists(jobs, unique=True) | st.lists(pairs, unique=True), st.integers(1, 200))
def test_packing_keeps_every_item_and_the_limits(items, limit):
    batches = list(pack(items, limit, vocabulary=100))
    assert sorted(map(repr, (item for batch in batches for item in batch))) == sorted(map(repr, items))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(item.width for item in batch) <= limit


@given(st.lists(prompts, min_size=1))
def test_shared_tokens_leave_each_row_one_of_its_own(sequences):
    common = shared(sequences)
    assert all(
        sequence[:common] == sequences[0][:common] and len(sequence) > common for sequence in sequences
    )
    longer = [sequence[: common + 1] for sequence in sequences]
    assert len(set(longer)) > 1 or min(map(len, sequences)) == common + 1


def test_many_logits_split_a_batch():
    wide = [Pair((1,), (2,) * 100 + (k,)) for k in range(10)]
    rows = [len(batch) for batch in pack(wide, 10**9, vocabulary=_batch.MAX_LOGITS // 204)]
    assert rows == [2] * 5
