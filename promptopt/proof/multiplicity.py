"""Several comparisons at once: p-values adjusted so that the family errs no more often than one would."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BadInput


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values, in the order given.

    Rejecting every hypothesis whose adjusted p-value is below alpha keeps the chance of even one false
    rejection below alpha, whatever the p-values' dependence (S. Holm, A Simple Sequentially Rejective
    Multiple Test Procedure, Scandinavian Journal of Statistics 6(2), 1979). The smallest of m p-values is
    multiplied by m, the next by m - 1 and so on; none may come out below one that was smaller before.

    Args:
        p_values: of the whole family, also of comparisons that nobody looks at; may be empty.

    Raises:
        BadInput: a value outside [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise BadInput("holm", "needs p-values between 0 and 1", got=p)
    adjusted = [1.0] * len(p_values)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = floor
    return adjusted
