"""TF-IDF vectors of short texts and their cosine similarity: small, exact, without a download.

Source: Salton and Buckley 1988, "Term-Weighting Approaches in Automatic Text Retrieval", with logarithmic
term frequency and smoothed inverse document frequency. A text's terms are its words and the letter trigrams
inside them, so that single words can be alike, too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WORD = re.compile(r"\w+")


def terms(text: str) -> Counter[str]:
    """Count a text's words (with a space before them) and the trigrams of each word and its two ends."""
    words = _WORD.findall(text.casefold())
    padded = [f"^{word}$" for word in words]
    return Counter(
        [
            *(f" {word}" for word in words),
            *(word[at : at + 3] for word in padded for at in range(len(word) - 2)),
        ]
    )


class Tfidf:
    """The vectors of a list of texts: term t of a text weighs (1 + ln count) (1 + ln((1 + n) / (1 + df_t))).

    Vectors have length 1; a text without a term has length 0 and is like no other.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Weigh the terms of `texts`."""
        self.n = len(texts)
        counted = [terms(text) for text in texts]
        self._column: dict[str, int] = {}
        for counts in counted:
            for term in counts:
                self._column.setdefault(term, len(self._column))
        texts_of = np.repeat(np.arange(self.n), [len(counts) for counts in counted])
        columns = np.array([self._column[term] for counts in counted for term in counts], dtype=np.intp)
        often = np.array([count for counts in counted for count in counts.values()], dtype=np.float64)
        in_texts = np.bincount(columns, minlength=len(self._column))
        self._idf = self._rarity(in_texts)
        weights = (1 + np.log(often)) * self._idf[columns]
        lengths = np.sqrt(np.bincount(texts_of, weights=np.square(weights), minlength=self.n))
        # Kept by term, as in the index of a book: a query looks at the texts that share a term with it.
        order = np.argsort(columns, kind="stable")
        self._columns = columns[order]
        self._texts = texts_of[order]
        self._weights = (weights / lengths[texts_of])[order]
        self._ends = np.concatenate([[0], np.cumsum(in_texts)])

    def similarities(self, text: str) -> Floats:
        """Return the cosine of `text` with each of the texts, `[n]`, in [0, 1]."""
        similar = np.zeros(self.n)
        length = 0.0
        for term, count in terms(text).items():
            column = self._column.get(term)
            if column is None:
                weight = (1 + math.log(count)) * (1 + math.log(1 + self.n))
            else:
                weight = (1 + math.log(count)) * float(self._idf[column])
                its = slice(self._ends[column], self._ends[column + 1])
                similar[self._texts[its]] += weight * self._weights[its]
            length += weight * weight
        return similar / (math.sqrt(length) or 1.0)

    def matrix(self) -> Floats:
        """Return all vectors, `[n, terms]`."""
        dense = np.zeros((self.n, len(self._column)))
        dense[self._texts, self._columns] = self._weights
        return dense

    def _rarity(self, in_texts: NDArray[np.intp]) -> Floats:
        return np.asarray(1 + np.log((1 + self.n) / (1 + in_texts)), dtype=np.float64)
