"""The public call `compare`: prompts or runs, from files and folders to a comparison on the same rows.

With a job, all prompts are scored on its rows; what a run named among them has answered already costs
nothing. Without one, the winners of runs are compared from their journals, and no model is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from .config import load_job
from .cuts import look_for_cuts
from .errors import ConfigError, DataError, did_you_mean
from .events import Listener, ignore
from .job import Job
from .journal import Journal
from .prompt import Prompt
from .promptfile import exists
from .promptfile import read_prompt as read_prompt_file
from .proof.comparison import Comparison, Contender, check_confidence, contrast
from .proof.cutoff import Cutoff, cut_notes
from .records import Evaluation
from .run import answers_in
from .runfolder import RunFolder
from .setup import Setup, from_job
from .stages import Run
from .strict_yaml import load as load_yaml
from .visible import one_line

Given = str | Path | Prompt
"""A prompt, or the name of what holds one: a saved prompt.json, a text, a promptfoo file, a run's folder."""

ON_ONE_JOB = "score the prompts on the rows of one job: give it with --job"


def compare(
    prompts: Mapping[str, Given] | Sequence[Given],
    *,
    job: Job | str | Path | None = None,
    split: str = "test",
    rows: int | None = None,
    baseline: str | None = None,
    all_pairs: bool = False,
    confidence: float = 0.95,
    answers: str | Path | None = None,
    listen: Listener = ignore,
) -> Comparison:
    """Compare prompts, or the winners of runs, on the same rows.

    Args:
        prompts: two or more, by name or in a list: files (prompt.json, text), folders of runs, Prompts.
        job: gives rows, target, reward and budget; not needed for runs that were proved on the same rows.
        split: which rows; `test` are those that no search has seen.
        rows: with a job, only the first so many, in the job's seeded order.
        baseline: name of the one the others are measured against; default: the first.
        all_pairs: compare each with each.
        confidence: of the intervals; verdicts are spoken at level 1 - confidence, adjusted by Holm.
        answers: with a job, a file that keeps every answer, so that an interrupted comparison goes on.
        listen: told what happens.

    Raises:
        BadInput: a prompt cannot be read, or runs have other rows or rewards; nothing was bought.
        BudgetExhausted: the job's budget does not carry all cells.
        JournalError: `answers` is no such file, or another process works on it.
        ModelError: the target cannot be used at all.

    Example:
        >>> result = compare(["base.txt", "runs/latest"], job="promptopt.yaml")
        >>> print(result.pairs[0].words, result.gate(0.02).passed)
    """
    check_confidence(confidence)
    given = _in_order(_named(prompts), baseline)
    if job is None:
        for name, asked in {"rows": rows, "answers": answers}.items():
            if asked is not None:
                raise ConfigError(name, "belongs to a job", got=str(asked), do="give one with --job")
        return _of_runs(given, split, confidence, all_pairs)
    read = job if isinstance(job, Job) else load_job(job)
    return _on_job(given, read, split, rows, answers, listen, confidence, all_pairs)


def _named(prompts: Mapping[str, Given] | Sequence[Given]) -> dict[str, Given]:
    """Give every prompt a name: the mapping's, or what was written."""
    if isinstance(prompts, Mapping):
        named = dict(prompts)
    else:
        named = {}
        for given in prompts:
            name = str(given)
            if isinstance(given, Prompt):
                name = one_line(given.label)
            if name in named:
                raise ConfigError("compare", f"{name!r} is given twice", do="name each prompt once")
            named[name] = given
    if len(named) < 2:
        raise ConfigError("compare", "needs at least two prompts or runs", got=list(named), do="name another")
    return named


def _in_order(given: dict[str, Given], baseline: str | None) -> dict[str, Given]:
    """Put the baseline first; a file's own name is enough where it is the only one."""
    if baseline is None:
        return given
    found = [name for name in given if name == baseline] or [
        name for name in given if baseline in (Path(name).name, Path(name).stem)
    ]
    if len(found) != 1:
        problem = f"fits {len(found)} of them" if found else "is none of them"
        raise ConfigError("baseline", f"{baseline!r} {problem}", do=did_you_mean(baseline, given))
    return {found[0]: given[found[0]], **{name: one for name, one in given.items() if name != found[0]}}


# --- runs, from their journals ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Winner:
    """A finished run: its winner, what it scored, and what must be alike to compare it with another's.

    `rows` holds split, digest and group by row id; `answered_by` the target and how it decodes.
    """

    prompt: Prompt
    evaluation: Evaluation
    rows: Mapping[str, Sequence[Any]]
    reward: Any
    answered_by: Any


def _opened(folder: RunFolder) -> Journal:
    return Journal(folder.journal, read_only=True)


def _winner_of(name: str, path: Path) -> Prompt:
    result = RunFolder.existing(path).result()
    if result is None:
        raise DataError(name, "this run is not done, so it has no winner", do=f"promptopt resume {name}")
    return Prompt.from_dict(result["best"], RunFolder.existing(path).path / "best")


def _read_run(name: str, given: Given, split: str) -> _Winner:
    if isinstance(given, Prompt) or not Path(given).is_dir():
        _must_exist(name, given)
        raise ConfigError(name, "is a prompt, which has no scores of its own", do=ON_ONE_JOB)
    folder = RunFolder.existing(given)
    prompt = _winner_of(name, folder.path)
    with _opened(folder) as journal:
        task = journal.get_meta("task")
        if task is None:
            raise DataError(name, "its journal does not say what its rows were", do=ON_ONE_JOB)
        cells = journal.cells(prompt.id, split, task["reward"])
        models = journal.get_meta("models")
        judged = "judge" in journal.bill()
    if not cells:
        raise DataError(name, f"its winner met no {split} rows", do="choose another --split, or give --job")
    lock: dict[str, Any] = load_yaml(folder.lock_file).value
    reward = lock.get("reward", task["reward"])
    reward = {"name": reward} if isinstance(reward, str) else reward
    target = lock.get("target")
    decoding = target.get("decoding") if isinstance(target, dict) else None
    return _Winner(
        prompt,
        Evaluation(prompt.id, task["reward"], cells),
        task["rows"],
        {**reward, "judge": models["judge"]} if judged else reward,
        [models["target"], decoding or lock.get("decoding"), lock.get("samples", 1)],
    )


def _of_runs(given: Mapping[str, Given], split: str, confidence: float, all_pairs: bool) -> Comparison:
    runs = {name: _read_run(name, one, split) for name, one in given.items()}
    (first, reference), *others = runs.items()
    for (name, run), (other, rival) in combinations(runs.items(), 2):
        if all_pairs or run is reference:
            _check_alike(name, run, other, rival)
    result = contrast(
        [Contender(name, run.prompt, run.evaluation) for name, run in runs.items()],
        split=split,
        groups={row: mark[2] for run in runs.values() for row, mark in run.rows.items()},
        confidence=confidence,
        all_pairs=all_pairs,
    )
    notes = []
    if split != "test":
        notes.append(f"the winners were chosen by their {split} rows, which flatter them; test rows do not")
    notes += [
        f"{name} was answered by another target than {first} or decoded otherwise: "
        "the gain is not the prompt's alone"
        for name, run in others
        if run.answered_by != reference.answered_by
    ]
    return replace(result, notes=(*notes, *result.notes))


def _check_alike(first: str, one: _Winner, name: str, other: _Winner) -> None:
    both = f"{first} and {name}"
    if (one.evaluation.reward, one.reward) != (other.evaluation.reward, other.reward):
        raise DataError(
            both, "were judged by different rewards", got=[one.reward, other.reward], do=ON_ONE_JOB
        )
    shared = [row for row in one.evaluation.values if row in other.evaluation.values]
    for row in shared:
        if one.rows[row][1] != other.rows[row][1]:
            raise DataError(both, f"have different data: row {row!r} is not the same in both", do=ON_ONE_JOB)
    if not shared:
        raise DataError(both, "have no scored row in common", do=ON_ONE_JOB)


# --- prompts, on the rows of a job ---------------------------------------------------------------------


def read_prompt(name: str, given: Given, setup: Setup) -> Prompt:
    """Return the prompt that a file, a run's folder or an argument holds, checked against the job's columns.

    A text file holds no program: it is run with that of the job's own prompt.
    """
    fields = setup.task.fields
    _must_exist(name, given)
    if not isinstance(given, Prompt):
        path = Path(given)
        if path.is_dir():
            given = _winner_of(name, path)
        else:
            given = read_prompt_file(path, name, fields)
            if path.suffix != ".json":
                given = replace(given, program=setup.task.seed_prompt.program)
    given.template.check(fields)
    return given


def _must_exist(name: str, given: Given) -> None:
    if not isinstance(given, Prompt) and not Path(given).is_dir() and not exists(given):
        raise DataError(
            name, "no such prompt file or run folder", do="name a .json, a .txt, or a run's folder"
        )


def _on_job(
    given: Mapping[str, Given],
    job: Job,
    split: str,
    rows: int | None,
    answers: str | Path | None,
    listen: Listener,
    confidence: float,
    all_pairs: bool,
) -> Comparison:
    setup = from_job(job)
    prompts = {name: read_prompt(name, one, setup) for name, one in given.items()}
    paths = [Path(one) for one in given.values() if not isinstance(one, Prompt)]
    folders = [RunFolder.existing(path) for path in paths if path.is_dir()]
    examples = setup.task.splits.of(split, "compare")[:rows]
    with ExitStack() as stack:
        reuse = [stack.enter_context(_opened(folder)) for folder in folders]
        journal = stack.enter_context(answers_in(answers))
        run = Run(setup, journal, Path(), listen=listen, reuse=reuse)
        evaluations = run.scorer.evaluate(list(prompts.values()), examples, setup.task.reward_name, split)
        ids = [example.id for example in examples]
        seen = [_seen(f.path.name, other, setup, ids) for f, other in zip(folders, reuse, strict=True)]
    result = contrast(
        [
            Contender(name, prompt, evaluation)
            for (name, prompt), evaluation in zip(prompts.items(), evaluations, strict=True)
        ],
        split=split,
        seed=setup.seed,
        groups={example.id: example.group for example in examples},
        confidence=confidence,
        all_pairs=all_pairs,
    )
    doubts = run.scorer.judging.check.note
    judged = [(one.name, one.prompt, Cutoff.of(one.evaluation)) for one in result.contenders]
    cut = cut_notes(look_for_cuts(judged, setup.decoding))
    notes = (*filter(None, (*seen, doubts)), *cut, *result.notes)
    return replace(result, notes=notes, spent=run.ledger.total)


def _seen(name: str, journal: Journal, setup: Setup, ids: Sequence[str]) -> str:
    """Tell how many of these rows a run has searched or chosen its winner by."""
    task = journal.get_meta("task") or {"rows": {}}
    known = {mark[1] for mark in task["rows"].values() if mark[0] != "test"}
    seen = sum(setup.task.splits.marks[row][1] in known for row in ids)
    return (
        f"{seen} of {len(ids)} rows were used to find the winner of {name}, which flatter it" if seen else ""
    )
