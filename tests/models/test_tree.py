from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.models import _tree
from promptopt.models._batch import Pair
from promptopt.models._packed import in_tree_order
from promptopt.models._tree import as_bytes, common

# Few kinds of tokens and repeated pieces, so that beginnings are shared at all lengths.
pieces = st.sampled_from([(0,), (1,), (1, 2), (3,) * 5, tuple(range(9)), (7,) * 20, tuple(range(70))])
texts = st.lists(pieces, min_size=1, max_size=3).map(lambda parts: sum(parts, ()))
many = st.lists(texts, min_size=1, max_size=9)


def planned(sequences, **options):
    return _tree.plan([as_bytes(tokens) for tokens in sequences], **options)


def contexts(outline, there=()):
    """Return what each token of each pack sees, as the tokens from the root down to itself."""
    keys = dict(there)
    found = []
    keys.update((key, keys[old][: len(key[0]) // 4]) for key, old in outline.views)
    for pack in outline.packs:
        assert [low for low, _ in pack.tiles] == [0, *(high for _, high in pack.tiles[:-1])]
        assert pack.tiles[-1][1] == len(pack.tokens)
        tile = {q: low for low, high in pack.tiles for q in range(low, high)}
        seen = []
        for q in range(len(pack.tokens)):
            branches = [key for low, high, key in pack.shared if low <= q < high]
            above = []
            for key in branches:
                assert key in keys, "a branch is looked at before it is computed"
                assert len(above) == key[1], "branches follow each other without a gap"
                above = list(keys[key])
            own = [j for j in range(tile[q], q + 1) if q < pack.ends[j]]
            assert [int(pack.depths[j]) for j in own] == list(range(len(above), len(above) + len(own)))
            seen.append((*above, *(int(pack.tokens[j]) for j in own)))
        for _, high, key in pack.kept:
            keys[key] = seen[high - 1]
            assert as_bytes(keys[key]) == key[0]
        found.append(seen)
    return found, keys


@settings(max_examples=40, deadline=None)
@given(many, st.integers(1, 300), st.booleans(), st.data())
def test_every_token_sees_its_own_context_and_nothing_else(sequences, budget, generating, data):
    scored = [data.draw(st.integers(1, min(3, len(text)))) for text in sequences]
    ahead = [50] * len(sequences) if generating else None
    outline = planned(sequences, budget=budget, scored=scored, ahead=ahead)
    found, keys = contexts(outline)
    for number, text in enumerate(sequences):
        for depth in range(len(text) - scored[number], len(text)):
            pack, index = outline.place(number, depth)
            assert found[pack][index] == text[: depth + 1]
        chain = outline.leaves[number].chain
        begin = len(keys[chain[-1]]) if chain else 0
        pack = outline.place(number, len(text) - 1)[0]
        if generating:
            assert [found[pack][k] for k in outline.tail(number)] == [
                text[: depth + 1] for depth in range(begin, len(text))
            ]


@settings(max_examples=40, deadline=None)
@given(many, many)
def test_a_plan_goes_on_from_the_branches_of_another(before, after):
    first = planned(sorted(before), budget=100, scored=[1] * len(before))
    _, keys = contexts(first)
    have = first.leaves[-1].chain
    second = planned(after, budget=100, scored=[1] * len(after), have=have)
    found, _ = contexts(second, {key: keys[key] for key in have})
    for number, text in enumerate(after):
        pack, index = second.place(number, len(text) - 1)
        assert found[pack][index] == text


@settings(max_examples=40, deadline=None)
@given(many)
def test_distinct_tokens_are_computed_once_but_for_short_beginnings(sequences):
    outline = planned(sequences, budget=10**6, scored=[1] * len(sequences))
    distinct = len({text[:end] for text in sequences for end in range(1, len(text) + 1)})
    computed = sum(len(pack.tokens) for pack in outline.packs)
    branches = sum(len(node.children) for leaf in outline.leaves for node in path(leaf))
    assert distinct <= computed <= distinct + (_tree.SHORT - 1) * branches


def path(node):
    while node is not None:
        yield node
        node = node.parent


def test_what_was_read_before_is_not_read_again():
    prompt = tuple(range(200))
    first = planned([(*prompt, *range(k, 60 + k)) for k in range(9)], budget=512, scored=[1] * 9)
    have = first.leaves[-1].chain
    assert [len(key[0]) // 4 for key in have] == [200]
    again = planned(
        [(*prompt, 5, *range(k, 60 + k)) for k in range(9)], budget=512, scored=[1] * 9, have=have
    )
    assert sum(len(pack.tokens) for pack in again.packs) <= 9 * 61


def test_packs_keep_to_their_limits():
    sequences = [(k, *range(20)) for k in range(40)]
    outline = planned(sequences, budget=100, scored=[3] * 40, logits=7)
    assert max(len(pack.tokens) for pack in outline.packs) == 42
    assert len(outline.packs) == 20


@settings(max_examples=40, deadline=None)
@given(many, st.integers(1, 400))
def test_batches_in_tree_order_keep_every_pair_and_the_limit(prompts, limit):
    pairs = list(dict.fromkeys(Pair(prompt, (k % 3, k)) for k, prompt in enumerate(prompts)))
    batches = list(in_tree_order(pairs, limit))
    assert sorted(map(repr, pairs)) == sorted(repr(pair) for batch in batches for pair in batch)
    for batch in batches:
        whole = [pair.prompt + pair.continuation for pair in batch]
        distinct = {text[:end] for text in whole for end in range(1, len(text) + 1)}
        assert len(batch) == 1 or len(distinct) <= limit


@given(texts, texts)
def test_common_beginnings(a, b):
    expected = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert common(as_bytes(a), as_bytes(b)) == expected
    assert (as_bytes(a) < as_bytes(b)) == (a < b)
    assert np.array_equal(np.frombuffer(as_bytes(a), ">u4"), a)
