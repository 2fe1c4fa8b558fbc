"""Who runs: searchers by the name in the table."""

from __future__ import annotations

from typing import Any

FLOORS = ("paraphrases", "random_demos")
"""What a searcher must beat to be worth recommending."""

CALLS_A_TRY = 15
"""Calls of the budget for which a floor tries one candidate more: its proposal, and first looks of a race."""

SEARCHERS: dict[str, Any] = {
    "ape": "ape",
    "opro": "opro",
    "evolution_ga": {"name": "evolution", "mode": "ga"},
    "evolution_de": {"name": "evolution", "mode": "de"},
    "breeder": "breeder",
    "protegi": "protegi",
    "reflect": "reflect",
    "edit": "edit",
    "demos": "demos",
    "joint": "joint",
    "portfolio": "portfolio",
}
"""As a job file names them, with the options that they have by themselves."""

NAMES = (*FLOORS, *SEARCHERS)


def contender(name: str, calls: int) -> Any:
    """Return a searcher as a job file names it; a floor tries as many candidates as its budget pays for."""
    if name in FLOORS:
        return {"name": name, "n": max(1, calls // CALLS_A_TRY)}
    return SEARCHERS[name]
