"""The number in the reply, read as for GSM8K."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction

from promptopt.contracts.reward import Needs, Output
from promptopt.errors import DataError, PluginError
from promptopt.records import Example, Score

from ._text import answers_of, conclusion, quote, quote_any, tail

_PLAIN = r"""
    (?<![A-Za-z\d^])                                # not inside a word or a number, no exponent: km2, x^2
    (?P<sign>(?<![A-Za-z\d)\]}])[-+−])?             # in 20-5 the hyphen is an operator
    (?:[$€£¥₹]\s?)?
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    (?P<exponent>[eE][-+]?\d{1,3}(?![\dA-Za-z]))?
"""
_DENOMINATOR = r"(?:\s?/\s?(?P<denominator>0*[1-9]\d*)(?![.,]?\d))?"
_NUMBER = re.compile(_PLAIN, re.VERBOSE)
_FRACTION = re.compile(_PLAIN + _DENOMINATOR, re.VERBOSE)
_FRAC = re.compile(r"(?<!\d)\\[dt]?frac\s?\{\s?(\d+)\s?\}\s?\{\s?(\d+)\s?\}")
_HASHES = re.compile(r"####([^\n]*)")
_BOXED = re.compile(r"\\boxed\s?\{([^\n]*)")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_MAX_DIGITS = 2_000


@dataclass
class Numeric:
    r"""1 if the number read out of the reply equals that of an accepted answer, else 0.

    Reading, of reply and answers alike; the first place that holds a number counts:

    1. after the last `####` (as in the answers of GSM8K: Cobbe et al. 2021, "Training Verifiers to Solve
       Math Word Problems"), the first number of the line;
    2. in the last LaTeX `\boxed{…}`, the first number;
    3. after the last `answer is`, `answer:` or `answer =`, the first number of the sentence, or of what
       follows its last equals sign;
    4. the last number of the reply.

    A number may have a sign, a currency sign, commas between thousands, a decimal point, an exponent and,
    as an option, a denominator (`3/4`, `\frac{3}{4}`). Units and percent signs are ignored: `50%` is 50.
    Digits that belong to a word (`km2`, `x^2`), mixed numbers and number words (`forty`) are not read.

    Comparison is exact on integers of up to 2,000 digits, and allows `tolerance`. A reply without a number is
    not parsed. Of a very long reply only the last 100,000 characters are read.

    Attributes:
        tolerance: largest absolute difference that still counts as equal.
        fractions: read `3/4` as one number rather than as two.
    """

    tolerance: float = 1e-6
    fractions: bool = True
    needs: Needs = field(default="text", init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a tolerance that is no distance."""
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise PluginError("reward numeric.tolerance", "must be 0 or more", got=self.tolerance)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the numbers of reply and answers."""
        answers = answers_of(example, "numeric")
        numbers = [number for number in map(self.read, answers) if number is not None]
        if not numbers:
            raise DataError(
                f"row {example.id}",
                "no answer holds a number, and numeric needs one",
                got=answers,
                do="use exact_match for such rows, or write the answer in digits",
            )
        said = self.read(output.text)
        expected = quote_any([_written(number) for number in numbers])
        if said is None:
            return Score(
                0.0, f"no number in the reply {quote(output.text)}; expected {expected}", parsed=False
            )
        if any(abs(said - number) <= Fraction(self.tolerance) for number in numbers):
            return Score(1.0, "correct")
        return Score(
            0.0, f"expected {expected} but the number read from the reply was {quote(_written(said))}"
        )

    def extract(self, text: str) -> str | None:
        """Return the number in one way of writing it."""
        number = self.read(text)
        return None if number is None else _written(number)

    def read(self, text: str) -> Fraction | None:
        """Return the number that a text gives as its answer, or None."""
        text = _FRAC.sub(r"\1/\2", tail(text).replace("{,}", ",").replace("\\$", "$").replace("\\%", "%"))
        for marker in (_HASHES, _BOXED):
            marked = marker.findall(text)
            numbers = self._numbers(marked[-1]) if marked else []
            if numbers:
                return numbers[0]
        said = (conclusion(text) or "").strip()
        sentence = _SENTENCE_END.split(said.partition("\n")[0], maxsplit=1)[0]
        for part in (sentence.rpartition("=")[2], sentence):
            numbers = self._numbers(part)
            if numbers:
                return numbers[0]
        numbers = self._numbers(text)
        return numbers[-1] if numbers else None

    def _numbers(self, text: str) -> list[Fraction]:
        pattern = _FRACTION if self.fractions else _NUMBER
        return [n for match in pattern.finditer(text) if (n := _value(match.groupdict())) is not None]


def _value(parts: dict[str, str | None]) -> Fraction | None:
    digits, denominator = (parts["digits"] or "").replace(",", ""), parts.get("denominator") or "1"
    if len(digits) > _MAX_DIGITS or len(denominator) > _MAX_DIGITS:
        return None
    value = Fraction(digits + (parts["exponent"] or "")) / int(denominator)
    return -value if parts["sign"] in ("-", "−") else value


def _written(number: Fraction) -> str:
    if number.denominator == 1:
        return str(number.numerator)
    try:
        return f"{float(number):.12g}"
    except OverflowError:
        return str(number)
