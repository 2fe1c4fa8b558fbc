"""How the search got on: from a history to one curve a searcher."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..history import Moment
from ..ledger import Spent
from ..proof.stats import Interval
from .summary import Curve, Step


def curves(history: Sequence[Moment]) -> tuple[Curve, ...]:
    """Return the curves of the searchers, in the order of their turns; those without a score are left out."""
    names = dict.fromkeys(moment.searcher for moment in history)
    return tuple(curve for name in names if (curve := _curve(name, history)).scored)


def _curve(name: str, history: Sequence[Moment]) -> Curve:
    mine = [moment for moment in history if moment.searcher == name]
    searching = [moment for moment in mine if moment.stage in ("baseline", "search")]
    scores = [moment for moment in searching if moment.kind == "score" and moment.task_reward]
    best: list[Step] = []
    last: dict[str, Step] = {}
    for moment in scores:
        if moment.mean is None:
            continue
        step = Step(
            moment.prompt,
            moment.mean,
            moment.n,
            moment.spent,
            -math.inf if moment.bound is None else moment.bound,
            None if moment.interval is None else Interval(*moment.interval),
        )
        last[moment.prompt] = step
        if moment.best:
            # Prompts of one batch are told one after the other, at one price: the last of them is the best.
            if best and best[-1].spent == step.spent:
                best.pop()
            best.append(step)
    end = searching[-1].spent if searching else Spent()
    return Curve(name, tuple(best), tuple(last.values()), end)
