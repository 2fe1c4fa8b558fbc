"""One run from start to verdict: baseline, search, choice on the select rows, proof on the test rows.

A run is a function of its setup and its journal. Started again after any interruption it takes the same
path, answered by the journal as far as that goes (LAW 1).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from .calls import Caller
from .errors import BudgetExhausted, ContractError, JournalError, ModelError
from .events import Listener, Notice, Stage, Tick, ignore
from .finals import Finals, decide
from .gap import validation_gap
from .guards import format_drift, overlap
from .journal import Journal
from .ledger import Ledger, Spent
from .pareto import front
from .plan import make_power, proving_units
from .power import Power, observed_power
from .prompt import Prompt
from .records import Evaluation, Example, Usage
from .runfolder import RunFolder, claimed
from .scoring import Scorer
from .session import CandidateRecord, Candidates, RunSession
from .setup import Setup
from .study import Candidate, Stopped, Study
from .verdict import judge, judge_reused

TICK_SECONDS = 0.05
"""Progress is told no more often than that."""

STEP = 64
"""Rows bought at a time in the final comparison: should the budget end, all prompts share most rows."""


def execute(
    setup: Setup,
    folder: RunFolder | None = None,
    *,
    listen: Listener = ignore,
    reuse: Sequence[Path] = (),
    retry_failed: bool = False,
) -> Study:
    """Run to the verdict; a run that was interrupted in this folder goes on where it was.

    Args:
        setup: the run's parts.
        folder: where it is kept; None keeps it in memory.
        listen: told what happens.
        reuse: folders of other runs whose answers cost nothing again.
        retry_failed: ask again what failed in an interrupted run, instead of taking the failure as given.

    Raises:
        BudgetExhausted: the budget ended before the verdict could be spoken.
        JournalError: the folder holds another run, or another process works on it.
        ModelError: a model cannot be used at all.
    """
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(folder.claimed())
            if not folder.lock_file.exists():
                folder.write_start(dict(setup.lock))
        journal = stack.enter_context(_opened(folder.journal if folder else ":memory:"))
        _claim(journal, setup)
        if retry_failed and (again := journal.forget_failures()):
            listen(Notice(f"{again} calls that failed are tried again"))
        others = [stack.enter_context(_opened(RunFolder.existing(path).journal, True)) for path in reuse]
        workdir = folder.workdir if folder else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = Run(setup, journal, workdir, listen=listen, reuse=others)
        try:
            study = run.to_verdict(folder)
        finally:
            run.note_time()
        if folder is not None:
            folder.write_study(study)
        return study


@contextmanager
def _opened(path: str | Path, read_only: bool = False) -> Iterator[Journal]:
    journal = Journal(path, read_only=read_only)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def answers_in(path: str | Path | None) -> Iterator[Journal]:
    """Open a journal outside of any run: in memory, or a file whose answers are not bought again.

    Raises:
        JournalError: the file is not a journal, is a run's, or another process works on it.
    """
    if path is None:
        with _opened(":memory:") as journal:
            yield journal
        return
    file = Path(path)
    if not file.parent.is_dir():
        raise JournalError(str(path), "its folder does not exist", do="make it, or name another file")
    with claimed(file.with_name(f".{file.name}.lock"), str(path)), _opened(file) as journal:
        if journal.get_meta("fingerprint") is not None:
            raise JournalError(str(path), "is the journal of a run", do="name a file of its own")
        journal.set_meta("elapsed", 0.0)
        yield journal


def _claim(journal: Journal, setup: Setup) -> None:
    """Mark a fresh journal as this run's; refuse one that is another's."""
    models = {role: asdict(model.identity) for role, model in setup.models.items()}
    marks = {"fingerprint": (setup.fingerprint, "job or other rows"), "models": (models, "model")}
    for key, (mine, other) in marks.items():
        known = journal.get_meta(key)
        if known is None:
            journal.set_meta(key, mine)
        elif known != mine:
            raise JournalError(
                journal.path,
                f"was made with another {other}",
                do="start a new run; `--reuse` takes over the answers already bought",
            )
    # What `compare` needs to match two runs' cells row by row; cells hold ids alone.
    journal.set_meta("task", {"reward": setup.task.reward_name, "rows": setup.task.splits.marks})


class Run:
    """The stages of one run, over one journal."""

    def __init__(
        self,
        setup: Setup,
        journal: Journal,
        workdir: Path,
        *,
        listen: Listener = ignore,
        reuse: Sequence[Journal] = (),
    ) -> None:
        """Wire ledger, caller, scorer and candidates together."""
        self.setup = setup
        self.listen = listen
        self._journal = journal
        self._workdir = workdir
        self._noted = 0.0
        self._ticked = 0.0
        self._rivals: int | None = None
        self._groups: dict[str, str | None] = {}  # of select rows and, once they are open, test rows
        elapsed = float(journal.get_meta("elapsed") or 0.0)
        self.ledger = Ledger(setup.budget, setup.prices, elapsed=elapsed)
        self.caller = Caller(setup.models, journal, self.ledger, reuse=reuse, on_outcome=self._tick)
        task = setup.task
        self.scorer = Scorer(
            self.caller,
            journal,
            {task.reward_name: task.reward},
            decoding=setup.decoding,
            samples=setup.samples,
            warn=lambda text: listen(Notice(text)),
        )
        self.candidates = Candidates(journal, task.reward_name, listen)

    def to_verdict(self, folder: RunFolder | None = None) -> Study:
        """Go through all stages and return the study."""
        stopped = self._search()
        best, finals, chosen_on = self._choose()
        study = self._conclude(best, finals, chosen_on, stopped, folder.path if folder else None)
        self.listen(Stage("done"))
        return study

    def note_time(self) -> None:
        """Write down how long the run has taken, for a later process to add to."""
        self._noted = time.monotonic()
        self._journal.set_meta("elapsed", self.ledger.elapsed)

    # --- stages --------------------------------------------------------------------------------------

    def _search(self) -> Stopped:
        """Score the seed prompt, then let the searcher work until it is done or its budget is spent."""
        setup = self.setup
        task = setup.task
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
            before_scoring=self._hold_back,
        )
        try:
            self.listen(Stage("baseline", len(task.splits.search)))
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
            self.listen(Stage("search"))
            setup.searcher.search(session)
        except BudgetExhausted as spent:
            self.listen(Notice(f"search ended: {spent.problem}; choosing among what was scored"))
            return "budget"
        finally:
            self.ledger.hold(Spent())
        return "finished"

    def _choose(self) -> tuple[Prompt, Finals, list[Evaluation]]:
        """Let the finalists and the seed prompt meet on the select rows.

        Returns the winner, how it won, and what seed prompt and winner scored there.
        """
        task = self.setup.task
        seed = task.seed_prompt
        self.candidates.add([seed])
        finalists = self._finalists()
        rows = task.splits.select
        self.listen(Stage("select", len(finalists) * len(rows)))
        evaluations = self._evaluate_together(finalists, rows, "select")
        self.candidates.scored("select", "select", evaluations)
        self._groups |= {example.id: example.group for example in rows}
        costs, unit = self.setup.objective.costs(finalists, evaluations, self.setup.prices.get("target"))
        finals = decide(
            finalists, evaluations, seed=self.setup.seed, groups=self._groups, costs=costs, unit=unit
        )
        place = [prompt.id for prompt in finalists].index(finals.winner)
        return finalists[place], finals, [evaluations[0], evaluations[place]]

    def _finalists(self) -> list[Prompt]:
        """Return the seed prompt and the best of the others, as decided once in the life of the run."""
        seed = self.setup.task.seed_prompt
        decided = self._journal.get_meta("finalists")
        if decided is None:
            rivals = [prompt for prompt in self._ranked() if prompt != seed]
            chosen = [seed, *rivals[: self._affordable_finalists()]]
            self._journal.set_meta("finalists", [prompt.id for prompt in chosen])
            return chosen
        known = {prompt.id: prompt for prompt in map(Prompt.from_dict, self._journal.prompts())}
        self.candidates.add([known[prompt] for prompt in decided])
        return [known[prompt] for prompt in decided]

    def _prove(self, best: Prompt) -> list[Evaluation]:
        """Open the test rows, for the seed prompt and the winner alone; return what each scored there."""
        seed = self.setup.task.seed_prompt
        prompts = [seed] if best == seed else [seed, best]
        rows = self.setup.task.splits.open_test("verdict")
        self.listen(Stage("test", len(prompts) * len(rows)))
        evaluations = self._evaluate_together(prompts, rows, "test")
        self.candidates.scored("test", "test", evaluations)
        self._groups |= {example.id: example.group for example in rows}
        return [evaluations[0], evaluations[-1]]

    def _conclude(
        self, best: Prompt, finals: Finals, chosen_on: list[Evaluation], stopped: Stopped, folder: Path | None
    ) -> Study:
        """Prove the winner, or without test rows estimate its gain, and write down all there is to say."""
        task, seed = self.setup.task, self.setup.seed
        tested = task.splits.n_test > 0
        power = self._power(finals.scores, finals.winner_scores, "select")
        if tested:
            if power is not None and best != task.seed_prompt:
                self.listen(Notice(power.line))
            met = self._prove(best)
            verdict = judge(*met, seed=seed, groups=self._groups)
            rows = [row for row in met[0].values if row in met[1].values]
            before, after = ([evaluation.values[row] for row in rows] for evaluation in met)
            power = self._power(before, after, "test") or power
        else:
            met = chosen_on
            verdict = judge_reused(finals, met[0], seed=seed, groups=self._groups)
        candidates = tuple(self._summary(record) for record in self.candidates.all())
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
            stopped=stopped,
            seconds=self.ledger.elapsed,
            folder=folder,
            finals=finals,
            gap=validation_gap(finals, verdict),
            power=power or make_power(self.setup),
            overlap=overlap(best, task.seed_prompt, task.splits.search),
            drift=format_drift(*met),
        )

    # --- the parts of stages -------------------------------------------------------------------------

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
        after those that the task's reward has judged.
        """
        rows = len(self.setup.task.splits.search)
        ranked: list[tuple[bool, int, float, int, tuple[Prompt, Evaluation]]] = []
        for place, record in enumerate(self.candidates.all()):
            candidate = self._summary(record)
            evaluation = candidate.search or candidate.signal
            if evaluation is not None and evaluation.comparable:
                scored = (record.prompt, evaluation)
                whole = evaluation.met + len(record.prompt.demonstrations) >= rows
                met = rows if whole else evaluation.met
                ranked.append((candidate.search is None, -met, -evaluation.mean, place, scored))
        by_reward = [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:4])]
        return self.setup.objective.order(by_reward, self.setup.prices.get("target"))

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

    # --- budget --------------------------------------------------------------------------------------

    def _hold_back(self) -> None:
        """Set aside what choosing and proving will cost.

        For how many finalists is decided once, when the baseline has shown what a call costs: as many as
        leave half of the budget to search.
        """
        rivals = self._rivals
        if rivals is None:
            left = self.ledger.headroom()
            counts = range(self.setup.finalists, 0, -1)
            rivals = next((n for n in counts if _fits(self._final_cost(n), left, 0.5)), 1)
            if self.caller.has_answered("target"):
                self._rivals = rivals
        self.ledger.hold(self._final_cost(rivals))

    def _affordable_finalists(self) -> int:
        """Return how many finalists the rest of the budget can choose among and prove."""
        left = self.ledger.headroom()
        for finalists in range(self.setup.finalists, 0, -1):
            if _fits(self._final_cost(finalists), left, 1.0):
                return finalists
        return 1

    def _final_cost(self, finalists: int) -> Spent:
        """Estimate choosing among `finalists` and proving, from the largest target call seen so far."""
        task = self.setup.task
        splits = task.splits
        cells = (finalists + 1) * len(splits.select) + 2 * splits.n_test
        per_cell = self.scorer.calls_per_cell(task.seed_prompt, splits.search, task.reward_name)
        calls = math.ceil(cells * per_cell * self.caller.attempts_per_answer("target"))
        largest = self.caller.largest.get("target", Usage())
        usd = self.ledger.price("target").usd(largest)
        spent = self.ledger.by_role.get("target", Spent())
        pace = spent.seconds / spent.calls if spent.calls else 0.0
        return Spent(
            calls, calls * largest.prompt_tokens, calls * largest.completion_tokens, calls * usd, calls * pace
        )

    def _tick(self, role: str, done: int, asked: int) -> None:
        now = time.monotonic()
        if done < asked and now - self._ticked < TICK_SECONDS:
            return
        self._ticked = now
        if now - self._noted > 1.0:
            self.note_time()
        self.listen(Tick(role, done, asked, self.ledger.by_role, self.ledger.remaining))


def _fits(amount: Spent, left: Spent, share: float) -> bool:
    return (
        amount.calls <= left.calls * share
        and amount.tokens <= left.tokens * share
        and amount.usd <= left.usd * share
        and amount.seconds <= left.seconds * share
    )
