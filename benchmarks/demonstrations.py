"""What demonstrations are worth: how many, right or wrong answers, whose, and in what order.

    python -m benchmarks.demonstrations                       # six tasks, the embedded model, minutes
    python -m benchmarks.demonstrations --model openai/gpt-4o-mini --tasks classification/sst2 --rows 50
    python -m benchmarks.demonstrations --instructed          # with a person's instruction above

The questions are those of Min et al. 2022, "Rethinking the Role of Demonstrations" (arXiv 2202.12837; wrong
and random answers, foreign inputs), Brown et al. 2020, "Language Models are Few-Shot Learners" (how many) and
Lu et al. 2022, "Fantastically Ordered Prompts" (arXiv 2104.08786; orders).

Sets of demonstrations are drawn from a task's train rows, smaller sets are the beginnings of larger ones, and
every prompt meets the same test rows. A row's value is its mean over the sets; intervals (95%) are over rows,
so they say nothing about sets that were not drawn. `wrong` gives every demonstration an answer of another row
that is not right, `random` any answer of the train rows; `foreign` shows rows of the next task of the list.
Replies end with their first line. Rows are read from `../shared/data`, or from where `PROMPTOPT_DATA` says.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from promptopt import plugins
from promptopt.calls import Caller
from promptopt.config import model_from_python
from promptopt.contracts.model import Decoding, LanguageModel
from promptopt.errors import BadInput, DataError, did_you_mean
from promptopt.journal import Journal
from promptopt.ledger import Ledger
from promptopt.prompt import Demonstration, Prompt
from promptopt.proof.stats import format_number, mean_interval, paired_interval
from promptopt.records import Example, FrozenMap
from promptopt.scoring import Scorer
from promptopt.setup import build_model

from .embedded.corpus import DATA

COUNTS = (0, 1, 2, 4, 8, 16)
COMPARED = 8
"""Demonstrations where wrong, random and foreign ones are compared with right ones, and orders tried."""
TASKS = (
    "instruction_induction/singular_to_plural",
    "instruction_induction/antonyms",
    "instruction_induction/larger_animal",
    "instruction_induction/sentiment",
    "instruction_induction/negation",
    "classification/trec",
)
REWARDS = {
    "exact_match": "exact_match",
    "accuracy": "exact_match",
    "f1": "token_f1",
    "contains": "contains",
    "exact_set": "exact_set",
    "numeric_match": "numeric",
}
"""Our reward for a metric of the data's manifest."""
MAX_TOKENS = 48


@dataclass(frozen=True)
class Task:
    """Rows of a public task: `pool` to show, `rows` to test on, and how a person would put it."""

    name: str
    reward: str
    pool: Sequence[Example]
    rows: Sequence[Example]
    instruction: str = ""


@dataclass(frozen=True)
class Condition:
    """So many demonstrations, of a kind: right, wrong, random, foreign, or orders of one set."""

    kind: str
    count: int

    def __str__(self) -> str:
        """Name it in a table."""
        return str(self.count) if self.kind == "right" else f"{self.count}, {self.kind}"


@dataclass(frozen=True)
class Figures:
    """Scores of one condition: a prompt's mean for each prompt, and each row's mean over them, by row."""

    means: Sequence[float]
    by_row: Mapping[str, float]


def main() -> int:
    """Measure the tasks asked for and print a table a task."""
    try:
        study(_options())
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demonstrations")
    parser.add_argument("--model", default="embedded/small", help="any target, provider/name")
    parser.add_argument("--tasks", default=",".join(TASKS), help="suite/task, comma-separated")
    parser.add_argument("--rows", type=int, default=100, help="test rows of a task")
    parser.add_argument("--sets", type=int, default=3, help="sets of demonstrations")
    parser.add_argument("--orders", type=int, default=6, help="orders of the first set")
    parser.add_argument("--instructed", action="store_true", help="with the first human-written instruction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--journal", default=":memory:", help="a file; what it holds is not bought again")
    return parser.parse_args()


def study(options: argparse.Namespace) -> None:
    """Measure task by task; each one's table is printed as soon as it is there."""
    tasks = [read_task(name, options.rows, options.seed) for name in options.tasks.split(",")]
    model = build_model(model_from_python(options.model, "target"))
    journal = Journal(options.journal)
    found: list[dict[Condition, Figures]] = []
    try:
        for place, task in enumerate(tasks):
            foreign = tasks[(place + 1) % len(tasks)]
            rng = random.Random(f"{options.seed}/{task.name}")
            instruction = task.instruction if options.instructed else ""
            shown = conditions(task, foreign, rng, sets=options.sets, orders=options.orders)
            found.append(measure(model, journal, task, shown, instruction))
            print(f"\n{task.name}: {len(task.rows)} rows, {options.sets} sets, {options.model}")
            print("\n".join(lines(found[-1], options.seed)), flush=True)
    finally:
        journal.close()
    if len(tasks) > 1:
        print(f"\nall {len(tasks)} tasks")
        print("\n".join(lines(together(tasks, found), options.seed)))


# --- rows ---------------------------------------------------------------------------------------------


def read_task(name: str, rows: int, seed: int) -> Task:
    """Read a task of the public data.

    Raises:
        DataError: no such task, or one whose metric no reward here computes.
    """
    folder = DATA / "data"
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise DataError(str(manifest), "no such file", do="set PROMPTOPT_DATA to the folder of the data")
    entries = {f"{e['suite']}/{e['name']}": e for e in json.loads(manifest.read_text("utf-8"))["tasks"]}
    if name not in entries:
        raise DataError(f"task {name}", "is not in the manifest", do=did_you_mean(name, entries))
    entry = entries[name]
    if entry["metric"] not in REWARDS:
        raise DataError(f"task {name}", "its metric has no reward here", got=entry["metric"])
    parts: dict[str, list[Example]] = {"train": [], "test": []}
    with (folder / entry["file"]).open(encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            answers = (row["output"],) if isinstance(row["output"], str) else tuple(row["output"])
            if row["split"] in parts:
                parts[row["split"]].append(Example(row["id"], FrozenMap(input=row["input"]), answers))
    rng = random.Random(f"{seed}/{name}/rows")
    tested = rng.sample(parts["test"], min(rows, len(parts["test"])))
    human = entry.get("human_instructions") or [""]
    return Task(name, REWARDS[entry["metric"]], parts["train"], tested, human[0])


# --- what is shown ------------------------------------------------------------------------------------


def conditions(
    task: Task, foreign: Task, rng: random.Random, *, sets: int, orders: int
) -> dict[Condition, list[tuple[Demonstration, ...]]]:
    """Return the sets of demonstrations of each condition."""
    shown: dict[Condition, list[tuple[Demonstration, ...]]] = {}
    most = min(max(COUNTS), len(task.pool))
    compared = min(COMPARED, most)
    answers = sorted({row.answer for row in task.pool})
    for _ in range(sets):
        rows = rng.sample(task.pool, most)
        right = _with([row.answer for row in rows], rows)
        for count in sorted({min(count, most) for count in COUNTS}):
            shown.setdefault(Condition("right", count), []).append(right[:count])
        rows = rows[:compared]
        wrong = [rng.choice([a for a in answers if a not in row.answers] or [""]) for row in rows]
        other = rng.sample(foreign.pool, min(compared, len(foreign.pool)))
        for kind, its in {
            "wrong": _with(wrong, rows),
            "random": _with([rng.choice(answers) for _ in rows], rows),
            "foreign": _with([row.answer for row in other], other),
        }.items():
            shown.setdefault(Condition(kind, compared), []).append(its)
    first = shown[Condition("right", compared)][0]
    shown[Condition("orders", compared)] = [tuple(rng.sample(first, len(first))) for _ in range(orders)]
    return shown


def _with(outputs: Sequence[str], rows: Sequence[Example]) -> tuple[Demonstration, ...]:
    return tuple(Demonstration(row.inputs, output) for row, output in zip(rows, outputs, strict=True))


# --- scores -------------------------------------------------------------------------------------------


def measure(
    model: LanguageModel,
    journal: Journal,
    task: Task,
    shown: Mapping[Condition, Sequence[tuple[Demonstration, ...]]],
    instruction: str = "",
) -> dict[Condition, Figures]:
    """Score every set of every condition on the task's test rows, greedily."""
    caller = Caller({"target": model}, journal, Ledger())
    reward = plugins.build("rewards", task.reward)
    scorer = Scorer(caller, journal, {task.reward: reward}, decoding=Decoding(MAX_TOKENS, stop=("\n",)))
    prompts = {its: Prompt(instruction, its) for its in chain.from_iterable(shown.values())}
    evaluations = scorer.evaluate(list(prompts.values()), task.rows, task.reward, "test")
    values = {evaluation.prompt: evaluation for evaluation in evaluations}
    return {
        condition: _figures([values[prompts[its].id].values for its in sets])
        for condition, sets in shown.items()
    }


def _figures(scores: Sequence[Mapping[str, float]]) -> Figures:
    rows = [row for row in scores[0] if all(row in its for its in scores)]
    return Figures(
        [fmean(its[row] for row in rows) for its in scores],
        {row: fmean(its[row] for its in scores) for row in rows},
    )


def together(tasks: Sequence[Task], found: Sequence[Mapping[Condition, Figures]]) -> dict[Condition, Figures]:
    """Return the figures over the rows of all tasks, for the conditions that all have."""
    common = [condition for condition in found[0] if all(condition in its for its in found)]
    return {
        condition: Figures(
            [fmean(means) for means in zip(*(its[condition].means for its in found), strict=True)],
            {
                f"{task.name}/{row}": value
                for task, its in zip(tasks, found, strict=True)
                for row, value in its[condition].by_row.items()
            },
        )
        for condition in common
    }


def lines(found: Mapping[Condition, Figures], seed: int) -> Iterable[str]:
    """Yield the table: mean and interval, difference to as many right demonstrations, spread of the sets."""
    yield f"{'demonstrations':<16}{'score':>6} {'95%':<10}  {'minus right':<18}  least to most"
    for condition, its in found.items():
        values = list(its.by_row.values())
        mean = f"{format_number(fmean(values)):>6} {mean_interval(values, seed=seed)!s:<10}"
        right = found.get(Condition("right", condition.count))
        gap = ""
        if right is not None and condition.kind != "right":
            gaps = [its.by_row[row] - right.by_row[row] for row in its.by_row if row in right.by_row]
            gap = f"{format_number(fmean(gaps), sign=True)} {paired_interval(gaps, seed=seed)}"
        spread = f"{format_number(min(its.means))} to {format_number(max(its.means))}"
        yield f"{condition!s:<16}{mean}  {gap:<18}  {spread if len(its.means) > 1 else ''}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
