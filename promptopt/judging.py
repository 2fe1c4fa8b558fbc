"""Asking the judge about outputs, for rewards that a language model speaks; and watching over the judge.

Outputs are judged in batches: a batch of questions, then one of the questions that its replies raise, until
there are none. All are calls like the target's: journaled, metered, capped, asked once.

The judge is watched with canaries: wrong outputs that ask it for a good score. A round of them is judged
before the first output, another after every so many, and one at the end; each round has others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from statistics import fmean

from .calls import Caller
from .contracts.model import Failure, LanguageModel, LikelihoodRequest, Outcome, Request
from .contracts.reward import AsksJudge, Canary, Output, Reward
from .errors import BudgetExhausted, ConfigError, UnsupportedError
from .ledger import UNLIMITED
from .proof.canaries import JudgeCheck, Pair, check
from .records import Evaluation, Example

ROLE = "judge"
WRONGLY = 0.5
"""Share of a prompt's score above that of wrong outputs; one that earns so much for wrong rows is suspect."""
TURNS = 8
"""Times that a reward may ask on about one output."""
Judged = tuple[Example, Output]


def check_judge(reward: Reward, models: Mapping[str, LanguageModel], rows: Sequence[Example]) -> None:
    """See that there is a judge if the reward asks one, and that it may be able to answer.

    Raises:
        ConfigError: none is named; the target is not asked to judge itself unless the job says so.
        UnsupportedError: the reward weighs probabilities, and the judge gives none.
    """
    if not isinstance(reward, AsksJudge):
        return
    if ROLE not in models:
        raise ConfigError(
            ROLE, "no model is named, and the reward asks one", do="name one: `judge: provider/model`"
        )
    likelihood = any(isinstance(one, LikelihoodRequest) for one in first_questions(reward, rows[:1]))
    if likelihood and not models[ROLE].capabilities.likelihood:
        raise UnsupportedError(
            ROLE, "gives no log-probabilities, and the reward weighs them",
            do="use a judge that does, or take the score that it writes (value: reply)",
        )  # fmt: skip


def first_questions(reward: Reward, rows: Sequence[Example]) -> list[Request]:
    """Return what the judge is asked first about empty outputs; nothing if the reward asks no judge."""
    if not isinstance(reward, AsksJudge):
        return []
    return [question for row in rows for question in reward.questions(row, Output())]


def calls_of_canaries(reward: Reward, rows: Sequence[Example]) -> int:
    """Return the most calls of a round of canaries, each reply a score; 0 if the reward asks no judge."""
    if not isinstance(reward, AsksJudge):
        return 0
    canaries = reward.make_canaries(rows, 0)
    return sum(3 * len(reward.questions(canary.example, canary.injected)) for canary in canaries)


class Judging:
    """Asks the judge of a run.

    Args:
        caller: buys the answers.
        rows: that canaries are made of.
        warn: told a line when a canary is scored as what it asks for.
    """

    def __init__(self, caller: Caller, rows: Sequence[Example], warn: Callable[[str], None]) -> None:
        """Watch nobody yet."""
        self._caller, self._rows, self._warn = caller, rows, warn
        self._since: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._told: set[tuple[bool, bool]] = set()
        self.check = JudgeCheck()

    def consult(self, judged: Sequence[Judged], reward: AsksJudge, *, buy: bool = True) -> list[Output]:
        """Return the outputs with the judge's opinions of them, failed ones included.

        Raises:
            BudgetExhausted: not all could be bought; what was, is in the journal.
            UnsupportedError: the judge cannot do what the reward asks of it.
        """
        outputs = [output for _, output in judged]
        asking = list(range(len(judged)))
        for turn in range(TURNS + 1):
            wanted = {place: _questions(reward, judged[place][0], outputs[place]) for place in asking}
            wanted = {place: its for place, its in wanted.items() if its}
            if turn == TURNS:
                wanted = dict.fromkeys(wanted, Failure("error", f"{TURNS} questions were not enough"))
            replies = iter(self._ask([one for its in wanted.values() for one in _asked(its)], buy))
            for place, its in wanted.items():
                opinions = [its] if isinstance(its, Failure) else list(islice(replies, len(its)))
                outputs[place] = replace(outputs[place], opinions=(*outputs[place].opinions, *opinions))
            asking = [place for place in wanted if failure_of(outputs[place]) is None]
        return outputs

    def rows_in_budget(self, asked: int, judged: int) -> int:
        """Return how many rows the budget carries, answers and judging.

        If the target were asked about more, its answers would take what was left for judging them: where the
        budget ends, it is to end between two prompts.

        Args:
            asked: calls of the target for a row.
            judged: calls of the judge for a row.
        """
        each = self._caller.estimate("target", asked) + self._caller.estimate(ROLE, judged)
        left = self._caller.ledger.remaining
        amounts = ((left.calls, each.calls), (left.tokens, each.tokens), (left.usd, each.usd))
        return int(min((cap // cost for cap, cost in amounts if cap is not None and cost), default=UNLIMITED))

    def watch(self, name: str, reward: AsksJudge, cells: int) -> None:
        """Send canaries if it is time for them: before the first cells of a reward, and every so many later.

        Args:
            name: of the reward.
            reward: that will judge.
            cells: how many cells it is about to judge.
        """
        if name not in self._since or self._since[name] >= reward.canary_every:
            self._since[name] = 0
            self.send_canaries(name, reward)
        self._since[name] += cells

    def send_canaries(self, name: str, reward: AsksJudge) -> None:
        """Judge a round of canaries; a budget that does not carry it is no reason to end."""
        turn = self._turns.get(name, 0)
        self._turns[name] = turn + 1
        canaries = reward.make_canaries(self._rows, turn)
        try:
            found = check(self._pairs(canaries, reward))
        except BudgetExhausted:
            self.check += JudgeCheck(skipped=1)
            return
        self.check += found
        if found.note and (alarm := (bool(found.fooled), found.tells)) not in self._told:
            self._told.add(alarm)
            self._warn(found.note)

    def suspects(
        self,
        evaluations: Sequence[Evaluation],
        baseline: Evaluation,
        rows: Sequence[Example],
        reward: AsksJudge,
    ) -> list[Evaluation]:
        """Return those whose outputs talk the judge into scores; none unless a canary has.

        An output that is as good for a row that it was not made for owes its score to something else than the
        row: so each is judged once more, for another row with another answer. What outputs of the prompt to
        beat get there is what wrong outputs get. A prompt is suspect if half of what it scores above that, or
        more, is there for wrong rows, too. Where the criteria are not about the row's answer, all outputs are
        as good for other rows, so that nothing can be told by it.

        Args:
            evaluations: of the prompts.
            baseline: of the prompt to beat.
            rows: that all of them are on.
            reward: that judged them.

        Raises:
            BudgetExhausted: not all could be bought.
        """
        if not self.check.fooled or not self.check.tells:
            return []
        wrong, *elsewhere = self._elsewhere([baseline, *evaluations], rows, reward)
        return [
            evaluation
            for evaluation, there in zip(evaluations, elsewhere, strict=True)
            if evaluation.n
            and not math.isnan(wrong + there)
            and evaluation.mean > wrong
            and there - wrong >= WRONGLY * (evaluation.mean - wrong)
        ]

    def _elsewhere(
        self, evaluations: Sequence[Evaluation], rows: Sequence[Example], reward: AsksJudge
    ) -> list[float]:
        """Return the mean score of each one's outputs for rows they were not made for; NaN if unknown."""
        others = {
            row.id: other
            for place, row in enumerate(rows)
            if (other := _other_row(row, [*self._rows[place + 1 :], *self._rows[: place + 1]])) is not None
        }
        judged: list[Judged] = []
        counts = []
        for evaluation in evaluations:
            cells = [cell for cell in evaluation.cells if cell.status == "ok" and cell.example in others]
            judged += [(others[cell.example], Output(cell.output)) for cell in cells]
            counts.append(len(cells))
        told = self.consult(judged, reward)
        scores = iter([_value(reward, row, output) for (row, _), output in zip(judged, told, strict=True)])
        known = [[v for v in islice(scores, count) if v is not None] for count in counts]
        return [fmean(values) if values else math.nan for values in known]

    def _pairs(self, canaries: Sequence[Canary], reward: AsksJudge) -> list[Pair]:
        outputs: list[Judged] = []
        for canary in canaries:
            good = canary.right or canary.wrong  # where there is none, the place is held
            outputs += [(canary.example, output) for output in (good, canary.wrong, canary.injected)]
        told = self.consult(outputs, reward)
        scores = iter([_value(reward, row, output) for (row, _), output in zip(outputs, told, strict=True)])
        pairs = []
        for canary in canaries:
            right, wrong, injected = next(scores), next(scores), next(scores)
            best = 1.0 if canary.right is None else right
            pairs.append(Pair(canary.kind, canary.example.id, canary.injected.text, best, wrong, injected))
        return pairs

    def _ask(self, requests: Sequence[Request], buy: bool) -> list[Outcome]:
        outcomes = self._caller.ask(ROLE, requests, buy=buy) if requests else []
        for outcome in outcomes:
            if isinstance(outcome, Failure) and outcome.reason == "unsupported":
                raise UnsupportedError(ROLE, outcome.message or "cannot do what the reward asks of it")
        return outcomes


def _questions(reward: AsksJudge, example: Example, output: Output) -> tuple[Request, ...] | Failure:
    try:
        return reward.questions(example, output)
    except Exception as error:  # a reward is user code: its failure is this cell's, not the run's
        return Failure("error", f"the question: {type(error).__name__}: {error}")


def _asked(questions: tuple[Request, ...] | Failure) -> tuple[Request, ...]:
    return () if isinstance(questions, Failure) else questions


def failure_of(output: Output) -> Failure | None:
    """Return why the judge could not be asked about an output; None if it could."""
    return next((opinion for opinion in output.opinions if isinstance(opinion, Failure)), None)


def _other_row(row: Example, rows: Sequence[Example]) -> Example | None:
    """Return the first row with another answer; None if there is none, or the row has no answer."""
    mine = {answer.casefold() for answer in row.answers}
    return next(
        (other for other in rows if mine and other.answer and other.answer.casefold() not in mine), None
    )


def _value(reward: Reward, example: Example, output: Output) -> float | None:
    if failure_of(output) is not None:
        return None
    try:
        value = reward(example, output).value
    except Exception:  # a reward is user code; what it cannot score is unclear
        return None
    return value if math.isfinite(value) else None
