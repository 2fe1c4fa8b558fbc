"""Play a run through with stand-ins for its models, to see what it will ask for: nothing is bought.

The searcher, the selector, the finals and the budget are the real ones, so that searchers of third parties
are foreseen too. Only who answers is not: prompts have qualities drawn around that of the seed prompt, rows
have difficulties, and whether a prompt gets a row right is drawn with the odds of both (the Rasch model;
Rasch 1960), unless the real model was seen to answer. The real reward does not score: what a stand-in says
is right or wrong by its first character. If it asks a judge, its questions are asked of a stand-in.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist

from .contracts.model import (
    Admit,
    Capabilities,
    Completion,
    Failure,
    GenerateRequest,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Request,
    always,
)
from .contracts.reward import AsksJudge, Canary, Needs, Output, Reward
from .errors import BudgetExhausted
from .habits import Habits
from .journal import Journal
from .ledger import Spent
from .prompt import Prompt
from .records import Example, Message, Score, Usage, canonical_json, digest
from .setup import Setup
from .stages import Run

SPREAD = 0.6
"""Standard deviation of the prompts' qualities, in logits."""
DIFFICULTY = 1.5
"""Standard deviation of the rows' difficulties, in logits."""
SHORT = 8
"""Tokens of a reply up to which all right replies to a row are taken to be equal, and all wrong ones: a judge
is asked about equal replies once."""
MOST_RIGHT = 0.995
"""No prompt is taken to be better or, the other way round, worse."""
LOOKED_AT = 200
"""Rows from which it is told how short they can be."""
PROPOSED = re.compile(r"Rehearsal ([0-9a-f]{8})[\w ]*\.")


@dataclass
class StandIn:
    """Answers in a model's place, by chance that only the request decides.

    Attributes:
        role: in whose place.
        able: what the real model may be able to do.
        seed_instruction: of the seed prompt, to tell a row from the prompt it is put in.
        habits: how it answers.
        tail: characters at the end of a request that tell its row; 0 is all of them.
        heard: the requests, batch by batch.
        said: its replies, as they may be shown.
    """

    role: str
    able: Capabilities
    seed_instruction: str
    habits: Habits
    tail: int = 0
    heard: list[list[Request]] = field(default_factory=list)
    said: set[str] = field(default_factory=set)

    @property
    def identity(self) -> ModelIdentity:
        """Nobody: its answers are no model's."""
        return ModelIdentity("local", f"rehearsed {self.role}")

    @property
    def capabilities(self) -> Capabilities:
        """Return what the real model may be able to do."""
        return self.able

    def generate(
        self, requests: Sequence[GenerateRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Completion | Failure]]:
        """Propose an instruction where one seems to be wanted, answer otherwise."""
        self.heard.append([])
        for i, request in enumerate(requests):
            if not admit(i):
                yield i, Failure("budget")
                continue
            self.heard[-1].append(request)
            yield i, Completion(self._reply(request), usage=self.usage(request))

    def loglikelihood(
        self, requests: Sequence[LikelihoodRequest], admit: Admit = always
    ) -> Iterator[tuple[int, Likelihood | Failure]]:
        """Give log-probabilities: above -1 where the row is right."""
        self.heard.append([])
        for i, request in enumerate(requests):
            if not admit(i):
                yield i, Failure("budget")
                continue
            self.heard[-1].append(request)
            surprise = -math.log(self._chance_to_be_right(request.messages))
            right = self._is_right(request.messages)
            value = -0.5 * (1 - math.exp(-surprise)) - (0 if right else 1)
            yield i, Likelihood(value, 1, self.usage(request))

    def size(self, request: Request) -> int:
        """Return the tokens of a request."""
        more = request.continuation if isinstance(request, LikelihoodRequest) else request.suffix or ""
        texts = [*(message.content for message in request.messages), more]
        tokens = sum(len(text.encode("utf-8", "replace")) for text in texts) / self.habits.bytes_a_token
        return math.ceil(tokens + self.habits.overhead * len(request.messages))

    def usage(self, request: Request) -> Usage:
        """Return the tokens of a request and of the reply to it."""
        made = 0
        if isinstance(request, GenerateRequest):
            made = min(request.decoding.max_tokens, math.ceil(self.habits.reply))
        return Usage(self.size(request), made)

    def no_part_of(self, prompt: Prompt) -> bool:
        """Whether a prompt holds neither its replies nor a rehearsed proposal."""
        shown = {one.output.strip() for one in prompt.demonstrations}
        return not (shown & self.said or PROPOSED.search(canonical_json(prompt.to_dict())))

    def _reply(self, request: GenerateRequest) -> str:
        length = round(self.habits.reply * self.habits.bytes_a_token)
        said = "1" if self._is_right(request.messages) else "0"
        if self.habits.reply > SHORT:
            said += digest([[list(message) for message in request.messages], request.sample], 8)
        said += (" so" * length)[: max(0, length - len(said))]
        self.said.add(said.strip())
        return said

    def _is_right(self, messages: Sequence[Message]) -> bool:
        if (known := self.habits.known.get(tuple(messages))) is not None:
            return known
        return _uniform("draw", [list(message) for message in messages]) < self._chance_to_be_right(messages)

    def _chance_to_be_right(self, messages: Sequence[Message]) -> float:
        text = text_of(messages)
        found = PROPOSED.search(text)
        row = PROPOSED.sub("", text).replace(self.seed_instruction, "")[-self.tail :]
        right = self.habits.right if found else self.habits.right_with(len(text))
        right = min(MOST_RIGHT, max(1 - MOST_RIGHT, right))
        # The logit that has this mean over the rows' difficulties (MacKay 1992's approximation).
        centre = math.log(right / (1 - right)) * math.sqrt(1 + math.pi * DIFFICULTY**2 / 8)
        quality = SPREAD * _normal("prompt", found[1]) if found else 0.0
        return 1 / (1 + math.exp(-(centre + quality + DIFFICULTY * _normal("row", row))))


@dataclass
class ProposingStandIn(StandIn):
    """Answers in the proposer's place."""

    def _reply(self, request: GenerateRequest) -> str:
        what = [[list(message) for message in request.messages], request.sample, request.decoding.seed]
        variety = self.habits.variety
        name = digest(what if variety is None else int(_uniform("kind", what) * variety), 8)
        text = f"Rehearsal {name}"
        return (
            f"{text}{(' word' * self.habits.instruction)[: max(0, self.habits.instruction - len(text) - 1)]}."
        )


@dataclass
class StandInReward:
    """Judges stand-ins: right or wrong, as they say."""

    needs: Needs

    def __call__(self, example: Example, output: Output) -> Score:
        """Return 1 for right, 0 for wrong, or the likelihood."""
        if self.needs == "text":
            return Score(float(output.text.startswith("1")))
        if self.needs == "options":
            return Score(float(output.options[0].logprob > -1))
        return Score(output.logprob)

    def extract(self, text: str) -> str | None:
        """Return the verdict."""
        return text[:1]


@dataclass
class StandInJudged(StandInReward):
    """Judges stand-ins likewise, but has the judge asked all that the real reward asks first.

    Attributes:
        real: the reward.
    """

    real: AsksJudge

    @property
    def canary_every(self) -> int:
        """Return the reward's."""
        return self.real.canary_every

    def questions(self, example: Example, output: Output) -> tuple[Request, ...]:
        """Return the reward's first questions; each reply is taken to be a score."""
        return () if output.opinions else self.real.questions(example, output)

    def make_canaries(self, rows: Sequence[Example], turn: int) -> tuple[Canary, ...]:
        """Return the reward's."""
        return self.real.make_canaries(rows, turn)


def _in_place_of(reward: Reward) -> StandInReward:
    return (
        StandInJudged(reward.needs, reward) if isinstance(reward, AsksJudge) else StandInReward(reward.needs)
    )


@dataclass(frozen=True)
class Rehearsal:
    """What a run asked for.

    Attributes:
        spent: by role.
        batches: what was asked together, by role, in order.
        seconds: what the run itself took, models left out.
        prompts: what the search scored, in order; only those that hold nothing a stand-in said.
    """

    spent: Mapping[str, Spent]
    batches: Mapping[str, Sequence[Sequence[Request]]]
    seconds: float
    prompts: Sequence[Prompt]


def rehearse(
    setup: Setup, habits: Mapping[str, Habits], clock: Callable[[], float] = time.perf_counter
) -> Rehearsal:
    """Play a run through; `setup` is used up: its test rows have been opened.

    Args:
        setup: the run.
        habits: how the models answer, by role.
        clock: seconds.

    Raises:
        PromptOptError: the searcher could make nothing of the stand-ins' proposals.
    """
    instruction = setup.task.seed_prompt.instruction
    tail = _shortest_row(setup)
    stand_ins: dict[str, StandIn] = {}
    for role, model in setup.models.items():
        kind = ProposingStandIn if role == "proposer" else StandIn
        stand_ins[role] = kind(role, model.capabilities, instruction, habits[role], tail)
    task = replace(setup.task, reward=_in_place_of(setup.task.reward))
    budget = replace(setup.budget, minutes=None)
    played = replace(setup, models=stand_ins, task=task, budget=budget)
    begun = clock()
    with tempfile.TemporaryDirectory() as folder, Journal() as journal:
        run = Run(played, journal, Path(folder))
        with suppress(BudgetExhausted):
            run.to_verdict()
    return Rehearsal(
        spent=run.ledger.by_role,
        batches={role: [batch for batch in each.heard if batch] for role, each in stand_ins.items()},
        seconds=clock() - begun,
        prompts=[
            record.prompt for record in run.candidates.all() if stand_ins["target"].no_part_of(record.prompt)
        ],
    )


def text_of(messages: Sequence[Message]) -> str:
    """Return the text of messages, one after the other."""
    return "\n".join(message.content for message in messages)


def _shortest_row(setup: Setup) -> int:
    """Return the characters that a request has at least, besides instruction and demonstrations."""
    seed = setup.task.seed_prompt
    bare = seed.child(demonstrations=(), retriever=None, origin="rehearsal")
    rows = setup.task.splits.search[:LOOKED_AT]
    return min(len(text_of(bare.render(row)).replace(seed.instruction, "")) for row in rows)


def _uniform(*what: object) -> float:
    """Return a number in (0, 1) that `what` decides."""
    return (int(digest(what, 12), 16) + 0.5) / 16**12


def _normal(*what: object) -> float:
    return NormalDist().inv_cdf(_uniform(*what))
