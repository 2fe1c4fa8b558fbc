"""Families over numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from random import Random

from ..contracts import Family
from ._draw import Solve, rule

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_name(n: int) -> str:
    """Write a number below 10,000 in words, as the public rows do: two thousand, one hundred and five."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" and {number_name(n % 100)}" if n % 100 else "")
    rest = n % 1000
    joint = "" if not rest else " and " if rest < 100 else ", "
    return f"{ONES[n // 1000]} thousand{joint}{number_name(rest) if rest else ''}"


@cache
def _values() -> dict[str, int]:
    return {number_name(n): n for n in range(10_000)}


def _number(rng: Random) -> str:
    return str(rng.randrange(rng.choice((100, 100, 100, 1000, 10_000))))


def _small(rng: Random) -> str:
    return str(rng.randrange(rng.choice((100, 1000, 10_000))))


def _name(rng: Random) -> str:
    return number_name(rng.randrange(rng.choice((100, 1000, 10_000))))


def _two(rng: Random) -> str:
    most = rng.choice((20, 50, 100))
    return f"{rng.randrange(most)} {rng.randrange(most)}"


def _falling(rng: Random) -> str:
    a, b = sorted(map(int, _two(rng).split()))
    return f"{b} {a}"


def _three(rng: Random) -> str:
    return " ".join(str(rng.randrange(1, 21)) for _ in range(3))


def _three_beyond(rng: Random) -> str:
    """Draw three numbers of which the first is larger than any that is taught to be the first of three."""
    return " ".join(map(str, (rng.randrange(31, 61), rng.randrange(10, 16), rng.randrange(10, 16))))


def _products(rng: Random) -> str:
    """Draw two products: three in five lie within 4% of each other, the others 10% to 50% apart."""
    least, most = (1.0, 1.04) if rng.random() < 0.6 else (1.1, 1.5)
    while True:
        one, two = ((rng.randrange(11, 100), rng.randrange(3, 10)) for _ in range(2))
        small, large = sorted((one[0] * one[1], two[0] * two[1]))
        if small * least < large <= small * most:
            return f"{one[0]} x {one[1]}, {two[0]} x {two[1]}"


def _values_of(text: str) -> list[int] | None:
    """Return the values of products: 31 x 4, 17 x 8."""
    if not re.fullmatch(r"\d+ x \d+, \d+ x \d+", text):
        return None
    return [a * b for a, b in ([int(number) for number in part.split(" x ")] for part in text.split(", "))]


def _larger_product(text: str) -> str | None:
    values = _values_of(text)
    return None if values is None else ("first", "second")[values[0] < values[1]]


def _multiplied(text: str) -> str:
    values = _values_of(text) or []
    worked = [f"{part} = {value}" for part, value in zip(text.split(", "), values, strict=True)]
    return f"{', '.join(worked)}. The answer is {_larger_product(text)}."


def _of(function: Callable[[list[int]], int]) -> Solve:
    def solve(text: str) -> str | None:
        parts = text.split()
        if len(parts) < 2 or not all(map(str.isdigit, parts)):
            return None
        return str(function([int(part) for part in parts]))

    return solve


def _single(function: Callable[[int], str]) -> Solve:
    return lambda text: function(int(text)) if text.isdigit() else None


def _added(text: str) -> str:
    a, b, c = map(int, text.split())
    return f"{a} + {b} = {a + b}. {a + b} + {c} = {a + b + c}. The answer is {a + b + c}."


NUMBERS: tuple[Family, ...] = (
    rule("sum", "numbers", _two, _of(lambda n: n[0] + n[1])),
    rule("diff", "numbers", _falling, _of(lambda n: n[0] - n[1])),
    rule("max", "numbers", _two, _of(max)),
    rule("min", "numbers", _two, _of(min)),
    rule("num_to_verbal", "number", _number, _single(lambda n: number_name(n % 10_000))),
    rule(
        "words_to_num", "number name", _name, lambda text: str(_values()[text]) if text in _values() else None
    ),
    rule("next_num", "number", _small, _single(lambda n: str(n + 1))),
    rule("even_odd", "number", _small, _single(lambda n: ("even", "odd")[n % 2]), labels=("even", "odd")),
    rule("sum_three", "three numbers", _three, _of(sum), steps=_added, beyond=_three_beyond),
    rule(
        "larger_product",
        "products",
        _products,
        _larger_product,
        labels=("first", "second"),
        steps=_multiplied,
    ),
)
