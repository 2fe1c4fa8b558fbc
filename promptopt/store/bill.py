"""What the calls of a journal took, counted where they lie."""

from __future__ import annotations

from ..records import Usage
from .contract import Store


def read_bill(store: Store) -> dict[str, tuple[int, Usage, float]]:
    """Return by role attempts, tokens and seconds of all calls, lost attempts included, each call once."""
    rows = store.query(
        "SELECT role, SUM(attempts), SUM(prompt_tokens), SUM(completion_tokens), SUM(seconds) FROM ("
        "SELECT role, attempts, prompt_tokens, completion_tokens, seconds FROM calls UNION ALL "
        "SELECT role, 1, prompt_tokens, completion_tokens, 0 FROM attempts WHERE lost = 1"
        ") AS taken GROUP BY role ORDER BY role"
    )
    return {
        role: (int(attempts), Usage(int(prompt), int(completion)), float(seconds))
        for role, attempts, prompt, completion, seconds in rows
    }
