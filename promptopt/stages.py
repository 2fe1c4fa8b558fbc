"""The stages of one search: baseline, search, choice on the select rows, proof on the test rows.

They are a function of the setup and the journal. Started again after any interruption they take the same
path, answered by the journal as far as that goes (LAW 1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .branches import Trunk
from .calls import Caller, never
from .contracts.reward import AsksJudge
from .contracts.searcher import ParticularSearcher
from .cuts import judged_in, look_for_cuts
from .errors import BudgetExhausted, ContractError, ModelError
from .events import Event, Listener, Notice, Stage, StageName, Tick, ignore
from .journal import Journal
from .ledger import Ledger, Purse, Spent
from .plan import make_power, proving_units
from .prompt import Prompt
from .proof.canaries import JudgeCheck
from .proof.cutoff import Cutoff, cut_notes
from .proof.finals import Finals, decide
from .proof.gap import validation_gap
from .proof.guards import format_drift, overlap
from .proof.pareto import front
from .proof.power import Power, observed_power
from .proof.verdict import judge, judge_reused
from .records import Evaluation, Example, SearchNote
from .reserve import Reserve
from .scoring import Scorer
from .session import CandidateRecord, Candidates, RunSession
from .setup import Setup
from .spread import spread
from .study import Candidate, Stopped, Study

TICK_SECONDS = 0.05
"""Progress is told no more often than that."""

STEP = 64
"""Rows bought at a time in the final comparison: should the budget end, all prompts share most rows."""


@dataclass(frozen=True)
class Found:
    """What a search came to on the select rows.

    Attributes:
        finalists: the seed prompt first, the others as the search ranked them.
        evaluations: of each, on the select rows that all of them have met.
        finals: who won, and how.
        stopped: whether the search finished or the budget ended it.
    """

    finalists: list[Prompt]
    evaluations: list[Evaluation]
    finals: Finals
    stopped: Stopped

    @property
    def place(self) -> int:
        """Where the winner stands among the finalists."""
        return [prompt.id for prompt in self.finalists].index(self.finals.winner)

    @property
    def best(self) -> Prompt:
        """The winner."""
        return self.finalists[self.place]

    @property
    def chosen_on(self) -> list[Evaluation]:
        """What seed prompt and winner scored on the select rows."""
        return [self.evaluations[0], self.evaluations[self.place]]


class Run:
    """The stages of one search, over a journal that others may share.

    Args:
        setup: the parts.
        journal: where calls, prompts and cells are kept.
        workdir: where a trainer keeps checkpoints.
        listen: told what happens.
        reuse: journals whose answers cost nothing again.
        name: of the searcher, where several share the journal: its own notes there are kept under it.
        clock: seconds; it may stand still while others have their turn.
        stopped: whether someone has asked for a stop.
        purse: what other processes spend from, too.
    """

    def __init__(
        self,
        setup: Setup,
        journal: Journal,
        workdir: Path,
        *,
        listen: Listener = ignore,
        reuse: Sequence[Journal] = (),
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[], bool] = never,
        purse: Purse | None = None,
    ) -> None:
        """Wire ledger, caller, scorer and candidates together."""
        self.setup = setup
        self.listen = listen
        self.name = name
        self._journal = journal
        self._workdir = workdir
        self._reuse, self._stopped, self._purse = reuse, stopped, purse
        self._noted = 0.0
        self._ticked = 0.0
        self._notes: list[SearchNote] = []
        self._groups: dict[str, str | None] = {}  # of select rows and, once they are open, test rows
        elapsed = float(self._noted_down("elapsed") or 0.0)
        self.ledger = Ledger(setup.budget, setup.prices, elapsed=elapsed, clock=clock, purse=purse)
        self.caller = Caller(
            setup.models, journal, self.ledger, reuse=reuse, on_outcome=self._tick, stopped=stopped
        )
        task = setup.task
        self.scorer = Scorer(
            self.caller,
            journal,
            {task.reward_name: task.reward},
            decoding=setup.decoding,
            samples=setup.samples,
            warn=lambda text: listen(Notice(text)),
            canary_rows=task.splits.search,
        )
        self.candidates = Candidates(journal, task.reward_name, listen)
        self._reserve = Reserve(setup, self.caller, self.scorer, self.candidates)

    def to_verdict(self, folder: Path | None = None) -> Study:
        """Go through all stages and return the study."""
        found = self.find()
        rows = self.setup.task.splits.open_test("verdict") if self.setup.task.splits.n_test else ()
        study = self.conclude(found, rows, folder)
        self.listen(Stage("done"))
        return study

    def find(self) -> Found:
        """Search, and let the finalists and the seed prompt meet on the select rows."""
        stopped = self._search()
        return self._choose(stopped)

    def summaries(self) -> tuple[Candidate, ...]:
        """Return all candidates so far, in the order in which they were first scored."""
        return tuple(self._summary(record) for record in self.candidates.all())

    def note_time(self) -> None:
        """Write down how long this has taken, for a later process to add to."""
        self._noted = time.monotonic()
        self._note_down("elapsed", self.ledger.elapsed)

    # --- stages --------------------------------------------------------------------------------------

    def _search(self) -> Stopped:
        """Score the seed prompt, then let the searcher work until it is done or its budget is spent."""
        setup = self.setup
        task = setup.task
        if isinstance(setup.searcher, ParticularSearcher):
            setup.searcher.check_target(self.caller.model("target"))
        session = RunSession(
            task.for_searcher(),
            scorer=self.scorer,
            caller=self.caller,
            candidates=self.candidates,
            selector=setup.selector,
            reward=task.reward_name,
            seed=setup.seed,
            workdir=self._workdir,
            listen=self.listen,
            before_scoring=self._reserve.hold,
            on_note=self._notes.append,
            spread=partial(spread, self._trunk()),
        )
        try:
            self._enter("baseline", len(task.splits.search))
            (baseline,) = session.score([task.seed_prompt])
            if not baseline.comparable:
                reason = next((cell.reason for cell in baseline.cells if cell.reason), "")
                kind = ContractError if reason.startswith("reward:") else ModelError
                raise kind(
                    "baseline",
                    f"{baseline.failed} of {len(baseline.cells)} cells of the seed prompt failed",
                    got=reason,
                    do="mend this first; `promptopt resume --retry-failed` goes on from here",
                )
            if not self.name:
                self._warn_of_cuts(baseline)
            self._enter("search")
            setup.searcher.search(session)
        except BudgetExhausted as spent:
            self.listen(Notice(f"search ended: {spent.problem}; choosing among what was scored"))
            return "budget"
        finally:
            self.ledger.hold(Spent())
        return "finished"

    def _trunk(self) -> Trunk:
        """Return what searches that take place apart begin from."""
        return Trunk(
            self.setup, self._journal, self.caller, self.candidates, self._notes, self._hear, self._stopped,
            lambda: self.scorer.judging.check, self._reuse, self._purse,
        )  # fmt: skip

    def _hear(self, event: Event) -> None:
        """Pass on what happens in a branch, its calls no more often than our own."""
        if isinstance(event, Tick) and not self._is_time(event.done, event.asked):
            return
        self.listen(event)

    def _choose(self, stopped: Stopped) -> Found:
        task = self.setup.task
        self.candidates.add([task.seed_prompt])
        finalists = self._finalists()
        rows = task.splits.select
        self._enter("select", len(finalists) * len(rows))
        evaluations = self._evaluate_together(finalists, rows, "select")
        self.candidates.scored("select", "select", evaluations)
        self._groups |= {example.id: example.group for example in rows}
        costs, unit = self.setup.objective.costs(finalists, evaluations, self.setup.prices.get("target"))
        finals = decide(
            finalists, evaluations, seed=self.setup.seed, groups=self._groups, costs=costs, unit=unit
        )
        return Found(finalists, evaluations, finals, stopped)

    def _finalists(self) -> list[Prompt]:
        """Return the seed prompt and the best of the others, as decided once in the life of the run."""
        seed = self.setup.task.seed_prompt
        decided = self._noted_down("finalists")
        if decided is None:
            rivals = [prompt for prompt in self._ranked() if prompt != seed]
            chosen = [seed, *self._affordable(rivals)]
            key, mine = self._key("finalists"), [prompt.id for prompt in chosen]
            decided = self._journal.settle_meta(key, mine)
            if decided == mine:
                return chosen
        # The journal keeps a prompt's first lineage, which may be another searcher's.
        known = {prompt.id: prompt for prompt in map(Prompt.from_dict, self._journal.prompts())}
        known |= {record.prompt.id: record.prompt for record in self.candidates.all()}
        # With more budget a training may go another way; what it wrote the first time is in its folder.
        finalists = [self._with_weights(known[prompt]) for prompt in decided]
        self.candidates.add(finalists)
        return finalists

    def _with_weights(self, prompt: Prompt) -> Prompt:
        """Return a prompt from the journal with the trained weights that it refers to."""
        if prompt.adapter is None:
            return prompt
        return replace(prompt, adapter=prompt.adapter.found_in(self._workdir))

    def _prove(self, best: Prompt, rows: Sequence[Example]) -> list[Evaluation]:
        """Return what the seed prompt and the winner score on the test rows."""
        seed = self.setup.task.seed_prompt
        prompts = [seed] if best == seed else [seed, best]
        self._enter("test", len(prompts) * len(rows))
        evaluations = self._evaluate_together(prompts, rows, "test")
        self.candidates.scored("test", "test", evaluations)
        self._groups |= {example.id: example.group for example in rows}
        return [evaluations[0], evaluations[-1]]

    def conclude(self, found: Found, rows: Sequence[Example], folder: Path | None = None) -> Study:
        """Prove the winner, or without test rows estimate its gain, and write down all there is to say.

        Args:
            found: from `find`.
            rows: the test rows, opened for this; none if there is no test split.
            folder: where the run is kept.
        """
        task, seed = self.setup.task, self.setup.seed
        best, finals = found.best, found.finals
        power = self._power(finals.scores, finals.winner_scores, "select")
        if rows:
            if power is not None and best != task.seed_prompt and not self.name:
                self.listen(Notice(power.line))
            met = self._prove(best, rows)
            verdict = judge(*met, seed=seed, groups=self._groups)
            shared = [row for row in met[0].values if row in met[1].values]
            before, after = ([evaluation.values[row] for row in shared] for evaluation in met)
            power = self._power(before, after, "test") or power
        else:
            met = found.chosen_on
            verdict = judge_reused(finals, met[0], seed=seed, groups=self._groups)
        judge_check = self._judge_check(found.chosen_on)
        candidates = self.summaries()
        chosen_among = [(c.prompt, c.select) for c in candidates if c.select is not None]
        objective = self.setup.objective
        return Study(
            best=best,
            seed_prompt=task.seed_prompt,
            verdict=verdict,
            candidates=candidates,
            front=front(chosen_among, objective.cost, self.setup.prices.get("target"), seed=seed),
            objective=objective,
            spent=self.ledger.by_role,
            stopped=found.stopped,
            seconds=self.ledger.elapsed,
            folder=folder,
            finals=finals,
            gap=validation_gap(finals, verdict),
            power=power or make_power(self.setup),
            overlap=overlap(best, task.seed_prompt, task.splits.search),
            drift=format_drift(*met),
            cuts=look_for_cuts(judged_in(task.seed_prompt, best, met, candidates), self.setup.decoding),
            judge_check=judge_check,
            search_notes=tuple(self._notes),
        )

    def _judge_check(self, met: Sequence[Evaluation]) -> JudgeCheck | None:
        """Send the last canaries, and look at the winner's outputs; None where no model judges."""
        task, judging = self.setup.task, self.scorer.judging
        if not isinstance(task.reward, AsksJudge):
            return None
        judging.send_canaries(task.reward_name, task.reward)
        try:
            suspect = bool(judging.suspects(met[1:], met[0], task.splits.select, task.reward))
        except BudgetExhausted:
            suspect = False
        return replace(judging.check, winner=suspect)

    # --- the parts of stages -------------------------------------------------------------------------

    def _warn_of_cuts(self, baseline: Evaluation) -> None:
        """Say at once if the seed prompt's replies are ended before they have answered."""
        judged = [("your prompt", self.setup.task.seed_prompt, Cutoff.of(baseline))]
        for line in cut_notes(look_for_cuts(judged, self.setup.decoding)):
            self.listen(Notice(line))

    def _enter(self, stage: StageName, cells: int | None = None) -> None:
        self.listen(Stage(stage, cells, self.name))

    def _noted_down(self, key: str) -> Any:
        return self._journal.get_meta(self._key(key))

    def _note_down(self, key: str, value: Any) -> None:
        self._journal.set_meta(self._key(key), value)

    def _key(self, key: str) -> str:
        return f"{key} {self.name}".strip()

    def _evaluate_together(
        self, prompts: Sequence[Prompt], rows: Sequence[Example], split: str
    ) -> list[Evaluation]:
        """Evaluate prompts on rows; when the budget ends, on the rows that all of them have met."""
        reward = self.setup.task.reward_name
        met: Sequence[Example] = ()
        try:
            for end in range(STEP, len(rows) + STEP, STEP):
                met = rows[:end]
                self.scorer.evaluate(prompts, met, reward, split)
        except BudgetExhausted as spent:
            met = [r for r in met if len(self.scorer.finished(prompts, [r], reward, split)) == len(prompts)]
            if not met:
                raise
            self.listen(Notice(f"{split}: {spent.problem}; judged on {len(met)} of {len(rows)} rows"))
        return self.scorer.evaluate(prompts, met, reward, split)

    def _ranked(self) -> list[Prompt]:
        """Return all candidates, best first by what the run is after.

        More rows met goes before a higher mean: selectors spend rows on what they find good. A prompt that
        has met all rows but those it shows has met all it can. Candidates known only by a search signal come
        after those that the task's reward has judged; what the searcher has ruled out is not among them.
        """
        rows = len(self.setup.task.splits.search)
        ranked: list[tuple[bool, int, float, int, tuple[Prompt, Evaluation]]] = []
        for place, record in enumerate(self.candidates.all()):
            candidate = self._summary(record)
            evaluation = candidate.search or candidate.signal
            if evaluation is not None and evaluation.comparable and not record.ruled_out:
                scored = (record.prompt, evaluation)
                whole = evaluation.met + len(record.prompt.demonstrations) >= rows
                met = rows if whole else evaluation.met
                ranked.append((candidate.search is None, -met, -evaluation.mean, place, scored))
        by_reward = [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:4])]
        return self.setup.objective.order(by_reward, self.setup.prices.get("target"))

    def _affordable(self, ranked: Sequence[Prompt]) -> list[Prompt]:
        able = self._reserve.provable(ranked)
        if len(able) < len(ranked):
            self.listen(Notice("the budget cannot prove some programs of many calls; they are left out"))
        return able[: self._reserve.finalists()]

    def _summary(self, record: CandidateRecord) -> Candidate:
        reward = self.setup.task.reward_name
        found = record.evaluations
        signals = [e for (split, name), e in found.items() if split == "search" and name != reward]
        return Candidate(
            record.prompt,
            search=found.get(("search", reward)),
            select=found.get(("select", reward)),
            test=found.get(("test", reward)),
            signal=max(signals, key=lambda evaluation: evaluation.n, default=None),
        )

    def _power(self, before: Sequence[float], after: Sequence[float], seen: str) -> Power | None:
        units, split = proving_units(self.setup)
        return observed_power(before, after, rows=units, split=split, observed=f"{seen} rows")

    def _tick(self, role: str, done: int, asked: int) -> None:
        if self._is_time(done, asked):
            self.listen(Tick(role, done, asked, self.ledger.by_role, self.ledger.remaining))

    def _is_time(self, done: int, asked: int) -> bool:
        now = time.monotonic()
        if done < asked and now - self._ticked < TICK_SECONDS:
            return False
        self._ticked = now
        if now - self._noted > 1.0:
            self.note_time()
        return True
