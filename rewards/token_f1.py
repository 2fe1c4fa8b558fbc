"""The share of words that reply and answer have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score

from ._text import answers_of, quote, squad

_SHOWN = 5


@dataclass
class TokenF1:
    """F1 of the words that reply and answer share, in [0, 1]; the best over the accepted answers.

    With c the number of shared words (counted as often as in both), r words in the reply and a in the
    answer, precision c/r and recall c/a give F1 = 2c / (r + a).

    Normalisation, of reply and answers alike: lower case, punctuation and English articles removed; words
    are what white space separates. An empty reply is not parsed.

    Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section
    6.1. Honovich et al. 2022, "Instruction Induction", keep the articles (`articles=False` here) and look
    at the reply's first sentence only, which this does not.

    Attributes:
        articles: whether a, an, the are removed.
    """

    articles: bool = True
    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Return the best F1 over the accepted answers."""
        answers = answers_of(example, "token_f1")
        values = [self.f1(output.text, answer) for answer in answers]
        best = max(range(len(answers)), key=values.__getitem__)
        if not output.text.strip():
            return Score(
                values[best], f"expected {quote(answers[best])} but the reply was empty", parsed=False
            )
        return Score(values[best], self._why(output.text, answers[best]) if values[best] < 1 else "correct")

    def f1(self, left: str, right: str) -> float:
        """Return the F1 of two texts; 1 when both are empty."""
        first, second = self._words(left), self._words(right)
        total = first.total() + second.total()
        return 2 * (first & second).total() / total if total else 1.0

    def extract(self, text: str) -> str | None:
        """Return the normalised reply."""
        return squad(text, self.articles) or None

    def _words(self, text: str) -> Counter[str]:
        return Counter(squad(text, self.articles).split())

    def _why(self, reply: str, answer: str) -> str:
        said, wanted = self._words(reply), self._words(answer)
        parts = [f"shares {(said & wanted).total()} of the {wanted.total()} words of {quote(answer)}"]
        for name, group in (("missing", wanted - said), ("too many", said - wanted)):
            if group:
                shown = ", ".join(quote(word, 40) for word in list(group)[:_SHOWN])
                more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
                parts.append(f"{name}: {shown}{more}")
        return "; ".join(parts)
