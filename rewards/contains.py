"""The answer occurs in the reply."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score

from ._text import answers_of, fold, phrase, quote, quote_any, tail


@dataclass
class Contains:
    """1 if an accepted answer occurs in the reply as whole words, else 0.

    Normalisation, of reply and answers alike: lower case, white space folded. `cat` does not occur in
    `cats`, nor `3` in `13` or `3.5`; in scripts written without spaces the answer may stand anywhere. Of
    a very long reply only the last 100,000 characters are searched. An empty reply is not parsed.

    A reply that lists every possible answer scores 1 as well; where prompts could learn that, prefer
    exact match.

    Source: metric `contains` of Honovich et al. 2022, "Instruction Induction: From Few Examples to
    Natural Language Task Descriptions", appendix on metrics; there punctuation is removed first and only
    the first sentence counts.
    """

    needs: Needs = field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Look for each accepted answer in the reply."""
        answers = answers_of(example, "contains")
        reply = fold(tail(output.text))
        if not reply:
            return Score(0.0, f"expected {quote_any(answers)} but the reply was empty", parsed=False)
        for answer in answers:
            wanted = fold(answer)
            if wanted and phrase(wanted).search(reply):
                return Score(1.0, "correct")
        return Score(0.0, f"{quote_any(answers)} does not occur in the reply {quote(output.text)}")

    def extract(self, text: str) -> str | None:
        """Return the folded reply: which words of it answer is not known without the example."""
        return fold(tail(text)) or None
