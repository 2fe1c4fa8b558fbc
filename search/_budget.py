"""How much of a search a cap on calls pays for.

The papers' numbers are for thousands of calls. With fewer, a search that keeps to them spends everything on
proposals that it cannot tell apart; so less is proposed, or proposals meet fewer rows. Without a cap on calls
the papers' numbers hold. A cell counts as one call, whatever the program.
"""

from __future__ import annotations

from promptopt.contracts.searcher import Session

RACE = 15
"""Calls that a candidate takes in a race: its proposal, and the first looks at it, of some ten rows."""
LEAST_ROWS = 8
"""On fewer rows no two prompts can be told apart."""


def affordable(session: Session, wanted: int, each: int = RACE) -> int:
    """Return how many of `wanted` things the calls left pay for, at `each` calls a thing; at least one."""
    left = session.remaining.calls
    return wanted if left is None else max(1, min(wanted, left // each))


def rows_each(session: Session, most: int, candidates: int, proposals: int = 1) -> int:
    """Return on how many rows, at most `most`, the calls left can score so many candidates.

    Args:
        session: knows what is left.
        most: rows where there is enough.
        candidates: prompts to propose and score.
        proposals: calls of the proposer that each of them takes.
    """
    left = session.remaining.calls
    return most if left is None else min(most, max(LEAST_ROWS, left // candidates - proposals))
