"""The session of a run: what a searcher sees, over the scorer, the proposer and the budget.

It keeps the list of candidates, and holds back what the final comparison will cost, so that a searcher
that spends everything still ends in a verdict.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from . import plugins
from .calls import Caller
from .contracts.model import (
    Completion,
    Decoding,
    Failure,
    GenerateRequest,
    GradientModel,
    LikelihoodRequest,
    Request,
)
from .contracts.reward import AsksJudge
from .contracts.searcher import HERE, Searcher, SearchTask, Seats
from .contracts.selector import Selector
from .errors import BudgetExhausted, ConfigError, SealedSplit, UnsupportedError
from .events import Listener, Notice, Scored, StageName, ignore
from .journal import Journal
from .memory import Memory, rank_back, renamed
from .prompt import Prompt
from .records import Budget, Evaluation, Example, Message, SearchNote, Usage, digest
from .scoring import Scorer

STALLED = 10_000
"""So many times in a row a searcher may ask for what it knows; then it is taken to go round in circles."""

TRAINER = "trainer"
"""The role under which training is paid."""

PROBES: Mapping[str, Request] = {
    "likelihood": LikelihoodRequest((Message("user", "Input: 1\nOutput:"),), "1"),
    "insert": GenerateRequest((Message("user", "The sky is"),), Decoding(max_tokens=4), suffix=" today."),
}


@dataclass(slots=True)
class CandidateRecord:
    """A candidate of the run, its largest evaluation by (split, reward), and whether it must not win."""

    prompt: Prompt
    evaluations: dict[tuple[str, str], Evaluation] = field(default_factory=dict)
    ruled_out: bool = False


class Candidates:
    """All prompts of a run in the order in which they were first scored, each with its evaluations."""

    def __init__(self, journal: Journal, task_reward: str, listen: Listener = ignore) -> None:
        """Start with none."""
        self._journal = journal
        self._task_reward = task_reward
        self._listen = listen
        self._records: dict[str, CandidateRecord] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._records)

    def all(self) -> list[CandidateRecord]:
        """Return them in order."""
        return list(self._records.values())

    def add(self, prompts: Sequence[Prompt]) -> None:
        """Record prompts; known ones keep their first lineage."""
        with self._journal.batch():
            for prompt in prompts:
                if prompt.id not in self._records:
                    self._records[prompt.id] = CandidateRecord(prompt)
                    self._journal.put_prompt(prompt.id, prompt.to_dict())

    def adopt(self, other: Candidates) -> None:
        """Take over another's records in their order, without a word; of two evaluations the larger stays."""
        for theirs in other.all():
            mine = self._records.setdefault(theirs.prompt.id, CandidateRecord(theirs.prompt))
            mine.ruled_out |= theirs.ruled_out
            for kind, evaluation in theirs.evaluations.items():
                known = mine.evaluations.get(kind)
                if known is None or len(known.cells) < len(evaluation.cells):
                    mine.evaluations[kind] = evaluation

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Keep these from winning, where they are known."""
        for prompt in prompts:
            if (record := self._records.get(prompt.id)) is not None:
                record.ruled_out = True

    def evaluations(self, split: str, reward: str) -> dict[str, Evaluation]:
        """Return the largest evaluation of every prompt that has one, by the prompt's id."""
        kind = (split, reward)
        return {
            key: record.evaluations[kind]
            for key, record in self._records.items()
            if kind in record.evaluations
        }

    def scored(self, stage: StageName, split: str, evaluations: Sequence[Evaluation]) -> None:
        """Keep each evaluation unless a larger one of its kind is known, and tell the listener."""
        for evaluation in evaluations:
            record = self._records[evaluation.prompt]
            known = record.evaluations.get((split, evaluation.reward))
            if known is not None and len(known.cells) >= len(evaluation.cells):
                continue
            record.evaluations[split, evaluation.reward] = evaluation
            is_task = evaluation.reward == self._task_reward
            self._listen(Scored(stage, record.prompt, evaluation, is_task, len(self)))


class RunSession:
    """The session handed to a searcher (see `contracts.searcher.Session`)."""

    def __init__(
        self,
        task: SearchTask,
        *,
        scorer: Scorer,
        caller: Caller,
        candidates: Candidates,
        selector: Selector,
        reward: str,
        seed: int,
        workdir: Path,
        listen: Listener = ignore,
        before_scoring: Callable[[], None] = lambda: None,
        on_note: Callable[[SearchNote], None] = lambda _: None,
        spread: Callable[[SearchTask, Path, Sequence[Searcher], Seats], None] | None = None,
    ) -> None:
        """Take the run's parts.

        `before_scoring` is called before anything is bought; `spread` lets searchers search apart.
        """
        self.task = task
        self.rng = random.Random(f"searcher {seed}")
        self.workdir = workdir
        self._scorer = scorer
        self._caller = caller
        self._candidates = candidates
        self._selector = selector
        self._reward = reward
        self._seed = seed
        self._listen = listen
        self._before_scoring = before_scoring
        self._on_note = on_note
        self._spread = spread
        self._drawn: dict[str, int] = {}
        self._abilities: dict[tuple[str, str], bool] = {}
        self._memory = Memory()
        self._stale = 0  # times in a row that nothing new was asked for
        self._slice_ended = False  # by training passes, which are bought together
        self._row_of = {example.id: example for example in task.rows}

    @property
    def remaining(self) -> Budget:
        """What is left for searching."""
        return self._caller.ledger.remaining

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        """Evaluate prompts on the first `rows` search rows, or on the search rows given.

        A prompt that says the same as an earlier one has that one's cells, and is no candidate of its own.
        """
        examples = self._rows(rows)
        name = self._known_reward(reward)
        self._check_parts(prompts)
        firsts = [self._memory.first(prompt) for prompt in prompts]
        unique = list({prompt.id: prompt for prompt in firsts}.values())
        self._candidates.add(unique)
        self._before_scoring()
        known = self._scorer.cells
        try:
            evaluations = self._scorer.evaluate(unique, examples, name, "search")
        except BudgetExhausted:
            # What was paid for in full may still win.
            done = self._scorer.finished(unique, examples, name, "search")
            self._candidates.scored("search", "search", done)
            raise
        self._candidates.scored("search", "search", evaluations)
        self._count_stale(self._scorer.cells > known)
        found = {evaluation.prompt: evaluation for evaluation in evaluations}
        return [renamed(found[one.id], prompt.id) for one, prompt in zip(firsts, prompts, strict=True)]

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        """Return the evaluations of the `k` best prompts, best first, by the first `rows` search rows.

        A prompt that a selector has dropped before gets no further rows: it is compared on those it has.
        """
        name = self._known_reward(reward)
        asked: dict[str, Prompt] = {}
        for prompt in prompts:
            asked.setdefault(self._memory.first(prompt).id, prompt)
        firsts = [self._memory.first(prompt) for prompt in asked.values()]
        dropped = [prompt for prompt in firsts if self._memory.was_dropped(prompt, name)]
        left_out = {prompt.id for prompt in dropped}
        fresh = [prompt for prompt in firsts if prompt.id not in left_out]

        def score(places: Sequence[int], n: int) -> list[Evaluation]:
            return self.score([fresh[place] for place in places], n, reward)

        best: list[int] = []
        if fresh:
            most = len(self._rows(rows))
            best = self._selector.select(score, len(fresh), most, min(k, len(fresh)))
        known = self._candidates.evaluations("search", name)
        chosen = [known[fresh[place].id] for place in best]
        kept = rank_back(chosen, [known[prompt.id] for prompt in dropped], min(k, len(firsts)))
        places = {evaluation.prompt for evaluation in kept}
        self._memory.keep((prompt for prompt in firsts if prompt.id in places), name)
        # One that no selector has looked at has no cells to be remembered by.
        self._memory.drop((p for p in firsts if p.id not in places and p.id in known), name)
        return [renamed(evaluation, asked[evaluation.prompt].id) for evaluation in kept]

    def propose(
        self,
        chats: Sequence[Sequence[Message]],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        suffixes: Sequence[str] | None = None,
    ) -> list[list[str]]:
        """Draw `n` new replies of the proposer to each chat."""
        decoding = Decoding(max_tokens, temperature, top_p, tuple(stop), self._seed)
        requests: list[Request] = []
        for place, chat in enumerate(chats):
            request = GenerateRequest(
                tuple(Message(*message) for message in chat),
                decoding,
                suffix=suffixes[place] if suffixes is not None else None,
            )
            # The same chat asked again must draw new samples, also after a resume: count by content.
            content = digest([request.messages, request.suffix])
            first = self._drawn.get(content, 0)
            self._drawn[content] = first + n
            requests += [replace(request, sample=first + index) for index in range(n)]
        self._before_scoring()
        outcomes = self._caller.ask("proposer", requests)
        self._count_stale(bool(requests))
        replies: list[list[str]] = []
        for place in range(len(chats)):
            mine = outcomes[place * n : (place + 1) * n]
            replies.append([outcome.text for outcome in mine if isinstance(outcome, Completion)])
            self._explain([outcome for outcome in mine if isinstance(outcome, Failure)])
        return replies

    @property
    def known(self) -> Mapping[str, Evaluation]:
        """The largest evaluation of each prompt scored so far by the task's reward, by the prompt's id."""
        return self._candidates.evaluations("search", self._reward)

    @contextmanager
    def limit(self, calls: int) -> Iterator[None]:
        """Let at most `calls` model calls be made inside; when they are used up, the block ends, quietly."""
        ledger = self._caller.ledger
        with ledger.limited(calls):
            try:
                yield
            except BudgetExhausted:
                if ledger.limit_left and not self._slice_ended:  # it is the run's budget that has ended
                    raise
            finally:
                self._slice_ended = False

    def gradients(self) -> GradientModel:
        """Return the target, for gradients through it."""
        target = self._caller.model("target")
        if not isinstance(target, GradientModel):
            raise UnsupportedError(
                "target", "gives no gradients: it does not run in this process", do="use embedded/… or hf/…"
            )
        return target

    def spend(self, passes: int, tokens: int) -> None:
        """Pay for sequences that run forward and backward."""
        self._caller.check_stop()
        self._before_scoring()
        ledger = self._caller.ledger
        if not ledger.spend(TRAINER, passes, Usage(tokens)):
            cap = ledger.why_blocked(TRAINER, Usage(tokens), passes)
            self._slice_ended = (left := ledger.limit_left) is not None and left < passes
            raise BudgetExhausted("budget", f"the next {passes} training passes could pass {cap}")
        self._caller.tell(TRAINER)

    def spread(self, searchers: Sequence[Searcher], seats: Seats = HERE) -> None:
        """Let searchers search apart, and take over what they found."""
        if self._spread is None:
            raise ConfigError("session.spread", "a search that is one of several cannot be spread again")
        self._before_scoring()
        self._spread(self.task, self.workdir, searchers, seats)

    def note(self, text: str) -> None:
        """Tell whoever is watching."""
        self._listen(Notice(text))

    def can(self, role: Literal["target", "proposer"], what: Literal["likelihood", "insert"]) -> bool:
        """Whether a model is able: its own word if it says no, else one journaled probe."""
        if (role, what) not in self._abilities:
            capabilities = self._caller.model(role).capabilities
            able = capabilities.likelihood if what == "likelihood" else capabilities.insert
            if able:
                (outcome,) = self._caller.ask(role, [PROBES[what]])
                able = not isinstance(outcome, Failure)
            self._abilities[role, what] = able
        return self._abilities[role, what]

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Keep prompts from winning, and those that say the same."""
        firsts = map(self._memory.first, prompts)
        self._candidates.rule_out([prompt for prompt in firsts if prompt != self.task.seed_prompt])

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        """Return those whose outputs on these rows talk the judge into scores."""
        reward, judging = self._scorer.rewards[self._reward], self._scorer.judging
        if not isinstance(reward, AsksJudge) or not judging.check.fooled:
            return []
        baseline, *evaluations = self.score([self.task.seed_prompt, *prompts], rows)
        found = {each.prompt for each in judging.suspects(evaluations, baseline, rows, reward)}
        return [prompt for prompt in prompts if prompt.id in found]

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Keep a line, and the data behind it, for the result."""
        self._on_note(SearchNote(" ".join(text.split()), dict(data or {})))

    def _rows(self, rows: int | Sequence[Example] | None) -> Sequence[Example]:
        if rows is None:
            return self.task.rows
        if isinstance(rows, int):
            return self.task.rows[:rows]
        if foreign := [example.id for example in rows if self._row_of.get(example.id) != example]:
            raise SealedSplit("session.score", "a searcher scores on search rows only", got=foreign[0])
        return rows

    def _check_parts(self, prompts: Sequence[Prompt]) -> None:
        """Refuse another instruction where it is fixed: most searchers write nothing else."""
        if "instruction" in self.task.parts:
            return
        if any(prompt.instruction != self.task.seed_prompt.instruction for prompt in prompts):
            raise ConfigError(
                "optimize", "the searcher changes the instruction, which is fixed", got=self.task.parts,
                do="add instruction, or use a searcher that works on these parts",
            )  # fmt: skip

    def _known_reward(self, name: str | None) -> str:
        if name is None:
            return self._reward
        if name not in self._scorer.rewards:
            self._scorer.rewards[name] = plugins.build("rewards", name)
        return name

    def _count_stale(self, news: bool) -> None:
        """End a search that goes round in circles: it costs nothing, so no budget would end it."""
        self._stale = 0 if news else self._stale + 1
        if self._stale >= STALLED:
            raise BudgetExhausted("search", f"asked {STALLED:,} times in a row for nothing new")

    def _explain(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            if failure.reason == "unsupported":
                raise UnsupportedError("proposer", failure.message)
        if failures:
            self._listen(
                Notice(f"{len(failures)} proposals failed: {failures[0].reason}: {failures[0].message}")
            )
