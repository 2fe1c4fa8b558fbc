"""Several searchers on one task, each on an equal share of the budget; one leaderboard, one verdict.

Each goes through the stages of a run of its own: its ledger, its candidates, its finalists. They share the
journal. An answer that one of them has bought is taken from there by the next, whose ledger books it all
the same: so each searcher gets as far as it would alone on its share, and nothing is bought twice.

The run's winner is chosen among their winners on the select rows. Only then are the test rows opened, once,
for the seed prompt and all their winners.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from .calls import never
from .cuts import judged_in, look_for_cuts
from .errors import AuthError, JournalError, SealedSplit
from .events import Listener, Notice, Stage, ignore
from .journal import Journal
from .leaderboard import Entry, rank
from .ledger import Ledger, Purse, Spent
from .prompt import Prompt
from .proof.finals import Finals, decide
from .proof.gap import validation_gap
from .proof.guards import format_drift, overlap
from .proof.pareto import front
from .proof.verdict import judge, judge_reused
from .records import Evaluation, Usage
from .session import TRAINER
from .setup import Setup
from .stages import Found, Run
from .study import Candidate, Study
from .visible import one_line


class Clock:
    """Counts the seconds while it is let run."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Stand at 0."""
        self._now = now
        self._counted = 0.0
        self._since: float | None = None

    def __call__(self) -> float:
        """Return the seconds counted so far."""
        return self._counted + (0.0 if self._since is None else self._now() - self._since)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count inside."""
        self._since = self._now()
        try:
            yield
        finally:
            self._counted, self._since = self(), None


class Contest:
    """A competition of the setup's entrants, over one journal."""

    def __init__(
        self,
        setup: Setup,
        journal: Journal,
        workdir: Path,
        *,
        listen: Listener = ignore,
        reuse: Sequence[Journal] = (),
        stopped: Callable[[], bool] = never,
        purse: Purse | None = None,
    ) -> None:
        """Give every entrant a run of its own on its share."""
        self.setup = setup
        self.listen = listen
        self._journal = journal
        self._groups = {example.id: example.group for example in setup.task.splits.select}
        self._clocks = {name: Clock() for name in setup.entrants}
        self._failures: dict[str, Exception] = {}
        share = setup.budget.share(len(setup.entrants))
        self.runs = {
            name: Run(
                replace(setup, searcher=searcher, budget=share, entrants={}),
                journal,
                workdir / name,
                listen=listen,
                reuse=reuse,
                name=name,
                clock=self._clocks[name],
                stopped=stopped,
                purse=purse,
            )
            for name, searcher in setup.entrants.items()
        }

    def to_verdict(self, folder: Path | None = None) -> Study:
        """Let all search and choose, name the winner, prove what each found.

        Raises:
            PromptOptError: none of the searchers came to an end, or the winner cannot be proven.
        """
        found: dict[str, Found] = {}
        for name, run in self.runs.items():
            with self._turn(name):
                found[name] = run.find()
        if not found:
            raise next(iter(self._failures.values()))
        finals, winner = self._choose(found)
        splits = self.setup.task.splits
        rows = splits.open_test("leaderboard") if splits.n_test else ()
        studies: dict[str, Study] = {}
        for name, its in found.items():
            with self._turn(name):
                studies[name] = self.runs[name].conclude(its, rows, folder)
        if winner not in studies:
            raise self._failures[winner]
        study = self._conclude(studies, found, finals, winner, {row.id: row.group for row in rows})
        self.listen(Stage("done"))
        return study

    def note_time(self) -> None:
        """Write down how long each searcher has taken."""
        for run in self.runs.values():
            run.note_time()

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Let one entrant work; what it breaks is its own loss, what concerns every entrant stops the run."""
        run = self.runs[name]
        with self._clocks[name].running():
            try:
                yield
            except (AuthError, JournalError, SealedSplit):
                raise
            except Exception as error:  # a searcher may be anybody's code
                if run.caller.fault is error:
                    raise
                self._failures[name] = error
                self.listen(Notice(f"{name} is out: {one_line(str(error))}"))
            finally:
                run.note_time()

    def _choose(self, found: dict[str, Found]) -> tuple[Finals, str]:
        """Choose on the select rows, among the seed prompt and the entrants' winners.

        Without a test split there is no more proof to come, so all their finalists are in it: the estimate
        of the gain must repeat the whole choice.

        Returns the finals, and which entrant the winner is from.
        """
        tested = self.setup.task.splits.n_test > 0
        met: dict[Prompt, Evaluation] = {}
        origin: dict[str, str] = {}
        for name, its in found.items():
            places = (0, its.place) if tested else range(len(its.finalists))
            for place in places:
                prompt, evaluation = its.finalists[place], its.evaluations[place]
                if prompt not in met or len(evaluation.cells) > len(met[prompt].cells):
                    met[prompt] = evaluation
                origin.setdefault(prompt.id, name)
        prompts, evaluations = list(met), list(met.values())
        setup = self.setup
        costs, unit = setup.objective.costs(prompts, evaluations, setup.prices.get("target"))
        finals = decide(prompts, evaluations, seed=setup.seed, groups=self._groups, costs=costs, unit=unit)
        return finals, self._holder(found, finals.winner, origin)

    def _holder(self, found: dict[str, Found], winner: str, origin: dict[str, str]) -> str:
        """Return the first entrant that won with this prompt, else the one that brought it to the finals."""
        return next((name for name, its in found.items() if its.best.id == winner), origin[winner])

    def _conclude(
        self,
        studies: dict[str, Study],
        found: dict[str, Found],
        finals: Finals,
        winner: str,
        test_groups: dict[str, str | None],
    ) -> Study:
        """Put the entrants' studies together: the winner's, with all candidates and the whole bill."""
        setup, study = self.setup, studies[winner]
        candidates = _merged([run.summaries() for run in self.runs.values()])
        known = {candidate.prompt.id: candidate for candidate in candidates}
        seed_prompt, best = setup.task.seed_prompt, known[finals.winner].prompt
        split = "test" if test_groups else "select"
        met = [known[prompt.id].of(split) or Evaluation(prompt.id, "") for prompt in (seed_prompt, best)]
        if test_groups:
            verdict = judge(*met, seed=setup.seed, groups=test_groups)
        else:
            verdict = judge_reused(finals, met[0], seed=setup.seed, groups=self._groups)
        chosen_among = [(c.prompt, c.select) for c in candidates if c.select is not None]
        price = setup.prices.get("target")
        checks = [one.judge_check for one in studies.values() if one.judge_check is not None]
        return replace(
            study,
            best=best,
            verdict=verdict,
            candidates=candidates,
            front=front(chosen_among, setup.objective.cost, price, seed=setup.seed),
            finals=finals,
            gap=validation_gap(finals, verdict),
            spent=self._bill(),
            seconds=sum(run.ledger.elapsed for run in self.runs.values()),
            overlap=overlap(best, seed_prompt, setup.task.splits.search),
            drift=format_drift(*met),
            cuts=look_for_cuts(judged_in(seed_prompt, best, met, candidates), setup.decoding),
            judge_check=max(checks, key=lambda check: check.pairs, default=None),
            leaderboard=rank([self._entry(name, studies, found, finals.winner) for name in self.runs]),
        )

    def _entry(self, name: str, studies: dict[str, Study], found: dict[str, Found], winner: str) -> Entry:
        run = self.runs[name]
        entry = Entry(name, cells=run.scorer.cells, spent=run.ledger.booked)
        if name not in studies:
            return replace(entry, failure=one_line(str(self._failures[name])))
        study, on_select = studies[name], found[name].chosen_on[1]
        return replace(
            entry,
            best=study.best,
            verdict=study.verdict,
            select_mean=on_select.mean if on_select.n else None,
            chosen=study.best.id == winner,
            stopped=study.stopped,
        )

    def _bill(self) -> dict[str, Spent]:
        """Return what the run really spent by role: each call once, whoever used it."""
        ledger = Ledger(prices=self.setup.prices)
        for role, call in self._journal.bill().items():
            ledger.charge(role, call.attempts, call.usage, call.seconds)
        for run in self.runs.values():  # training is no call, and shared by nobody
            spent = run.ledger.by_role.get(TRAINER, Spent())
            ledger.charge(TRAINER, spent.calls, Usage(spent.prompt_tokens))
        return ledger.by_role


def _merged(several: Sequence[Sequence[Candidate]]) -> tuple[Candidate, ...]:
    """Return all candidates once, each with the largest of its evaluations, in their order."""
    merged: dict[Prompt, Candidate] = {}
    for candidate in chain.from_iterable(several):
        first = merged.setdefault(candidate.prompt, candidate)
        largest = {
            split: max(
                (e for e in (first.of(split), candidate.of(split)) if e is not None),
                key=lambda evaluation: len(evaluation.cells),
                default=None,
            )
            for split in ("search", "select", "test", "signal")
        }
        merged[candidate.prompt] = Candidate(first.prompt, **largest)
    return tuple(merged.values())
