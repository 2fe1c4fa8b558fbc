"""How long a job takes on so many replicas of a model, and what it costs: a cost model, and its simulation.

The cost model: a replica that is busy reads and writes so many tokens a second, shared alike by the calls
that it serves at once (`slots`). So a call takes `latency + slots x tokens / rate` seconds, and no job is
done before `tokens / (replicas x rate)`. The simulation adds what keeps a job from that: it asks in waves,
each of which ends when its last call does, and a wave may be smaller than the slots there are. Calls are
given to the slot that is free first, in their order (list scheduling, Graham 1966). The waves come from a dry
run.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .bulk import PART_CELLS
from .contracts.model import GenerateRequest, LikelihoodRequest, Request
from .data import Stream
from .errors import ConfigError
from .forecast import DryRun, assumed
from .judging import ROLE, first_questions
from .programs import first_asks
from .prompt import Prompt
from .records import Example, Usage
from .rehearsal import StandIn
from .setup import Setup

SLOTS = 64
"""Calls that a replica serves at once, if nobody says."""
GOLDEN = (math.sqrt(5) - 1) / 2
LOOKED_AT = 2000
"""Rows of a long file that are rendered to see how long they are."""


@dataclass(frozen=True)
class Replicas:
    """Servers of one model, all alike.

    Attributes:
        count: how many.
        tokens_per_s: tokens that one writes a second when all its slots are busy.
        prompt_tokens_per_s: tokens that it reads a second then; None is the same.
        slots: calls that it serves at once.
        latency: seconds of a call that have nothing to do with its tokens.
        usd_per_hour: what one costs.

    Raises:
        ConfigError: a number has no sensible meaning.
    """

    count: int
    tokens_per_s: float
    prompt_tokens_per_s: float | None = None
    slots: int = SLOTS
    latency: float = 0.0
    usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("count", "tokens_per_s", "prompt_tokens_per_s", "slots"):
            value = vars(self)[name]
            if value is not None and not value > 0:
                raise ConfigError(f"replicas.{name}", "must be more than 0", got=value)
        for name in ("latency", "usd_per_hour"):
            if not vars(self)[name] >= 0:
                raise ConfigError(f"replicas.{name}", "must not be negative", got=vars(self)[name])

    def work(self, usage: Usage) -> float:
        """Return the seconds that tokens take of a whole replica."""
        reads = self.prompt_tokens_per_s or self.tokens_per_s
        return usage.prompt_tokens / reads + usage.completion_tokens / self.tokens_per_s

    def seconds(self, usage: Usage) -> float:
        """Return how long a call takes."""
        return self.latency + self.slots * self.work(usage)

    def floor(self, usage: Usage, calls: int) -> float:
        """Return the least seconds for so many calls with these tokens in all, every slot always busy."""
        return (self.work(usage) + calls * self.latency / self.slots) / self.count


@dataclass(frozen=True)
class Wave:
    """Calls that are asked together; what comes after waits for the last of them. Equal waves are counted."""

    calls: Sequence[Usage]
    times: int = 1


@dataclass(frozen=True)
class Outlook:
    """What a job takes on some replicas.

    Attributes:
        replicas: which.
        calls: model calls.
        waves: in which they are asked.
        usage: their tokens.
        own: seconds that promptopt itself takes.
        seconds: wall time.
        floor: seconds below which no number of calls at once brings it.
        usd_tokens: US dollars, if tokens are paid for; None where no price is known.
        usd_replicas: US dollars, if replicas are paid for.
    """

    replicas: Replicas
    calls: int
    waves: int
    usage: Usage
    own: float
    seconds: float
    floor: float
    usd_tokens: float | None
    usd_replicas: float

    @property
    def busy(self) -> float:
        """Share of the replicas' time that is used."""
        return self.floor / self.seconds if self.seconds else 0.0


def simulate(wave: Wave, replicas: Replicas) -> float:
    """Return the seconds from the first call of a wave to the end of its last."""
    free = [0.0] * min(len(wave.calls), replicas.count * replicas.slots)
    for usage in wave.calls:
        heapq.heapreplace(free, free[0] + replicas.seconds(usage))
    return wave.times * max(free, default=0.0)


def look_ahead(waves: Sequence[Wave], replicas: Replicas, own: float, price: float | None) -> Outlook:
    """Simulate a job.

    Args:
        waves: what it asks.
        replicas: who answers.
        own: seconds that promptopt itself takes.
        price: US dollars of all tokens, if known.
    """
    usage = sum((_scaled(sum(w.calls, Usage()), w.times) for w in waves), Usage())
    calls = sum(len(wave.calls) * wave.times for wave in waves)
    seconds = own + sum(simulate(wave, replicas) for wave in waves)
    return Outlook(
        replicas,
        calls,
        sum(wave.times for wave in waves),
        usage,
        own,
        seconds,
        replicas.floor(usage, calls),
        price,
        seconds / 3600 * replicas.count * replicas.usd_per_hour,
    )


def on_fewer_and_more(outlook: Outlook, waves: Sequence[Wave]) -> list[Outlook]:
    """Return the same job on a quarter, a half, as many, twice and four times the replicas."""
    counts = {max(1, round(outlook.replicas.count * share)) for share in (0.25, 0.5, 1, 2, 4)}
    return [
        look_ahead(waves, replace(outlook.replicas, count=count), outlook.own, outlook.usd_tokens)
        for count in sorted(counts)
    ]


def waves_of_run(dry: DryRun, reply: float | None = None) -> list[Wave]:
    """Return what a rehearsed run asks, of all models alike.

    Args:
        dry: the rehearsal.
        reply: tokens of the target's reply, if known better.
    """
    waves = []
    for role, batches in dry.rehearsal.batches.items():
        habits = dry.habits[role]
        if reply is not None and role == "target":
            habits = replace(habits, reply=reply)
        model = dry.setup.models[role]
        size = StandIn(role, model.capabilities, dry.setup.task.seed_prompt.instruction, habits)
        waves += [Wave([size.usage(request) for request in batch]) for batch in batches]
    return waves


def waves_of_file(
    setup: Setup,
    stream: Stream,
    prompts: Sequence[Prompt] = (),
    reply: float | None = None,
    part: int | None = None,
) -> list[Wave]:
    """Return what scoring a file asks: a wave for each part, its calls as long as those of rows looked at.

    Args:
        setup: of the job.
        stream: the rows.
        prompts: none is the job's own.
        reply: tokens of a reply, if known.
        part: rows of a part, as it will be scored.
    """
    chosen = prompts or (setup.task.seed_prompt,)
    habits = assumed(setup, "target")
    if reply is not None:
        habits = replace(habits, reply=reply)
    target = setup.models["target"]
    size = StandIn("target", target.capabilities, "", habits)
    rows, examples = _sample(stream)
    size_of_part = part or max(1, PART_CELLS // (len(chosen) * setup.samples))
    cells = [(prompt, example) for prompt in chosen for example in examples]
    asked = [size.usage(request) for cell in cells for request in _requests(setup, *cell)]
    waves = _waves_of(asked, rows, len(examples), size_of_part)
    if ROLE not in setup.models:
        return waves
    opinion = StandIn(ROLE, setup.models[ROLE].capabilities, "", assumed(setup, ROLE))
    output = math.ceil(habits.reply)
    judged = [
        opinion.usage(question) + Usage(output)
        for _ in range(len(chosen) * setup.samples)
        for question in first_questions(setup.task.reward, examples)
    ]
    return [*waves, *_waves_of(judged, rows, len(examples), size_of_part)]


def _waves_of(calls: Sequence[Usage], rows: int, looked_at: int, part: int) -> list[Wave]:
    """Return a wave for each part of a file, given the calls of the rows that were looked at."""
    if not calls:
        return []
    a_row = len(calls) / looked_at
    most = max(1, round(part * a_row))
    whole, rest = divmod(round(rows * a_row), most)
    waves = [Wave(_spread(calls, most), whole)] if whole else []
    return [*waves, *([Wave(_spread(calls, rest))] if rest else [])]


def _spread(calls: Sequence[Usage], count: int) -> list[Usage]:
    """Return so many calls, from everywhere alike (the golden ratio's multiples fill an interval evenly)."""
    return [calls[int(i * GOLDEN % 1 * len(calls))] for i in range(count)]


def _requests(setup: Setup, prompt: Prompt, example: Example) -> Iterator[Request]:
    """Return what a cell asks first; programs of several calls ask as much each time."""
    messages = prompt.render(example)
    match setup.task.reward.needs:
        case "text":
            ask, *_ = first_asks(prompt.program, messages)
            for _ in range(setup.samples * prompt.program.calls):
                yield GenerateRequest(messages, ask.decoding(setup.decoding))
        case "options":
            for option in example.options:
                yield LikelihoodRequest(messages, option)
        case _:
            yield LikelihoodRequest(messages, example.answer)


def _sample(stream: Stream) -> tuple[int, list[Example]]:
    """Return how many rows there are, and some of them, evenly from everywhere."""
    kept: list[tuple[str, object]] = []
    stride, number = 1, 0
    for number, (where, record) in enumerate(_records(stream), 1):
        if (number - 1) % stride == 0:
            kept.append((where, record))
        if len(kept) > LOOKED_AT:
            kept, stride = kept[::2], 2 * stride
    return number, stream.examples(kept)  # type: ignore[arg-type]


def _records(stream: Stream) -> Iterable[tuple[str, object]]:
    return itertools.chain.from_iterable(stream.blocks(1024))


def _scaled(usage: Usage, times: int) -> Usage:
    return Usage(usage.prompt_tokens * times, usage.completion_tokens * times)
