"""List prices of a few models, so that a cap in US dollars works without looking them up.

US dollars per million tokens, input and output, from https://openai.com/api/pricing as it was quoted in
June 2026. They hold for that endpoint alone; a `price` in the job always wins.
"""

from __future__ import annotations

from .records import Price

CHECKED = "2026-06"
OPENAI = {
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4o-mini": Price(0.15, 0.60),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
}
FREE = frozenset({"embedded", "hf"})
"""Providers whose models this machine computes. A function (`python`) may well call something that costs."""


def list_price(provider: str, name: str, *, own_endpoint: bool = False) -> Price | None:
    """Return what a model costs: nothing in this process, its list price, or None when unknown.

    Args:
        provider: the part of the model's name before the slash.
        name: the part behind it.
        own_endpoint: whether another server than OpenAI's answers, where list prices do not hold.
    """
    if provider in FREE:
        return Price()
    return None if provider != "openai" or own_endpoint else OPENAI.get(name)
