"""A family over chains of letters, which have to be followed from link to link."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from ..contracts import Family
from ._draw import rule

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LINKS = (5, 7)
"""Fewest and most links of a chain."""


def _links(rng: Random) -> str:
    """Draw a chain, and tell its links in any order."""
    chain = rng.sample(LETTERS, rng.randint(*LINKS) + 1)
    links = [f"{one} > {two}" for one, two in pairwise(chain)]
    rng.shuffle(links)
    return ", ".join(links)


def _end(text: str) -> str | None:
    """Return the letter that nothing follows."""
    links = [link.split(" > ") for link in text.split(", ")]
    if any(len(link) != 2 for link in links):
        return None
    ends = {link[1] for link in links} - {link[0] for link in links}
    return ends.pop() if len(ends) == 1 else None


CHAINS: tuple[Family, ...] = (rule("chain_end", "chain", _links, _end),)
