"""What a regular expression finds in the reply."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from promptopt.contracts.reward import Needs, Output
from promptopt.errors import PluginError
from promptopt.records import Example, Score

from ._text import answers_of, compose, quote, quote_any


@dataclass
class Regex:
    """1 if what `pattern` captures in the reply equals an accepted answer, else 0.

    The answer is what the group named `answer` matched, else the only group, else the whole match.
    Normalisation, of captured text and answers alike: Unicode composed, outer white space removed, lower
    case unless `ignore_case` is off. A reply without a match is not parsed.

    Python's matcher can take exponential time on patterns that repeat a repetition, such as `(a+)+b`: write
    `a+b`. Where it takes a minute, the cell fails. A bad pattern is refused when the reward is built.

    Attributes:
        pattern: in the syntax of Python's `re`.
        which: which of several matches counts.
        ignore_case: match and compare whatever the case.
        dot_all: `.` matches line ends too.
        multi_line: `^` and `$` match at every line.
        max_chars: how much of a long reply is searched: its start for `first`, its end for `last`.
    """

    pattern: str
    which: Literal["first", "last"] = "first"
    ignore_case: bool = True
    dot_all: bool = False
    multi_line: bool = False
    max_chars: int = 10_000
    needs: Needs = field(default="text", init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a pattern that cannot be used, before a model call is paid for."""
        if self.max_chars < 1:
            raise PluginError("reward regex.max_chars", "must be 1 or more", got=self.max_chars)
        try:
            compiled = self._compiled()
        except (re.error, OverflowError, RecursionError) as error:
            raise PluginError(
                "reward regex.pattern", f"not a regular expression: {error}", got=self.pattern
            ) from error
        if compiled.groups > 1 and "answer" not in compiled.groupindex:
            raise PluginError(
                "reward regex.pattern",
                f"has {compiled.groups} groups, and none is named",
                got=self.pattern,
                do="name the one that holds the answer (?P<answer>…), or write the others (?:…)",
            )

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare what the pattern captures with each accepted answer."""
        answers = answers_of(example, "regex")
        found = self._find(output.text)
        expected = f"expected {quote_any(answers)}"
        if found is None:
            problem = f"the reply {quote(output.text)} does not match {quote(self.pattern)}"
            return Score(0.0, f"{problem}; {expected}", parsed=False)
        if any(self._key(found) == self._key(answer) for answer in answers):
            return Score(1.0, "correct")
        return Score(0.0, f"{expected} but the answer read from the reply was {quote(found)}")

    def extract(self, text: str) -> str | None:
        """Return what the pattern captures, as it is compared."""
        found = self._find(text)
        return None if found is None else self._key(found)

    def _compiled(self) -> re.Pattern[str]:
        flags = (
            (re.IGNORECASE if self.ignore_case else re.NOFLAG)
            | (re.DOTALL if self.dot_all else re.NOFLAG)
            | (re.MULTILINE if self.multi_line else re.NOFLAG)
        )
        return re.compile(self.pattern, flags)

    def _find(self, text: str) -> str | None:
        compiled = self._compiled()
        part = text[: self.max_chars] if self.which == "first" else text[-self.max_chars :]
        captured = [
            match["answer"] if "answer" in compiled.groupindex else match[compiled.groups]
            for match in compiled.finditer(part)
        ]
        if not captured:
            return None
        found: str | None = captured[0 if self.which == "first" else -1]
        return found

    def _key(self, text: str) -> str:
        text = compose(text).strip()
        return text.lower() if self.ignore_case else text
