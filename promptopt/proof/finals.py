"""The finals: the seed prompt and the finalists on the same select rows, who won, and why, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..prompt import Prompt
from ..records import Evaluation
from .reselect import Finalists, Reselection, compare, pick, reselect
from .stats import format_number

CHARACTERS = "characters"


@dataclass(frozen=True, slots=True)
class Standing:
    """One finalist.

    Attributes:
        prompt: its id.
        mean: on the rows that all comparable finalists have met; None for one that is not comparable.
        lead: how far the leader is ahead of it.
        band: paired standard error of that lead: the noise band.
        cost: in the unit of the finals, by default characters of instruction and demonstrations.
    """

    prompt: str
    mean: float | None
    lead: float
    band: float
    cost: float

    @property
    def inside(self) -> bool:
        """Whether the leader's lead over it is no more than noise."""
        return self.mean is not None and self.lead <= self.band + 1e-9


@dataclass(frozen=True)
class Finals:
    """What the final comparison found. Built by `decide`.

    Attributes:
        winner: id of the winner.
        rows: select rows that all comparable finalists have scores on.
        why: why it won, in words.
        standings: the finalists in their order, the seed prompt first.
        gain: winner minus seed prompt on these rows; flattering, for it is the highest of several.
        corrected_gain: the gain of choosing like this on fresh rows (`reselect`); None without enough rows.
        reselection: what `corrected_gain` is made of; not part of the plain data.
        scores: of the seed prompt on these rows.
        winner_scores: of the winner.
        row_ids: the rows, in order.
    """

    winner: str
    rows: int
    why: str
    standings: tuple[Standing, ...] = ()
    gain: float | None = None
    corrected_gain: float | None = None
    reselection: Reselection | None = None
    scores: tuple[float, ...] = ()
    winner_scores: tuple[float, ...] = ()
    row_ids: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: standings, and why the winner won."""
        return {
            "winner": self.winner,
            "rows": self.rows,
            "why": self.why,
            "gain": self.gain,
            "corrected_gain": self.corrected_gain,
            "standings": [asdict(standing) | {"inside": standing.inside} for standing in self.standings],
        }


def decide(
    prompts: Sequence[Prompt],
    evaluations: Sequence[Evaluation],
    *,
    seed: int,
    groups: Mapping[str, str | None] | None = None,
    costs: Sequence[float] | None = None,
    unit: str = CHARACTERS,
) -> Finals:
    """Name the winner among finalists that have met the same rows.

    The rule is `reselect.pick`: highest mean, but inside the noise band of one paired standard error the
    shorter prompt; the seed prompt stays unless something is above it. Prompts with too many failed cells
    are out; the others are compared on the rows where all of them have a score.

    Args:
        prompts: the seed prompt first; the others best first, as the search ranked them.
        evaluations: one a prompt.
        seed: of the repeated choices behind `corrected_gain`.
        groups: group by example id; rows that share one are not independent.
        costs: of each prompt, when something else than its length is to decide inside the noise band.
        unit: of the costs.
    """
    costs = [prompt.length for prompt in prompts] if costs is None else costs
    able = [place for place, evaluation in enumerate(evaluations) if evaluation.comparable]
    shared = _shared([evaluations[place] for place in able])
    if able[:1] != [0] or len(able) < 2 or not shared:
        return _unopposed(prompts, evaluations, able, len(shared), costs)
    scores = [[evaluations[place].values[row] for row in shared] for place in able]
    named = [(groups or {}).get(row) for row in shared]
    finalists = Finalists.from_scores(scores, [costs[place] for place in able], named)
    whole = np.ones((1, finalists.units))
    winner = int(pick(finalists, whole)[0])
    means, leads, bands = (line[0] for line in compare(finalists, whole))
    found = {
        prompts[place].id: Standing(
            prompts[place].id, float(means[i]), float(leads[i]), float(bands[i]), costs[place]
        )
        for i, place in enumerate(able)
    }
    standings = tuple(
        found.get(prompt.id) or _absent(prompt, cost) for prompt, cost in zip(prompts, costs, strict=True)
    )
    repeated = reselect(finalists, seed=seed) if finalists.units > 1 else None
    return Finals(
        winner=prompts[able[winner]].id,
        rows=len(shared),
        why=_why(standings, prompts[able[winner]].id, len(shared), unit),
        standings=standings,
        gain=math.fsum(scores[winner]) / len(shared) - math.fsum(scores[0]) / len(shared),
        corrected_gain=None if repeated is None else repeated.gain,
        reselection=repeated,
        scores=tuple(scores[0]),
        winner_scores=tuple(scores[winner]),
        row_ids=tuple(shared),
    )


def _shared(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the rows where all of them have a score."""
    first, *others = evaluations or [Evaluation("", "")]
    return [row for row in first.values if all(row in other.values for other in others)]


def _absent(prompt: Prompt, cost: float) -> Standing:
    return Standing(prompt.id, None, 0.0, 0.0, cost)


def _unopposed(
    prompts: Sequence[Prompt],
    evaluations: Sequence[Evaluation],
    able: Sequence[int],
    shared: int,
    costs: Sequence[float],
) -> Finals:
    """Return finals without a comparison: the best that has scores, or the seed prompt."""
    winner = prompts[0]
    if len(prompts) < 2:
        why = "your prompt stays: nothing else was scored well enough to meet it"
    elif able and able[0] != 0:
        best = max(able, key=lambda place: (evaluations[place].mean, -place))
        winner = prompts[best]
        why = "too many cells of your prompt failed on the select rows; this one has the highest mean there"
    else:
        why = "your prompt stays: no finalist has scores on enough of the select rows"
    return Finals(winner.id, shared, why, tuple(map(_absent, prompts, costs)))


def _why(standings: Sequence[Standing], winner: str, rows: int, unit: str) -> str:
    """Say why the winner won, with the numbers that decided it."""
    seed = standings[0]
    known = [standing for standing in standings if standing.mean is not None]
    won = next(standing for standing in known if standing.prompt == winner)
    leader = min(known, key=lambda standing: (standing.lead, standing.prompt != winner))
    on = f"on {rows} select row{'s' if rows != 1 else ''}"
    if won is seed:
        level = any(s is not seed and s.lead <= seed.lead + 1e-9 for s in known)
        return f"your prompt stays: no finalist is above its {_mean(seed)} {on}" + (
            "; a tie does not move it" if level else ""
        )
    others = [s for s in known if s.inside and s is not won and s is not seed and _above(s, seed)]
    if leader is won and not others:
        return f"highest mean {on}: {_mean(won)}, nothing else above your prompt is within the noise"
    least = "shortest" if unit == CHARACTERS else "cheapest"
    within = f"{len(others) + 1} prompts within the noise {on} (one paired standard error)"
    if leader is won:
        return f"highest mean ({_mean(won)}) and the {least} ({won.cost:.4g} {unit}) of {within}"
    return (
        f"{least} ({won.cost:.4g} {unit}) of {within}: {_mean(won)}, only "
        f"{won.lead:.3f} behind a prompt of {leader.cost:.4g} {unit}, with a standard error of "
        f"{won.band:.3f}"
    )


def _above(standing: Standing, seed: Standing) -> bool:
    return standing.lead < seed.lead - 1e-9


def _mean(standing: Standing) -> str:
    return "" if standing.mean is None else format_number(standing.mean)
