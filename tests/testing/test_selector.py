"""`check_selector` accepts what keeps the contract and names what breaks it."""

from dataclasses import dataclass

import numpy as np
import pytest

from promptopt.errors import BudgetExhausted, ContractError
from promptopt.selection.full import FullGrid
from promptopt.selection.halving import SuccessiveHalving
from promptopt.selection.race import PairedRace
from promptopt.testing.selector import check_selector


class OneCell(FullGrid):
    """Promises less than it buys."""

    def cells(self, candidates, rows, k):
        return candidates * rows - 1


class BeyondTheRows(FullGrid):
    def select(self, score, candidates, rows, k):
        return super().select(score, candidates, rows + 1, k)


class Worst(FullGrid):
    def select(self, score, candidates, rows, k):
        return super().select(score, candidates, rows, candidates)[::-1][:k]


class TiesToTheLast(FullGrid):
    def select(self, score, candidates, rows, k):
        means = [evaluation.mean for evaluation in score(range(candidates), rows)]
        return sorted(range(candidates), key=lambda place: (means[place], place), reverse=True)[:k]


class TooFew(FullGrid):
    def select(self, score, candidates, rows, k):
        return super().select(score, candidates, rows, k)[: max(1, k - 1)]


class NumpyPlaces(FullGrid):
    def select(self, score, candidates, rows, k):
        return list(np.array(super().select(score, candidates, rows, k)))


class CountsFailuresAsNothing(FullGrid):
    """Ranks by the mean of the ok cells alone."""

    def select(self, score, candidates, rows, k):
        found = score(range(candidates), rows)
        return sorted(range(candidates), key=lambda place: -found[place].mean if found[place].n else 99)[:k]


class Moody(FullGrid):
    """Breaks near-ties by a state that it keeps."""

    calls = 0

    def select(self, score, candidates, rows, k):
        type(self).calls += 1
        winners = super().select(score, candidates, rows, k)
        return winners if type(self).calls % 2 else winners[1:] + winners[:1]


class SwallowsTheBudget(FullGrid):
    def select(self, score, candidates, rows, k):
        try:
            return super().select(score, candidates, rows, k)
        except BudgetExhausted:
            return list(range(k))


class NeverScores(FullGrid):
    def select(self, score, candidates, rows, k):
        return list(range(k))


@dataclass
class NoPlan:
    def select(self, score, candidates, rows, k):
        return list(range(k))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (OneCell(), "more cells"),
        (BeyondTheRows(), "must ask for 1 to 1 rows"),
        (Worst(), "best first"),
        (TiesToTheLast(), "ties by position"),
        (TooFew(), "k different positions"),
        (NumpyPlaces(), "list of int"),
        (CountsFailuresAsNothing(), "not comparable"),
        (Moody(), "the same again"),
        (SwallowsTheBudget(), "BudgetExhausted"),
        (NeverScores(), "never scored"),
        (NoPlan(), "needs the methods"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_broken_rule_is_named_with_the_class(broken, rule):
    with pytest.raises(ContractError, match=rule) as caught:
        check_selector(broken)
    assert caught.value.where == f"selector {type(broken).__name__}"


@pytest.mark.parametrize("selector", [FullGrid(), SuccessiveHalving(), PairedRace()])
def test_good_selectors_pass(selector):
    check_selector(selector)
