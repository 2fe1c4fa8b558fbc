"""The result of a run: candidates with lineage and evaluations, the winner, the verdict, the bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .leaderboard import Entry
from .ledger import Spent
from .prompt import Prompt
from .proof.canaries import JudgeCheck
from .proof.cutoff import Cut, cut_notes
from .proof.finals import Finals
from .proof.gap import Gap
from .proof.guards import FormatDrift, Overlap
from .proof.pareto import Objective, Point, measure
from .proof.power import Power
from .proof.verdict import Verdict
from .records import Evaluation, SearchNote

Stopped = Literal["finished", "budget"]


@dataclass(frozen=True)
class Candidate:
    """A prompt of the run and what it scored, by split, with the task's reward.

    `signal` is its score on search rows by another reward, if the searcher asked for one.
    """

    prompt: Prompt
    search: Evaluation | None = None
    select: Evaluation | None = None
    test: Evaluation | None = None
    signal: Evaluation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: the prompt and a summary of each evaluation."""
        scores = {name: summary(e) for name in ("search", "select", "test", "signal") if (e := self.of(name))}
        return {"id": self.prompt.id, "prompt": self.prompt.to_dict(), "scores": scores}

    def of(self, split: str) -> Evaluation | None:
        """Return the evaluation of a split."""
        return {"search": self.search, "select": self.select, "test": self.test, "signal": self.signal}[split]


@dataclass(frozen=True)
class Study:
    """What a run found.

    Attributes:
        best: the winner; the seed prompt when nothing beat it on the select rows.
        seed_prompt: the prompt that was to be beaten.
        verdict: winner against seed prompt on the test rows.
        candidates: all prompts in the order in which they were first scored.
        spent: by role.
        front: the finalists that no other beats in reward and cost, cheapest first, on the select rows; empty
            when the target counts no tokens.
        objective: what the run was after.
        stopped: whether the search finished or the budget ended it.
        seconds: wall time, interrupted parts included.
        folder: where the run is kept; None for a run in memory.
        finals: how the winner was chosen on the select rows.
        gap: what became of its gain on the test rows; None when the seed prompt won, or without a test split.
        power: what the rows of the verdict could show at all.
        overlap: what the winner repeats of search rows.
        drift: whether the winner's replies still read as answers.
        cuts: what the token limit did to the replies of seed prompt, winner and programs that lost.
        judge_check: whether the judge can be talked into scores; None where no model judges.
        leaderboard: the searchers that competed, best first on the test rows; empty for one alone.
        search_notes: what the searcher says of its search.
    """

    best: Prompt
    seed_prompt: Prompt
    verdict: Verdict
    candidates: tuple[Candidate, ...]
    spent: Mapping[str, Spent]
    front: tuple[Point, ...] = ()
    objective: Objective = Objective()
    stopped: Stopped = "finished"
    seconds: float = 0.0
    folder: Path | None = None
    finals: Finals | None = None
    gap: Gap | None = None
    power: Power | None = None
    overlap: Overlap | None = None
    drift: FormatDrift | None = None
    cuts: tuple[Cut, ...] = ()
    judge_check: JudgeCheck | None = None
    leaderboard: tuple[Entry, ...] = ()
    search_notes: tuple[SearchNote, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know besides the verdict: its notes, and what the guards found."""
        guards = (guard.note for guard in (self.overlap, self.judge_check) if guard is not None)
        return (*self.verdict.notes, *cut_notes(self.cuts), *filter(None, guards))

    @property
    def total(self) -> Spent:
        """What all roles have spent together."""
        return sum(self.spent.values(), Spent())

    def candidate(self, prompt: Prompt) -> Candidate:
        """Return the candidate of a prompt; KeyError when it was never scored."""
        for candidate in self.candidates:
            if candidate.prompt == prompt:
                return candidate
        raise KeyError(prompt.id)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: what `result.json` holds."""
        guards = {
            "overlap": _plain(self.overlap),
            "format": _plain(self.drift),
            "cut": [cut.to_dict() for cut in self.cuts],
        }
        judged = {} if self.judge_check is None else {"judge": self.judge_check.to_dict()}
        return {
            "verdict": self.verdict.to_dict(),
            "line": self.verdict.line,
            "best": self.best.to_dict() | {"id": self.best.id},
            "seed_prompt": self.seed_prompt.to_dict() | {"id": self.seed_prompt.id},
            "finals": _plain(self.finals),
            "gap": _plain(self.gap),
            "power": _plain(self.power),
            "guards": guards | judged,
            "search_notes": [{"text": note.text, "data": note.data} for note in self.search_notes],
            "candidates": len(self.candidates),
            "objective": asdict(self.objective),
            "front": [point.to_dict() for point in self.front],
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "spent": {role: spent._asdict() for role, spent in self.spent.items()},
            **({"leaderboard": [entry.to_dict() for entry in self.leaderboard]} if self.leaderboard else {}),
        }


def _plain(part: Finals | Gap | Power | Overlap | FormatDrift | None) -> dict[str, Any] | None:
    return None if part is None else part.to_dict()


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's numbers as plain JSON data; tokens are those of one answer."""
    cost = measure(evaluation)
    return {
        "reward": evaluation.reward,
        "mean": evaluation.mean if evaluation.n else None,
        "n": evaluation.n,
        "standard_error": evaluation.standard_error if evaluation.n > 1 else None,
        "failed": evaluation.failed,
        "unparsed": evaluation.unparsed,
        "cut": evaluation.cut,
        "comparable": evaluation.comparable,
        "prompt_tokens": None if cost is None else cost.prompt_tokens,
        "output_tokens": None if cost is None else cost.output_tokens,
    }
