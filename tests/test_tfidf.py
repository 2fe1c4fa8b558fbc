"""TF-IDF against a plain dense computation."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.tfidf import Tfidf, terms

texts = st.text(alphabet="abc é1-", max_size=12)


def naive(pool, text):
    """Compute the cosines from the definition."""
    counted = [terms(other) for other in (*pool, text)]
    rarity = {
        term: 1 + math.log((1 + len(pool)) / (1 + sum(term in counts for counts in counted[:-1])))
        for counts in counted
        for term in counts
    }
    vectors = [{t: (1 + math.log(c)) * rarity[t] for t, c in counts.items()} for counts in counted]
    lengths = [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors]
    return [
        sum(w * vectors[-1].get(t, 0) for t, w in vector.items()) / (length * lengths[-1] or 1)
        for vector, length in zip(vectors[:-1], lengths[:-1], strict=True)
    ]


@settings(deadline=None)
@given(st.lists(texts, max_size=6), texts)
def test_similarities_are_the_cosines_of_the_definition(pool, text):
    found = Tfidf(pool).similarities(text)
    np.testing.assert_allclose(found, naive(pool, text), atol=1e-12)
    assert found.shape == (len(pool),)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=6))
def test_a_text_is_most_like_itself_and_vectors_have_length_one(pool):
    index = Tfidf(pool)
    matrix = index.matrix()
    for place, text in enumerate(pool):
        mine = index.similarities(text)
        np.testing.assert_allclose(mine, matrix @ matrix[place], atol=1e-12)
        assert math.isclose(mine[place], 1.0 if terms(text) else 0.0, abs_tol=1e-12)
        assert mine.max() <= 1 + 1e-12


@settings(deadline=None)
@given(st.lists(texts, max_size=6), texts, st.randoms())
def test_the_order_of_the_texts_does_not_matter(pool, text, random):
    order = list(range(len(pool)))
    random.shuffle(order)
    moved = Tfidf([pool[place] for place in order]).similarities(text)
    np.testing.assert_allclose(moved, Tfidf(pool).similarities(text)[order], atol=1e-12)


def test_words_and_their_trigrams_are_counted():
    assert dict(terms("Ab, ab? c")) == {" ab": 2, " c": 1, "^ab": 2, "ab$": 2, "^c$": 1}


def test_rare_words_weigh_more_than_common_ones():
    pool = ["the cat", "the owl", "the pig", "the cow"]
    assert Tfidf(pool).similarities("the owl").argmax() == 1
    assert Tfidf(pool).similarities("the").max() < Tfidf(pool).similarities("owl").max()
