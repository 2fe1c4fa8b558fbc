"""One field of the JSON object in the reply."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from promptopt.contracts.reward import Needs, Output
from promptopt.records import Example, Score, canonical_json

from ._text import answers_of, compose, quote, quote_any, same_number, tail

_MAX_TRIES = 1_000
_DECODER = json.JSONDecoder(parse_constant=str)


@dataclass
class JsonField:
    """1 if a field of the reply's JSON object equals an accepted answer, else 0.

    The object may stand alone, in a ```json fence, or in prose; of several the last one that has the field
    counts. Of a very long reply only the last 100,000 characters are read.

    Comparison: numbers by value (`42`, `42.0` and the text `"42"` are equal); true, false and null by name;
    lists and objects by their content; texts with Unicode composed and outer white space removed, in lower
    case unless `ignore_case` is off. A reply without such an object, or whose object has no such field, is
    not parsed.

    Attributes:
        field: path of keys and list positions, joined by dots: `answer`, `result.items.0.name`.
        ignore_case: compare texts whatever the case.
    """

    field: str = "answer"
    ignore_case: bool = True
    needs: Needs = dataclasses.field(default="text", init=False, repr=False)

    def __call__(self, example: Example, output: Output) -> Score:
        """Compare the field with each accepted answer."""
        answers = answers_of(example, "json_field")
        expected = f"expected {quote_any(answers)}"
        objects = _objects(output.text)
        if not objects:
            return Score(0.0, f"no JSON object in the reply {quote(output.text)}; {expected}", parsed=False)
        value = self._value(objects)
        if value is None:
            keys = ", ".join(quote(key, 40) for key in list(objects[-1])[:8]) or "none"
            return Score(0.0, f"the JSON object has no field {self.field!r}, its keys: {keys}", parsed=False)
        if any(self._equal(value, answer) for answer in answers):
            return Score(1.0, "correct")
        return Score(0.0, f"{expected} but the field {self.field!r} of the reply was {quote(value)}")

    def extract(self, text: str) -> str | None:
        """Return the field's value as text."""
        value = self._value(_objects(text))
        return None if value is None else self._key(value)

    def _value(self, objects: list[dict[str, Any]]) -> str | None:
        for found in reversed(objects):
            value: Any = found
            for step in self.field.split("."):
                if isinstance(value, dict) and step in value:
                    value = value[step]
                elif isinstance(value, list) and step in map(str, range(len(value))):
                    value = value[int(step)]
                else:
                    break
            else:
                with contextlib.suppress(RecursionError):
                    return value if isinstance(value, str) else canonical_json(value)
        return None

    def _equal(self, value: str, answer: str) -> bool:
        return self._key(value) == self._key(answer) or same_number(value, answer)

    def _key(self, text: str) -> str:
        text = text.strip()
        if text.startswith(("{", "[")):
            # A text that only looks like JSON stays a text.
            with contextlib.suppress(ValueError, RecursionError):
                text = canonical_json(_DECODER.decode(text))
        text = compose(text)
        return text.lower() if self.ignore_case else text


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a text, in order, those inside others left out."""
    text = tail(text)
    found, start = [], text.find("{")
    for _ in range(_MAX_TRIES):
        if start < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):  # not JSON, or nested past reason
            end = start + 1
        else:
            found.append(value)
        start = text.find("{", end)
    return found
