"""GEPA's pool of candidates: per-row Pareto fronts, whom to develop further, and which two lineages to merge.

Source: Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning" (arXiv
2507.19457), algorithm 2 and appendix on merging.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from promptopt.parts import Part
from promptopt.prompt import Prompt

MERGE_ROWS = 5
"""Rows on which a merged prompt must not fall behind its parents (as in the authors' code)."""


@dataclass
class Candidate:
    """A prompt of the pool.

    Attributes:
        prompt: the prompt.
        values: S, its score by row id on the Pareto rows; a row whose cell failed is missing.
        parents: places in the pool of those it was made from.
        turn: which part is rewritten next; moves on whenever the candidate is drawn, and children inherit it.
    """

    prompt: Prompt
    values: Mapping[str, float]
    parents: tuple[int, ...] = ()
    turn: int = 0

    @property
    def mean(self) -> float:
        """Mean score on the Pareto rows."""
        return math.fsum(self.values.values()) / len(self.values) if self.values else -math.inf


def gain(values: Mapping[str, float], others: Mapping[str, float]) -> float:
    """Return by how much the first is ahead on the rows that both have met; minus infinity without one."""
    shared = [row for row in values if row in others]
    return math.fsum(values[row] - others[row] for row in shared) if shared else -math.inf


def fronts(pool: Sequence[Candidate]) -> list[set[int]]:
    """Return, for each row met, the candidates with the best score on it (P* of algorithm 2)."""
    found = []
    for row in dict.fromkeys(row for its in pool for row in its.values):
        scores = {place: its.values[row] for place, its in enumerate(pool) if row in its.values}
        best = max(scores.values()) - 1e-9
        found.append({place for place, score in scores.items() if score >= best})
    return found


def undominated(pool: Sequence[Candidate]) -> list[set[int]]:
    """Return the fronts without dominated candidates (D of algorithm 2).

    As in the authors' code, a candidate is dominated when each of its fronts holds another one that is not;
    the lowest means go first, and of equal ones the younger.
    """
    every = fronts(pool)
    left = sorted(set().union(*every), key=lambda place: (pool[place].mean, -place))
    searching = True
    while searching:
        searching = False
        for place in left:
            its = [front for front in every if place in front]
            if all(any(other in front for other in left if other != place) for front in its):
                left.remove(place)
                searching = True
                break
    return [front.intersection(left) for front in every]


def frequencies(pool: Sequence[Candidate]) -> list[int]:
    """Return f of algorithm 2: on how many rows each candidate is on the front, dominated ones on none."""
    kept = undominated(pool)
    return [sum(place in front for front in kept) for place in range(len(pool))]


def ancestors(pool: Sequence[Candidate], place: int) -> set[int]:
    """Return the places of all that a candidate descends from."""
    found: set[int] = set()
    open_places = list(pool[place].parents)
    while open_places:
        parent = open_places.pop()
        if parent not in found:
            found.add(parent)
            open_places += pool[parent].parents
    return found


def mergeable(pool: Sequence[Candidate], parts: Sequence[Part]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, second, common ancestor) of undominated candidates that can be merged.

    Neither descends from the other, the ancestor is not above either, and some part is no longer the same.
    """
    places = sorted(set[int]().union(*undominated(pool)))
    lines = {place: ancestors(pool, place) for place in places}
    for first, second in combinations(places, 2):
        related = first in lines[second] or second in lines[first]
        one, other = pool[first], pool[second]
        differ = any(part.get(one.prompt) != part.get(other.prompt) for part in parts)
        for ancestor in sorted(lines[first] & lines[second]) if differ and not related else ():
            if pool[ancestor].mean <= min(one.mean, other.mean):
                yield first, second, ancestor


def merge_rows(rng: random.Random, first: Mapping[str, float], second: Mapping[str, float]) -> set[str]:
    """Draw Pareto rows to try a merged prompt on: some that the first wins, the second wins, and neither."""
    shared = [row for row in first if row in second]
    kinds = (
        [row for row in shared if first[row] > second[row]],
        [row for row in shared if first[row] < second[row]],
        [row for row in shared if first[row] == second[row]],
    )
    most = math.ceil(MERGE_ROWS / len(kinds))
    drawn = [row for kind in kinds for row in rng.sample(kind, min(most, len(kind)))][:MERGE_ROWS]
    rest = [row for row in shared if row not in drawn]
    return {*drawn, *rng.sample(rest, min(MERGE_ROWS - len(drawn), len(rest)))}
