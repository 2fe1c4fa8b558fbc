"""Attention part by part: whatever the kernel takes at once, the keys that are seen are those of the part."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptopt.models._parts import LANES, WORTH, Rule, evened, merge, part

RULE = Rule(0.125, None, None)


@given(low=st.integers(0, 60), count=st.integers(1, 60), after=st.integers(0, 60))
def test_a_range_is_evened_where_there_is_room(low, count, after):
    high, size = low + count, low + count + after
    keys = evened(low, high, size)
    assert 0 <= keys.start <= low < high <= keys.stop <= size
    more = keys.stop - keys.start - count
    assert more == (-count % LANES if -count % LANES <= size - count else 0)


def states(tokens, seed):
    return torch.randn(1, 3, tokens, 8, generator=torch.Generator().manual_seed(seed))


def by_softmax(query, key, value, mask):
    products = query @ key.transpose(-1, -2) * RULE.scale + mask
    return products.softmax(-1) @ value, products.logsumexp(-1)


@pytest.mark.parametrize("queries", [1, WORTH - 1, WORTH, 50])
@pytest.mark.parametrize("keys", [1, LANES - 1, LANES, LANES + 1, 41])
@pytest.mark.parametrize("masked", [False, True])
def test_a_part_is_the_softmax_of_its_products(queries, keys, masked):
    query, key, value = states(queries, 0), states(keys, 1), states(keys, 2)
    mask = torch.zeros(queries, keys)
    if masked:
        mask[torch.rand(queries, keys, generator=torch.Generator().manual_seed(3)) < 0.4] = -1e30
        mask[:, 0] = 0.0
    found = part(query, key, value, RULE, mask if masked else None)
    for one, other in zip(found, by_softmax(query, key, value, mask), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [1, 7, LANES, 29])
def test_parts_merge_into_the_whole(first):
    query, key, value = states(40, 0), states(41, 1), states(41, 2)
    out, total = part(query, key[:, :, :first], value[:, :, :first], RULE)
    merge(out, total, part(query, key[:, :, first:], value[:, :, first:], RULE))
    whole = by_softmax(query, key, value, torch.zeros(40, 41))
    torch.testing.assert_close(out, whole[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, whole[1], atol=1e-5, rtol=1e-5)
