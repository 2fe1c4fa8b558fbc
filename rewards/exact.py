"""The reply is an accepted answer: as written, or after SQuAD normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score

from ._text import (
    answers_of,
    compose,
    drop_punctuation,
    fold,
    is_punctuation,
    phrase,
    quote,
    quote_any,
    squad,
    tail,
)


@dataclass
class ExactMatch:
    """1 if the reply equals the main or any other accepted answer, else 0.

    Normalisation, of reply and answers alike: Unicode composed (form C), then as the options say. By
    default case and outer white space are ignored and all else counts. An empty reply is not parsed,
    unless the empty text is an accepted answer.

    Attributes:
        ignore_case: compare in lower case.
        strip: ignore white space at both ends.
        punctuation: `keep` it, ignore the `outer` one (quotes around the reply, a final full stop), or
            `drop` all of it. What would leave nothing is kept.
    """

    ignore_case: bool = True
    strip: bool = True
    punctuation: Literal["keep", "outer", "drop"] = "keep"
    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the reply with each accepted answer."""
        answers = answers_of(example, "exact_match")
        reply = self._key(output.text)
        return _score(any(reply == self._key(answer) for answer in answers), answers, output.text)

    def extract(self, text: str) -> str | None:
        """Return the reply as it is compared."""
        return self._key(text) if text.strip() else None

    def _key(self, text: str) -> str:
        text = compose(text)
        if self.ignore_case:
            text = text.lower()
        if self.strip:
            text = text.strip()
        if self.punctuation == "outer":
            return _without_outer_punctuation(text) or text
        if self.punctuation == "drop":
            bare = drop_punctuation(text)
            return (bare.strip() if self.strip else bare) or text
        return text


@dataclass
class AcceptedSet:
    """1 if the reply equals any accepted answer after SQuAD normalisation, else 0.

    Normalisation, of reply and answers alike: lower case, punctuation and English articles removed, white
    space folded (Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
    exact match; Unicode punctuation too, and a step that would leave nothing is skipped). An empty reply
    is not parsed.

    Attributes:
        articles: whether a, an, the are removed; switch it off for other languages.
    """

    articles: bool = True
    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the normalised reply with each normalised answer."""
        answers = answers_of(example, "accepted_set")
        reply = squad(output.text, self.articles)
        return _score(any(reply == squad(answer, self.articles) for answer in answers), answers, output.text)

    def extract(self, text: str) -> str | None:
        """Return the normalised reply."""
        return squad(text, self.articles) or None


def _score(right: bool, answers: Sequence[str], reply: str) -> Score:
    if right:
        return Score(1.0, "correct")
    expected = f"expected {quote_any(list(answers))}"
    if not reply.strip():
        return Score(0.0, f"{expected} but the reply was empty", parsed=False)
    normalised = squad(reply)
    for answer in answers:
        if squad(answer) == normalised:
            hint = "differs from it only in case, punctuation, articles or white space"
            return Score(0.0, f"expected {quote(answer)}; the reply {quote(reply)} {hint}")
    folded = fold(tail(reply))
    for answer in answers:
        if answer.strip() and phrase(fold(answer)).search(folded):
            return Score(
                0.0, f"the reply holds the answer {quote(answer)} but adds other words: {quote(reply)}"
            )
    return Score(0.0, f"{expected} but the reply was {quote(reply)}")


def _without_outer_punctuation(text: str) -> str:
    start, end = 0, len(text)
    while start < end and (is_punctuation(text[start]) or text[start].isspace()):
        start += 1
    while end > start and (is_punctuation(text[end - 1]) or text[end - 1].isspace()):
        end -= 1
    return text[start:end]
