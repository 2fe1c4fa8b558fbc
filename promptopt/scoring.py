"""From prompts and rows to cells: render, run the prompt's program, score, journal.

All prompts of a call meet the same rows (LAW 3). The programs of all cells run side by side, so that
each wave of model calls is one batch. A cell that is known is never computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice

from .calls import Caller
from .contracts.model import (
    Completion,
    Decoding,
    Failure,
    LikelihoodRequest,
    Outcome,
    Request,
)
from .contracts.reward import AsksJudge, OptionScore, Output, Reward, Unscorable
from .deadline import Deadline
from .errors import (
    BudgetExhausted,
    ConfigError,
    ContractError,
    DataError,
    TemplateError,
    UnsupportedError,
    shorten,
)
from .journal import Journal
from .judging import Judging, failure_of, first_questions
from .programs import Ask, Run, Single
from .prompt import Prompt
from .records import Cell, Evaluation, Example, Message, Score, Usage

_AskModel = Callable[[Sequence[Request]], list[Outcome]]
_Made = tuple[Output | Failure, Usage]
"""What a cell's calls came to, and what they took."""

REWARD_SECONDS = 60.0
"""A reward that takes longer for one output is taken to hang."""

HANGS = 10
"""Rewards that hang so often end the run: each may have left something behind."""

CHUNK = 4096
"""Cells whose calls are bought in one batch: bounds memory, not concurrency."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A cell to be filled."""

    prompt: Prompt
    example: Example
    sample: int


class Scorer:
    """Evaluate prompts on rows with the target model.

    Args:
        caller: buys the target's answers.
        journal: where cells are kept.
        rewards: by name; the first one is the task's.
        decoding: how the target decodes.
        samples: answers per prompt and row; a row's value is their mean.
        warn: told one line the first time something fails.
        canary_rows: that a judge is watched with, where one is asked.
    """

    def __init__(
        self,
        caller: Caller,
        journal: Journal,
        rewards: Mapping[str, Reward],
        *,
        decoding: Decoding,
        samples: int = 1,
        warn: Callable[[str], None] = print,
        canary_rows: Sequence[Example] = (),
    ) -> None:
        """Start with no cells."""
        self.rewards = dict(rewards)
        self.judging = Judging(caller, canary_rows, warn)
        self._caller = caller
        self._journal = journal
        self._decoding = decoding
        self._samples = samples
        self._warn = warn
        self._warned: set[str] = set()
        self._in_time = Deadline(REWARD_SECONDS)
        self._hung = 0
        self._cells: dict[tuple[str, str, int, str], Cell] = {}

    @property
    def cells(self) -> int:
        """How many cells have been filled, by any reward."""
        return len(self._cells)

    def calls_per_cell(self, prompt: Prompt, examples: Sequence[Example], reward: str) -> int:
        """Return the most model calls one row of this prompt needs, all samples together."""
        match self.rewards[reward].needs:
            case "text":
                return prompt.program.calls * self._samples
            case "options":
                return max((len(example.options) for example in examples), default=1)
            case _:
                return 1

    def judge_calls_per_cell(self, examples: Sequence[Example], reward: str) -> int:
        """Return the judge's calls that one row needs, all samples together, if each reply is a score."""
        asked = first_questions(self.rewards[reward], examples[:1])
        return len(asked) * (self._samples if self.rewards[reward].needs == "text" else 1)

    def finished(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], reward: str, split: str
    ) -> list[Evaluation]:
        """Return the evaluations of those prompts whose cells are all bought already."""
        evaluations: list[Evaluation] = []
        for prompt in prompts:
            with suppress(BudgetExhausted):
                evaluations += self.evaluate([prompt], examples, reward, split, buy=False)
        return evaluations

    def evaluate(
        self,
        prompts: Sequence[Prompt],
        examples: Sequence[Example],
        reward: str,
        split: str,
        *,
        buy: bool = True,
    ) -> list[Evaluation]:
        """Return one evaluation a prompt, each with a cell for every example and sample.

        Args:
            prompts: any number; all meet the same rows.
            examples: the rows.
            reward: name of the reward that judges.
            split: where the rows are from, for the journal.
            buy: False calls no model.

        Raises:
            BudgetExhausted: some cells could not be bought; those that were are kept.
            UnsupportedError: the target cannot do what the reward needs.
        """
        samples = self._samples if self.rewards[reward].needs == "text" else 1
        slots = (
            _Slot(prompt, example, sample)
            for prompt in prompts
            for example in examples
            for sample in range(samples)
        )
        missing = (slot for slot in slots if _key(slot, reward) not in self._cells)
        while chunk := list(islice(missing, self._at_once(prompts, examples, reward) if buy else CHUNK)):
            self._fill(chunk, reward, split, buy)
        return [
            Evaluation(
                prompt.id,
                reward,
                tuple(self._cells[prompt.id, e.id, s, reward] for e in examples for s in range(samples)),
            )
            for prompt in prompts
        ]

    def _at_once(self, prompts: Sequence[Prompt], examples: Sequence[Example], reward: str) -> int:
        """Return how many cells to fill in one batch: a prompt's, or as many more as can be judged, too."""
        judged = self.judge_calls_per_cell(examples, reward)
        if not judged:
            return CHUNK
        asked = max((self.calls_per_cell(prompt, examples, reward) for prompt in prompts), default=1)
        rows = self.judging.rows_in_budget(asked, judged)
        return min(CHUNK, max(len(examples), rows) * self._samples)

    def _fill(self, slots: list[_Slot], reward: str, split: str, buy: bool) -> None:
        judge = self.rewards[reward]
        produce = {"text": self._replies, "likelihood": self._likelihoods, "options": self._option_scores}
        if buy and isinstance(judge, AsksJudge):
            self.judging.watch(reward, judge, len(slots))
        made = produce[judge.needs](slots, judge, partial(self._ask, buy=buy))
        if isinstance(judge, AsksJudge):
            made = self._judged(slots, made, judge, buy)
        cells = [self._score(slot, *one, judge) for slot, one in zip(slots, made, strict=True)]
        for slot, cell in zip(slots, cells, strict=True):
            self._cells[_key(slot, reward)] = cell
        self._journal.put_cells(split, [_row(cell, reward) for cell in cells])

    def _judged(self, slots: list[_Slot], made: list[_Made], reward: AsksJudge, buy: bool) -> list[_Made]:
        """Add the judge's opinions to what was answered; what the judge takes is no cost of the answer."""
        places = [place for place, (output, _) in enumerate(made) if isinstance(output, Output)]
        judged = [
            (slots[place].example, output) for place in places if isinstance(output := made[place][0], Output)
        ]
        for place, output in zip(places, self.judging.consult(judged, reward, buy=buy), strict=True):
            made[place] = output, made[place][1]
        return made

    def _score(self, slot: _Slot, output: Output | Failure, usage: Usage, reward: Reward) -> Cell:
        cell = partial(Cell, slot.prompt.id, slot.example.id, slot.sample, usage=usage)
        if isinstance(output, Failure):
            reason = f"{output.reason}: {output.message}"
            self._warn_once(reason, slot)
            return cell(status="failed", reason=reason)
        cell = partial(cell, output=output.text, trace=output.trace, cut=output.cut)
        if (failure := failure_of(output)) is not None:
            reason = f"judge: {failure.reason}: {failure.message}"
            self._warn_once(reason, slot)
            return cell(status="failed", reason=reason)
        try:
            score = self._in_time(reward, slot.example, output)
        except TimeoutError as error:
            self._count_hang(slot, error)
            reason = f"reward: {error}"
        except Unscorable as error:
            reason = f"judge: unreadable: {error}"
        except Exception as error:  # a reward is user code: its failure is this cell's, not the run's
            reason = f"reward: {type(error).__name__}: {error}"
        else:
            if isinstance(score, Score) and math.isfinite(score.value):
                return cell(score=score)
            reason = f"reward: not a finite score: {shorten(score)}"
        self._warn_once(reason, slot)
        return cell(status="failed", reason=reason)

    def _count_hang(self, slot: _Slot, error: TimeoutError) -> None:
        self._hung += 1
        if self._hung >= HANGS:
            raise ContractError(
                "reward", f"{error}, and this {HANGS} times, the last for row {slot.example.id}",
                do="mend it; `promptopt resume` judges what was bought without asking again",
            ) from error  # fmt: skip

    def _warn_once(self, reason: str, slot: _Slot) -> None:
        kind = reason.split(":", 1)[0]
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(
                f"a cell failed (row {slot.example.id}): {shorten(reason)}; it counts as missing, not as 0"
            )

    def _replies(self, slots: list[_Slot], reward: Reward, ask: _AskModel) -> list[_Made]:
        """Run the programs of all cells in lockstep."""
        outputs: list[Output | Failure] = [Failure("error", "no answer")] * len(slots)
        usages = [Usage()] * len(slots)
        traces: list[tuple[str, ...]] = [()] * len(slots)
        cuts = [0] * len(slots)
        running: dict[int, tuple[Run, tuple[Ask, ...]]] = {}
        for place, slot in enumerate(slots):
            rendered = _rendered(slot)
            if isinstance(rendered, Failure):
                outputs[place] = rendered
                continue
            run = slot.prompt.program.run(rendered, reward.extract, slot.sample)
            running[place] = (run, next(run))
        while running:
            requests = [
                wish.request(self._decoding, slots[place].prompt.adapter)
                for place, (_, asks) in running.items()
                for wish in asks
            ]
            answers = iter(ask(requests))
            waiting, running = running, {}
            for place, (run, asks) in waiting.items():
                replies = list(islice(answers, len(asks)))
                usages[place] = sum(map(_usage, replies), usages[place])
                failed = next((reply for reply in replies if isinstance(reply, Failure)), None)
                if failed is not None:
                    outputs[place] = failed
                    run.close()
                    continue
                completions = tuple(reply for reply in replies if isinstance(reply, Completion))
                traces[place] += tuple(reply.text for reply in completions)
                cuts[place] = cuts[place] or self._limit(asks, completions)
                try:
                    running[place] = (run, self._in_time(run.send, completions))
                except StopIteration as done:
                    outputs[place] = Output(text=done.value, trace=traces[place], cut=cuts[place])
                except UnsupportedError:  # of every cell alike
                    raise
                except TimeoutError as error:
                    self._count_hang(slots[place], error)
                    outputs[place] = Failure("error", f"reading the reply: {error}")
                except Exception as error:  # a reward's `extract` is user code
                    outputs[place] = Failure("error", f"{type(error).__name__}: {error}")
        return list(zip(outputs, usages, strict=True))

    def _limit(self, asks: Sequence[Ask], replies: Sequence[Completion]) -> int:
        """Return the token limit that ended the first reply that one ended; 0: all ended by themselves."""
        for ask, reply in zip(asks, replies, strict=True):
            if reply.finish == "length":
                return ask.decoding(self._decoding).max_tokens
        return 0

    def _likelihoods(self, slots: list[_Slot], reward: Reward, ask: _AskModel) -> list[_Made]:
        """Score each row's main answer as the reply."""
        requests = [
            LikelihoodRequest(self._plain(slot), _answer(slot.example), slot.prompt.adapter) for slot in slots
        ]
        return [(_likelihood_output(outcome), _usage(outcome)) for outcome in ask(requests)]

    def _option_scores(self, slots: list[_Slot], reward: Reward, ask: _AskModel) -> list[_Made]:
        """Score every option of each row as the reply."""
        for slot in slots:
            if not slot.example.options:
                raise DataError(
                    f"row {slot.example.id}", "has no options to score", do="add an options column"
                )
        requests = [
            LikelihoodRequest(self._plain(slot), option, slot.prompt.adapter)
            for slot in slots
            for option in slot.example.options
        ]
        outcomes = iter(ask(requests))
        outputs: list[_Made] = []
        for slot in slots:
            usage = Usage()
            scores: list[OptionScore] = []
            failed: Failure | None = None
            for option in slot.example.options:
                outcome = next(outcomes)
                usage += _usage(outcome)
                scored = _likelihood_output(outcome)
                if isinstance(scored, Failure):
                    failed = scored
                else:
                    scores.append(OptionScore(option, scored.logprob, scored.tokens))
            outputs.append((failed or Output(options=tuple(scores)), usage))
        return outputs

    def _plain(self, slot: _Slot) -> tuple[Message, ...]:
        if not isinstance(slot.prompt.program, Single):
            raise ConfigError(
                "reward",
                f"scores likelihoods, which the program {slot.prompt.program.name} has none of",
                do="use program: single, or a reward on the reply's text",
            )
        return slot.prompt.render(slot.example)

    def _ask(self, requests: Sequence[Request], *, buy: bool) -> list[Outcome]:
        outcomes = self._caller.ask("target", requests, buy=buy)
        for outcome in outcomes:
            if isinstance(outcome, Failure) and outcome.reason == "unsupported":
                raise UnsupportedError("target", outcome.message or "cannot do what the reward needs")
        return outcomes


def _rendered(slot: _Slot) -> tuple[Message, ...] | Failure:
    """Render a searcher's prompt; one that cannot be rendered fails its cells, not the run."""
    try:
        messages = slot.prompt.render(slot.example)
        for message in messages:
            message.content.encode("utf-8")
    except TemplateError as error:
        return Failure("error", str(error))
    except UnicodeEncodeError:
        return Failure("error", "the prompt holds half a surrogate pair, which cannot be sent")
    return messages


def _key(slot: _Slot, reward: str) -> tuple[str, str, int, str]:
    return slot.prompt.id, slot.example.id, slot.sample, reward


def _row(cell: Cell, reward: str) -> tuple[object, ...]:
    score = cell.score or Score(math.nan)
    value = None if cell.score is None else score.value
    parsed = int(score.parsed)
    return (
        cell.prompt, cell.example, cell.sample, reward, cell.status, value, score.feedback, parsed,
        cell.output, cell.reason,
    )  # fmt: skip


def _usage(outcome: Outcome) -> Usage:
    """Return the tokens of an answer, the same whether it was bought now or is in a journal."""
    return Usage() if isinstance(outcome, Failure) else outcome.usage


def _answer(example: Example) -> str:
    if not example.answers:
        raise DataError(f"row {example.id}", "has no answer whose likelihood could be scored")
    return example.answer


def _likelihood_output(outcome: Outcome) -> Output | Failure:
    if isinstance(outcome, Failure):
        return outcome
    if isinstance(outcome, Completion):
        return Failure("malformed", "a completion came back where a likelihood was asked for")
    return Output(logprob=outcome.logprob, tokens=outcome.tokens)
