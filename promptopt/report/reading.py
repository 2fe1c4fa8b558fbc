"""Read a run's folder into its summary: numbers of the result and the journal, put side by side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..history import Moment, read_history
from ..job import Job
from ..leaderboard import Entry
from ..ledger import Spent
from ..prompt import Prompt
from ..proof.stats import mean_interval
from ..proof.verdict import Verdict
from ..records import Price
from ..runfolder import RunFolder
from ..strict_yaml import load
from .archive import Archive, Mean
from .columns import extra_columns
from .confidence import calibration
from .progression import curves
from .replay import Replay
from .rows import answers, row_results, shared_groups, slices
from .summary import Answer, Calibration, Calls, Candidate, Curve, Score, Summary

SPLITS = ("search", "select", "test")


def read_run(path: str | Path) -> Summary:
    """Read a run, finished or not.

    Raises:
        DataError: there is no run, or nothing of it is here yet.
        JournalError: its journal is of another version.
    """
    folder = RunFolder.existing(path)
    if not folder.journal.exists():
        raise DataError(
            str(path), "its journal is kept in a database until it is done", do="look again when it is"
        )
    with Archive(folder.journal) as archive:
        return _Reader(folder, archive).summary()


class _Reader:
    """One reading of one folder."""

    def __init__(self, folder: RunFolder, archive: Archive) -> None:
        self.folder, self.archive = folder, archive
        self.result: Mapping[str, Any] = folder.result() or {}
        self.lock: Mapping[str, Any] = load(folder.lock_file).value if folder.lock_file.exists() else {}
        self.task: Mapping[str, Any] = archive.meta("task") or {}
        self.reward = str(self.task.get("reward", ""))
        self.history: Sequence[Moment] = read_history(folder.history_file)
        self.curves = curves(self.history)
        self.rows = folder.rows()

    def summary(self) -> Summary:
        verdict = Verdict.from_dict(self.result["verdict"]) if self.result else None
        candidates = self._candidates()
        seed = self._prompt("seed_prompt") or (candidates[0].prompt if candidates else None)
        best = self._prompt("best") or _leader(candidates, self.curves)
        split = self._proof_split(candidates, best)
        before, after = (self._answers(prompt, split) for prompt in (seed, best))
        shown = row_results(before, after, self.rows, split)
        candidates = tuple(self._with_intervals(c) if c.prompt in (seed, best) else c for c in candidates)
        seen = [answer.value for answer in (*before.values(), *after.values()) if answer.value is not None]
        return Summary(
            name=self.folder.path.name,
            folder=self.folder.path,
            state=self.folder.state,
            reward=self.reward,
            verdict=verdict,
            seed_prompt=seed,
            best=best,
            candidates=candidates,
            curves=self.curves,
            leaderboard=tuple(map(Entry.from_dict, self.result.get("leaderboard", ()))),
            proof_split=split,
            rows=shown,
            slices=slices(shown, extra_columns(self.lock, self.rows)),
            calls=self._calls(),
            failed_cells=self.archive.failed_cells(self.reward),
            calibrations=self._calibrations(seed, best, before, after),
            binary=all(value in (0, 1) for value in seen),
            notices=tuple(m.text for m in self.history if m.kind == "notice"),
            result=self.result,
            lock=self.lock,
            environment=_json(self.folder.path / "env.json"),
            models=self.archive.meta("models") or {},
            command=self._command(),
        )

    def _prompt(self, name: str) -> Prompt | None:
        data = self.result.get(name)
        return None if data is None else Prompt.from_dict(data, self.folder.path / "best")

    def _candidates(self) -> tuple[Candidate, ...]:
        """Return all prompts: of a finished run as it wrote them down, else as the journal adds them up."""
        means = self.archive.means(self.reward)
        tokens = _tokens(self.folder.path / "candidates.jsonl")
        found = []
        for number, content in enumerate(self.archive.prompts()):
            prompt = Prompt.from_dict(content)
            its = means.get(prompt.id, {})
            scores = {
                split: _score(its[split], tokens.get((prompt.id, split))) for split in SPLITS if split in its
            }
            found.append(Candidate(number, prompt, scores))
        return tuple(found)

    def _with_intervals(self, candidate: Candidate) -> Candidate:
        scores = {}
        for split, score in candidate.scores.items():
            found = self._answers(candidate.prompt, split).items()
            values = {name: answer.value for name, answer in found if answer.value is not None}
            interval = None
            if values:
                marks = self.task.get("rows", {})
                groups = shared_groups([marks[name][2] if name in marks else None for name in values])
                interval = mean_interval(list(values.values()), groups=groups)
            scores[split] = Score(
                score.mean,
                score.n,
                interval,
                score.failed,
                score.unparsed,
                score.prompt_tokens,
                score.output_tokens,
            )
        return Candidate(candidate.number, candidate.prompt, scores)

    def _proof_split(self, candidates: Sequence[Candidate], best: Prompt | None) -> str:
        """Return the most decisive split that the best prompt has met."""
        met: Mapping[str, Score] = next((c.scores for c in candidates if c.prompt == best), {})
        return next((split for split in reversed(SPLITS) if split in met), "search")

    def _answers(self, prompt: Prompt | None, split: str) -> dict[str, Answer]:
        return {} if prompt is None else answers(self.archive.cells(prompt.id, split, self.reward))

    def _calls(self) -> tuple[Calls, ...]:
        counted, failures, lost = self.archive.calls(), self.archive.failures(), self.archive.lost()
        spent = {role: Spent(**part) for role, part in self.result.get("spent", {}).items()} or self._bill()
        return tuple(
            Calls(role, *counted.get(role, (0, 0, 0)), failures.get(role, {}), lost.get(role, 0), amount)
            for role, amount in spent.items()
            if role in counted or any(amount)
        )

    def _bill(self) -> dict[str, Spent]:
        started_here = "python" in self.lock or not self.lock
        prices = {} if started_here else Job.model_validate(dict(self.lock)).prices
        return {
            role: Spent(
                attempts,
                usage.prompt_tokens,
                usage.completion_tokens,
                prices.get(role, Price()).usd(usage),
                seconds,
            )
            for role, (attempts, usage, seconds) in self.archive.bill().items()
        }

    def _calibrations(
        self,
        seed: Prompt | None,
        best: Prompt | None,
        before: Mapping[str, Answer],
        after: Mapping[str, Answer],
    ) -> tuple[Calibration, ...]:
        replay, options = Replay(self.archive), self.lock.get("reward")
        reward = options if isinstance(options, dict) else {}
        rows = {name: row for name, (_, row) in self.rows.items()}
        prompts = [(seed, before)] if seed == best else [(seed, before), (best, after)]
        made = [
            calibration(replay, prompt, rows, its, reward) for prompt, its in prompts if prompt is not None
        ]
        return tuple(one for one in made if one is not None)

    def _command(self) -> str:
        if "python" in self.lock or not self.lock:
            return ""
        job, run = (shlex.quote(str(path)) for path in (self.folder.lock_file, self.folder.path))
        return f"promptopt run {job} --reuse {run}"


def _score(mean: Mean, tokens: tuple[float | None, float | None] | None) -> Score:
    return Score(mean.mean, mean.n, None, mean.failed, mean.unparsed, *(tokens or (None, None)))


def _leader(candidates: Sequence[Candidate], found: Sequence[Curve]) -> Prompt | None:
    """Return the best prompt so far: the one whose interval begins highest."""
    steps = [curve.steps[-1] for curve in found if curve.steps]
    if not steps:
        return None
    best = max(steps, key=lambda step: step.bound).prompt
    return next((c.prompt for c in candidates if c.prompt.id == best), None)


def _tokens(path: Path) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """Return the tokens of an answer by prompt and split, as the run has metered them."""
    if not path.exists():
        return {}
    found = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            data = json.loads(line)
            for split, score in data["scores"].items():
                found[data["id"], split] = (score["prompt_tokens"], score["output_tokens"])
    return found


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
